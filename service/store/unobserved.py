"""Work in the background that everybody may have stopped waiting for."""

import asyncio
from typing import Any


def look_at_outcome(work: "asyncio.Future[Any]") -> None:
    """To be added as its callback: whoever waits gets the error, and when all have given up, asyncio shall not complain
    that nobody looked at it.
    """
    if not work.cancelled():
        work.exception()
