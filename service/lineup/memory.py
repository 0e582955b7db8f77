"""What was loaded and what becomes of memory: pauses that requests are spared, and pages that are given back."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG_OBJECTS = 20_000  # between two collections; a request with 200 candidates makes about 500


@contextmanager
def gc_frozen() -> Iterator[None]:
    """Spare garbage collections from looking through what was loaded, a pause of up to 0.1 s amid requests, and collect
    after tens of requests instead of each: requests leave hardly any cycles behind."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def give_memory_back() -> None:
    """After a bundle was let go: count the new one among what was loaded, and return free pages to the system.

    What is frozen already is not looked through, so the collection is short. It comes first, as frozen garbage would
    stay. Without the last step glibc keeps the free memory between what is in use.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries do not have it
        if trim is not None:
            trim(0)
