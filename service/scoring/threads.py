"""The threads that score."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class ScoringThreads(ThreadPoolExecutor):
    """What runs here knows whose request it works for: log lines have the request's id, spans their parent."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, thread_name_prefix="scoring")

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        context = copy_context()
        return super().submit(lambda: context.run(fn, *args, **kwargs))
