"""The code blocks of a document: what each is, and whether it says why it is not run.

    bash, python            executed, in the page's order and in one directory
    json, toml              read as such
    text, console           what the block before it prints
    title="NAME"            of any language: a file of the page's directory, which later blocks use

An HTML comment right above the block, `<!-- not run: why -->`, takes it out.
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXECUTED = ("bash", "python")
READ = ("json", "toml")
SHOWN = ("text", "console")

_BLOCK = re.compile(
    r"(?:^ *<!-- not run:(?P<reason>.*?)-->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?: +title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        line: of its fence, from 1.
        title: name of the file that it is; None for none.
        reason: why it is not run; None when it is.
    """

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_step(self) -> bool:
        """Whether something is done at its place: it is executed, or written as a file."""
        return self.reason is None and (self.title is not None or self.language in EXECUTED)


def documents() -> list[Path]:
    """All that people read, but for the pages that are made of the code."""
    outside = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md")
    return [*(ROOT / name for name in outside), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, text.index("```", found.start())) + 1,
            language=found["language"],
            title=found["title"],
            text=textwrap.dedent(found["text"]) if found["indent"] else found["text"],
            reason=None if found["reason"] is None else found["reason"].strip(),
        )
        for found in _BLOCK.finditer(text)
    ]
