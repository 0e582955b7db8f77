"""Errors of the trainer, and who has to act. Each ends a command with one line.

TrainingError
├── DatasetError           the data must be fixed
├── LogsError              an option does not fit the files
├── ConfigError            the config file must be fixed
├── OutputTaken            another process writes there: wait, or write elsewhere
├── CheckpointError        a checkpoint cannot be used or written
├── TrainingDiverged       the loss is no longer a number: lower the learning rate
├── ParityError            graph and network disagree: nothing was written
├── SigningError           nothing can be signed
├── TableError             a table cannot be made
├── ComparisonError        a comparison cannot go on
└── ReplayError            a log or a bundle cannot be replayed
"""

from pathlib import Path


class TrainingError(Exception):
    """Base class of the trainer's errors."""


class DatasetError(TrainingError):
    """Data that must be fixed before it can be used. Messages give file, expected and found.

    Args:
        line: the offending line, counted from 1, if there is one.
        advice: for the user, where the fix is not obvious.
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


class ConfigError(TrainingError):
    """The config file cannot be used; the message names the file and the key."""


class TrainingDiverged(TrainingError):
    """The loss is no longer a number."""


class ComparisonError(TrainingError):
    """The comparison cannot go on or is incomplete; the message says what to do."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be used or written; the message names the file and what to do."""


class TableError(TrainingError):
    """A table that cannot be made; the message says what to do."""


class ParityError(TrainingError):
    """An exported graph and the network disagree; nothing was written."""


class OutputTaken(TrainingError):
    """Another process writes there."""


class SigningError(TrainingError):
    """Nothing can be signed; the message says what to do."""


class LogsError(TrainingError):
    """An option that does not fit the files; the message says which to give instead."""


class ReplayError(TrainingError):
    """A log or a bundle cannot be replayed; the message says what to do."""
