"""Why a bundle cannot be trusted.

BundleError                 every message names the file, what was expected and what was found
├── MissingFile
├── ChecksumMismatch
├── SignatureMismatch
├── UnsupportedFormat
├── SchemaMismatch
└── GoldenMismatch
"""


class BundleError(Exception):
    """A bundle that must not serve. Messages give file, expected and found."""

    def __init__(self, file: str, *, expected: str, found: str) -> None:
        super().__init__(f"{file}: expected {expected}, found {found}")
        self.file = file
        self.expected = expected
        self.found = found


class MissingFile(BundleError):
    """The manifest lists a file that is not there, or there is no manifest."""


class ChecksumMismatch(BundleError):
    """A file's bytes are not the ones that the trainer wrote."""


class SignatureMismatch(BundleError):
    """Nobody who is trusted has signed the manifest. Nothing else of the bundle was read."""


class UnsupportedFormat(BundleError):
    """The bundle was written in a format version that this code does not read, or is not readable at all."""


class SchemaMismatch(BundleError):
    """Two parts of the bundle contradict each other: schema, vocabularies, catalogue or graph."""


class GoldenMismatch(BundleError):
    """The graph does not reproduce the answers that the trainer recorded."""
