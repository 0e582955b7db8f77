"""MkDocs hook: make links from documents to files outside of docs/ work on the site.

The documents link as in the repository (`../README.md`). A document elsewhere in the repository
becomes a page below `project/`, and any other file that a page links to is copied there as it is.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = "docs/"
PROJECT = "project/"
PROJECT_PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md")
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    sources = {f"{DOCS}{page.src_uri}": page.content_string for page in files.documentation_pages()}
    sources |= {path: (ROOT / path).read_text(encoding="utf-8") for path in PROJECT_PAGES}
    linked = {target for path, text in sources.items() for target in _targets(path, text)}
    for path in sorted({*PROJECT_PAGES, *linked}):
        if not path.startswith(DOCS) and (ROOT / path).is_file():
            files.append(File.generated(config, f"{PROJECT}{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    here = page.file.src_uri
    source = here.removeprefix(PROJECT) if here.startswith(PROJECT) else f"{DOCS}{here}"

    def rewritten(link: re.Match[str]) -> str:
        target = repository_path(source, link[2])
        return link[1] + posixpath.relpath(site_path(target), posixpath.dirname(here) or ".")

    return LINK.sub(rewritten, markdown)


def repository_path(source: str, target: str) -> str:
    """Resolve a link in the file `source` to a path from the root of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def site_path(path: str) -> str:
    """Return the site's path of a file of the repository, before MkDocs makes pages of Markdown.

    >>> site_path("docs/replay.md"), site_path("docs/decisions"), site_path("docker/observe/alerts.yml")
    ('replay.md', 'decisions/index.md', 'project/docker/observe/alerts.yml')
    """
    if not path.startswith(DOCS):
        return f"{PROJECT}{path}"
    within = path.removeprefix(DOCS)
    return f"{within}/index.md" if not posixpath.splitext(within)[1] else within


def _targets(source: str, text: str) -> set[str]:
    return {repository_path(source, link[2]) for link in LINK.finditer(text)}
