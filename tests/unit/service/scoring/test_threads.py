"""The threads that score know whose request they work for."""

import asyncio
import threading

from service.scoring.threads import ScoringThreads
from service.telemetry import current_request_id


def test_a_thread_has_the_id_of_the_request_that_it_works_for() -> None:
    async def seen_by(request_id: str) -> tuple[str, int]:
        current_request_id.set(request_id)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, lambda: (current_request_id.get(), threading.get_ident()))

    async def both() -> list[tuple[str, int]]:
        return await asyncio.gather(seen_by("r-1"), seen_by("r-2"))

    with ScoringThreads(1) as threads:
        (first, one_thread), (second, the_other) = asyncio.run(both())
    assert (first, second) == ("r-1", "r-2")
    assert one_thread == the_other != threading.get_ident()


def test_what_a_thread_raises_and_returns_comes_through() -> None:
    with ScoringThreads(1) as threads:
        assert threads.submit(divmod, 7, 2).result() == (3, 1)
        assert isinstance(threads.submit(divmod, 7, 0).exception(), ZeroDivisionError)
