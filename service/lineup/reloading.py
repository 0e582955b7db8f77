"""Hot reload: notice another bundle, verify it beside the one that serves, and swap; or refuse it and say why."""

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
        self,
        slot: Slot,
        loader: BundleLoader,
        *,
        serves: LoadedBundle,
        swap: Callable[[LoadedBundle], None],
        telemetry: Telemetry,
    ) -> None:
        """Args:
        serves: what is served now; not kept.
        swap: called in the event loop with a bundle that is ready; from then on requests must get it.
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
        """Have the watch look again, at a bundle that was refused too. To be called in the event loop."""
        self._asked.set()

    async def reload(self) -> ReloadOutcome:
        """Look at the path now, and into every file; a bundle that was refused before is tried again."""
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
                self._refused = self.refusal = None  # a refused one was taken back
                return ReloadOutcome.UNCHANGED
            if not is_asked and at_path == self._refused:
                return ReloadOutcome.REFUSED  # said and counted when it was seen first
            try:
                adopted = await _in_thread(partial(self._loader.adopt, self._slot.path, rereads=is_asked))
                outcome = await self._take(adopted)
            except Exception as exc:  # whatever it is, even a bug: the old bundle serves, and this is where one sees it
                outcome = self._refuse(at_path, exc)
            return self._counted(outcome)

    async def _take(self, adopted: Adopted) -> ReloadOutcome:
        """Raises: BundleError."""
        is_served = adopted.key == self._key  # the same bytes, perhaps in another place
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
        if self.refusal == before:  # while files arrive one by one, each look finds the same one missing
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
    """Call a function off the event loop, in a thread that keeps no process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def call() -> None:
        try:
            settle = partial(future.set_result, function())
        except BaseException as exc:  # whoever waits has to know
            settle = partial(future.set_exception, exc)
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            loop.call_soon_threadsafe(_tell, future, settle)

    threading.Thread(target=call, name="loading", daemon=True).start()
    return await future


def _tell(future: "asyncio.Future[T]", settle: Callable[[], None]) -> None:
    if not future.done():  # cancelled meanwhile
        settle()
