"""MkDocs hook: generate the reference pages from the code at every build. None of them is in the repository."""

from collections.abc import Callable, Mapping

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs.hooks.code import code_page
from docs.hooks.commands import commands_page
from docs.hooks.decisions import decisions_page
from docs.hooks.http_api import http_page
from docs.hooks.training_options import training_page

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/http.md": http_page,
    "reference/training.md": training_page,
    "decisions/index.md": decisions_page,
    "code.md": code_page,
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files
