"""Reasons to refuse a bundle.

BundleError                 every message names the file, what was expected and what was found
├── MissingFile
├── ChecksumMismatch
├── SignatureMismatch
├── UnsupportedFormat
├── SchemaMismatch
└── GoldenMismatch
"""


class BundleError(Exception):
    """The bundle must not be served. Messages give file, expected and found."""

    def __init__(self, file: str, *, expected: str, found: str) -> None:
        super().__init__(f"{file}: expected {expected}, found {found}")
        self.file = file
        self.expected = expected
        self.found = found


class MissingFile(BundleError):
    """The manifest lists a file that is not there, or there is no manifest."""


class ChecksumMismatch(BundleError):
    """A file differs from the one that the trainer wrote."""


class SignatureMismatch(BundleError):
    """The manifest has no signature by a trusted key. Nothing else of the bundle was read."""


class UnsupportedFormat(BundleError):
    """The bundle was written in an unsupported format version, or cannot be read at all."""


class SchemaMismatch(BundleError):
    """Two parts of the bundle contradict each other: schema, vocabularies, catalogue or graph."""


class GoldenMismatch(BundleError):
    """The graph does not reproduce the answers that the trainer recorded."""
