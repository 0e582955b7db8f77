"""Hot reload: notice another bundle, verify it beside the one that serves, and swap; or refuse it and say why."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from model.bundle.errors import BundleError
from service.loading import Identity, LoadedBundle, identity_of, load_bundle
from service.memory import give_memory_back
from service.telemetry import Telemetry, declare, log_event
from service.worker import Slot, remember_good_bundle

T = TypeVar("T")

_SETTLED_S = 2.0  # after a swap: the requests that hold the old bundle have ended by then


class ReloadOutcome(StrEnum):
    """What became of one look at the bundle's path."""

    SWAPPED = "swapped"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A bundle that does not serve, and why, in words that anybody may read: without the path, which the log has.

    Texts alone: an exception would keep the bundle that it was raised for.

    Attributes:
        bundle: the name of its directory.
        file: within the bundle; empty when no file is to blame.
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
    """Keeps what is served in step with a bundle's path. One per worker and slot; loads one bundle at a time.

    Attributes:
        refusal: of the bundle that lies at the path; None while that one serves.
    """

    def __init__(
        self, slot: Slot, *, serves: LoadedBundle, swap: Callable[[LoadedBundle], None], telemetry: Telemetry
    ) -> None:
        """Args:
        serves: what is served now; not kept.
        swap: called in the event loop with a bundle that is ready; from then on requests must get it.
        """
        self.refusal: Refusal | None = None
        self._slot = slot
        self._swap = swap
        self._telemetry = telemetry
        declare(telemetry.reloads, ReloadOutcome)
        self._serves, self._version = serves.identity, serves.bundle.manifest.model_version
        self._refused: Identity | None = None
        self._one_at_a_time = asyncio.Lock()
        self._asked = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loading")

    def ask(self) -> None:
        """Have the watch look again, at a bundle that was refused too. To be called in the event loop."""
        self._asked.set()

    async def reload(self) -> ReloadOutcome:
        """Look at the path now; a bundle that was refused before is tried again."""
        return await self._look(is_asked=True)

    @asynccontextmanager
    async def watching(self, *, poll_ms: int) -> AsyncIterator[None]:
        """Look at the path before the block begins, and then every `poll_ms` (0: only when asked) until it ends."""
        await self._look(is_asked=False)  # it may have changed while the first bundle was loaded
        task = asyncio.create_task(self._watch(poll_ms / 1_000 or None))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._thread.shutdown()  # a bundle that is being loaded is loaded to its end: threads cannot be stopped

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
            at_path = await self._in_thread(partial(identity_of, self._slot.path))
            if at_path == self._serves:
                self._refused = self.refusal = None  # a refused one was taken back
                return self._counted(ReloadOutcome.UNCHANGED) if is_asked else ReloadOutcome.UNCHANGED
            if at_path == self._refused and not is_asked:
                return ReloadOutcome.REFUSED  # said and counted when it was seen first
            try:
                outcome = self._accept(
                    await self._in_thread(partial(load_bundle, self._slot.path, self._slot.signatures))
                )
            except Exception as exc:  # whatever it is, even a bug: the old bundle serves, and this is where one sees it
                outcome = self._refuse(at_path, exc)
            asyncio.get_running_loop().call_later(_SETTLED_S, give_memory_back)
            return self._counted(outcome)

    def _accept(self, loaded: LoadedBundle) -> ReloadOutcome:
        manifest = loaded.bundle.manifest
        is_another = manifest.model_version != self._version  # otherwise the same bytes lie elsewhere
        if is_another:
            self._swap(loaded)
        self._serves = loaded.identity
        self._refused = self.refusal = None
        remember_good_bundle(self._slot, loaded.identity.directory)
        if not is_another:
            return ReloadOutcome.UNCHANGED
        log_event(
            logging.INFO,
            "bundle_swapped",
            bundle=loaded.identity.directory,
            model=manifest.model_name,
            version=manifest.model_version,
            instead_of=self._version,
        )
        self._version = manifest.model_version
        return ReloadOutcome.SWAPPED

    def _refuse(self, at_path: Identity, exc: Exception) -> ReloadOutcome:
        self._refused = at_path
        self.refusal = Refusal.of(at_path.directory, exc)
        bug = {} if isinstance(exc, BundleError) else {"traceback": "".join(traceback.format_exception(exc))}
        log_event(
            logging.ERROR, "bundle_refused", bundle=at_path.directory, serving=self._version, error=self.refusal, **bug
        )
        return ReloadOutcome.REFUSED

    def _counted(self, outcome: ReloadOutcome) -> ReloadOutcome:
        self._telemetry.reloads.labels(outcome).inc()
        return outcome

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)
