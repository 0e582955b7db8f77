"""Why logs cannot become a dataset as they were described."""


class LogsError(Exception):
    """An option that does not fit the files; the message says which to give instead."""
