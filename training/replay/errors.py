"""Why a replay cannot be made."""


class ReplayError(Exception):
    """A log or a bundle that a replay can make nothing of; the message says what to do."""
