"""Errors of publishing a dataset directory."""

from pathlib import Path


class DatasetUnreadable(Exception):
    """A file or column is missing or unusable. The message gives file, expected and found."""

    def __init__(self, file: Path, *, expected: str, found: str) -> None:
        super().__init__(f"{file}: expected {expected}, found {found}")
        self.file = file
        self.expected = expected
        self.found = found
