"""File descriptor limit of a worker: each connection takes one."""

import logging
import resource

from dinrank.service.settings import Settings
from dinrank.service.telemetry.logs import log_event

_BESIDE_CONNECTIONS = 144  # for the bundle, logs, probes, and callers being turned away


def needed_files(settings: Settings) -> int:
    """Count the files that a worker needs with all its connections, to callers and to Redis."""
    return settings.max_connections + settings.redis_max_connections + _BESIDE_CONNECTIONS


def may_open(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed


def raise_file_limit(settings: Settings) -> int:
    """Raise the soft limit as far as needed and allowed, for this process and its children.

    Returns:
        how many connections a worker can keep: the configured number, or as many as the limit allows.
    """
    needed = needed_files(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if may_open(soft, needed):
        return settings.max_connections
    granted = needed if may_open(hard, needed) else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    kept = max(1, settings.max_connections - (needed - granted))
    if granted < needed:
        log_event(
            logging.WARNING,
            "few_files",
            may_open=granted,
            needed=needed,
            max_connections=kept,
            remedy=f"ulimit -Hn {needed}, LimitNOFILE, or DINRANK_MAX_CONNECTIONS",
        )
    return kept
