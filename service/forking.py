"""How worker processes are started: forked from one process that has imported everything, so that they share pages."""

import logging
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from functools import cache
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from service.telemetry import log_event

_LONGEST_TEMPORARY_PATH = 107 - len("/pymp-12345678/listener-12345678")  # a socket's path has 107 bytes at most


@cache
def worker_context() -> ForkServerContext | SpawnContext:
    """Each worker as a new interpreter would take about 40 MB more, and nothing else would change.

    So it is where the path of the folder for temporary files leaves no room for the fork server's socket.
    """
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_TEMPORARY_PATH:
        log_event(
            logging.INFO, "workers_not_forked", reason="the path of the temporary folder is too long for a socket"
        )
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["service.preloaded"])
    return context


def worker_process(target: Callable[..., None], **arguments: Any) -> BaseProcess:
    """One that is not started yet."""
    return worker_context().Process(target=target, kwargs=arguments)
