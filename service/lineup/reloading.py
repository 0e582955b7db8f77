"""Hot reload: detect a new bundle, verify it beside the serving one, and swap; or refuse it with a reason."""

import asyncio
import logging
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from dinrank.model.bundle.errors import BundleError
from dinrank.service.lineup.copies import Adopted, Identity, identity_of
from dinrank.service.lineup.loading import BundleLoader, LoadedBundle, Slot, remember_good_bundle
from dinrank.service.lineup.memory import give_memory_back
from dinrank.service.telemetry.logs import log_event
from dinrank.service.telemetry.metrics import Telemetry, declare

T = TypeVar("T")

_SETTLED_S = 2.0  # after a swap: requests that use the old bundle have ended by then


class ReloadOutcome(StrEnum):
    """Outcome of one check of the bundle's path."""

    SWAPPED = "swapped"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused bundle and the reason, safe to show to anybody: without the path, which only the log has.

    Holds text only: an exception would keep its bundle in memory.

    Attributes:
        bundle: the name of its directory.
        file: within the bundle; empty if no file is at fault.
    """

    bundle: str
    file: str
    expected: str
    found: str

    @classmethod
    def of(cls, directory: Path, exc: Exception) -> Self:
        if not isinstance(exc, BundleError):
            return cls(directory.name, "", "a bundle that can be loaded", "a fault that the service's log explains")
        file, found = (text.replace(f"{directory}/", "") for text in (exc.file, exc.found))
        return cls(directory.name, file, exc.expected, found)

    def __str__(self) -> str:
        return f"{self.bundle}: {self.file}: expected {self.expected}, found {self.found}"


class Reloader:
    """Follows a bundle's path and swaps the served bundle. One per worker and slot; loads one bundle at a time.

    Attributes:
        refusal: of the bundle at the path; None while that one serves.
    """

    def __init__(
        self,
        slot: Slot,
        loader: BundleLoader,
        *,
        serves: LoadedBundle,
        swap: Callable[[LoadedBundle], None],
        telemetry: Telemetry,
    ) -> None:
        """Args:
        serves: the bundle served now; no reference is kept.
        swap: called in the event loop with a bundle that is ready; from then on requests must use it.
        """
        self.refusal: Refusal | None = None
        self._slot = slot
        self._loader = loader
        self._swap = swap
        self._telemetry = telemetry
        declare(telemetry.reloads, ReloadOutcome)
        self._serves, self._key, self._version = serves.identity, serves.key, serves.bundle.manifest.model_version
        self._refused: Identity | None = None
        self._one_at_a_time = asyncio.Lock()
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Trigger another check, also of a refused bundle. Call it in the event loop."""
        self._asked.set()

    async def reload(self) -> ReloadOutcome:
        """Check the path and every file now; a bundle that was refused before is tried again."""
        return await self._look(is_asked=True)

    @asynccontextmanager
    async def watching(self, *, poll_ms: int) -> AsyncIterator[None]:
        """Check the path before the block begins, and then every `poll_ms` (0: only when asked) until it ends."""
        await self._look(is_asked=False)  # it may have changed while the first bundle was loaded
        task = asyncio.create_task(self._watch(poll_ms / 1_000 or None))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._loader.stop()

    async def _watch(self, pause_s: float | None) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._asked.wait()
            is_asked = self._asked.is_set()
            self._asked.clear()
            await self._look(is_asked=is_asked)

    async def _look(self, *, is_asked: bool) -> ReloadOutcome:
        async with self._one_at_a_time:
            at_path = await _in_thread(partial(identity_of, self._slot.path))
            if not is_asked and at_path == self._serves:
                self._refused = self.refusal = None  # a refused bundle was rolled back
                return ReloadOutcome.UNCHANGED
            if not is_asked and at_path == self._refused:
                return ReloadOutcome.REFUSED  # logged and counted when it was first seen
            try:
                adopted = await _in_thread(partial(self._loader.adopt, self._slot.path, rereads=is_asked))
                outcome = await self._take(adopted)
            except Exception as exc:  # even a bug: the old bundle goes on serving, and the refusal reports it
                outcome = self._refuse(at_path, exc)
            return self._counted(outcome)

    async def _take(self, adopted: Adopted) -> ReloadOutcome:
        """Raises: BundleError."""
        is_served = adopted.key == self._key  # the same bytes, perhaps at another path
        if not is_served:
            self._accept(await _in_thread(partial(self._loader.load, adopted)))
            await _in_thread(partial(remember_good_bundle, self._slot, self._loader, adopted.key))
        self._serves = adopted.identity
        self._refused = self.refusal = None
        return ReloadOutcome.UNCHANGED if is_served else ReloadOutcome.SWAPPED

    def _accept(self, loaded: LoadedBundle) -> None:
        manifest = loaded.bundle.manifest
        self._swap(loaded)
        asyncio.get_running_loop().call_later(_SETTLED_S, give_memory_back)
        log_event(
            logging.INFO,
            "bundle_swapped",
            bundle=loaded.identity.directory,
            model=manifest.model_name,
            version=manifest.model_version,
            instead_of=self._version,
        )
        self._key, self._version = loaded.key, manifest.model_version

    def _refuse(self, at_path: Identity, exc: Exception) -> ReloadOutcome:
        self._refused, before = at_path, self.refusal
        self.refusal = Refusal.of(at_path.directory, exc)
        if self.refusal == before:  # while files arrive one by one, each check finds the same one missing
            return ReloadOutcome.REFUSED
        bug = {} if isinstance(exc, BundleError) else {"traceback": "".join(traceback.format_exception(exc))}
        log_event(
            logging.ERROR, "bundle_refused", bundle=at_path.directory, serving=self._version, error=self.refusal, **bug
        )
        return ReloadOutcome.REFUSED

    def _counted(self, outcome: ReloadOutcome) -> ReloadOutcome:
        self._telemetry.reloads.labels(outcome).inc()
        return outcome


async def _in_thread(function: Callable[[], T]) -> T:
    """Call a function off the event loop, in a daemon thread, which does not block the process's exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def call() -> None:
        try:
            settle = partial(future.set_result, function())
        except BaseException as exc:  # must reach the waiting caller
            settle = partial(future.set_exception, exc)
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(_tell, future, settle)

    threading.Thread(target=call, name="loading", daemon=True).start()
    return await future


def _tell(future: "asyncio.Future[T]", settle: Callable[[], None]) -> None:
    if not future.done():  # cancelled meanwhile
        settle()
