"""Why raw files cannot become a dataset, or a dataset cannot be read."""

from pathlib import Path


class DatasetError(Exception):
    """Data that must be mended before it can be used. Messages give file, expected and found.

    Args:
        line: the offending line, counted from 1, where there is one.
        advice: what the reader of the message can do, where that is not obvious.
    """

    def __init__(
        self, file: Path | str, *, expected: str, found: str, line: int | None = None, advice: str | None = None
    ) -> None:
        place = str(file) if line is None else f"{file}, line {line}"
        message = f"{place}: expected {expected}, found {found}"
        super().__init__(message if advice is None else f"{message}; {advice}")
        self.file = Path(file)
        self.expected = expected
        self.found = found
        self.line = line
