"""Loading of bundles: copy, verify, test the graphs, load."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.errors import BundleError
from dinrank.model.bundle.reader import Bundle, open_verified
from dinrank.service.lineup.copies import Adopted, BundleCopies, Identity, identity_of
from dinrank.service.lineup.graph_check import check_graphs
from dinrank.service.lineup.run_directory import RUN_DIRECTORY_VARIABLE, run_directory
from dinrank.service.lineup.signatures import TrustedKeys
from dinrank.service.scoring.predictor import Predictor
from dinrank.service.scoring.run_limit import RunLimit
from dinrank.service.settings import Settings
from dinrank.service.telemetry.logs import log_event

_LONGEST_STOP_S = 5.0

_COPIES = "bundles"  # below the run directory

# Keys of bundles whose graphs passed the check on this machine: equal bytes need no second check.
_passed: set[str] = set()


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """A bundle that has reproduced its golden answers.

    Attributes:
        identity: of its source path.
        key: of the private copy.
    """

    identity: Identity
    key: str
    bundle: Bundle
    predictor: Predictor


class BundleLoader:
    """Makes bundles ready to serve. Thread-safe.

    Args:
        directory: the service's run directory, which holds the copies.
        run_limit: for the predictors that it creates.
    """

    def __init__(self, directory: Path, settings: Settings, *, run_limit: RunLimit | None = None) -> None:
        self.directory = directory
        signatures = TrustedKeys.of(settings.bundle_keys)
        self.checks_signatures = signatures is not None
        self._copies = BundleCopies(directory / _COPIES, mode=settings.bundle_copy, signatures=signatures)
        self._graph_timeout_s = settings.bundle_timeout_ms / 1_000
        self._run_limit = run_limit
        self._stopped = threading.Event()
        self._checking = threading.Lock()

    def adopt(self, path: Path, *, rereads: bool = False) -> Adopted:
        """See `BundleCopies.adopt`."""
        return self._copies.adopt(path, rereads=rereads)

    def load(self, adopted: Adopted) -> LoadedBundle:
        """Load an adopted bundle; its golden requests serve as warm-up.

        Raises:
            BundleError
        """
        try:
            return self._loaded(adopted)
        except BundleError:
            if adopted.directory.exists():
                raise
        # Another worker, which already serves a newer bundle, has removed the copy.
        return self._loaded(self.adopt(adopted.identity.directory))

    def _loaded(self, adopted: Adopted) -> LoadedBundle:
        with _named_by_content(adopted):
            bundle = self._checked(adopted)
            predictor = Predictor.load(bundle, run_limit=self._run_limit)
        return LoadedBundle(adopted.identity, adopted.key, bundle, predictor)

    def check(self, path: Path) -> Bundle:
        """Adopt a bundle and test its graphs, without keeping them loaded.

        Raises:
            BundleError
        """
        adopted = self.adopt(path)
        with _named_by_content(adopted):
            return self._checked(adopted)

    def open(self, path: Path) -> Bundle:
        """Adopt a bundle without testing its graphs, for callers that do not run them.

        Raises:
            BundleError
        """
        adopted = self.adopt(path)
        with _named_by_content(adopted):
            return open_verified(adopted.directory)

    def load_copy(self, key: str) -> LoadedBundle:
        """Load a bundle that was adopted before, even if its path has changed since.

        Raises:
            BundleError
        """
        directory = self._copies.path_of(key)
        return self.load(Adopted(Identity(directory, ()), key, directory))

    def keep(self, keys: set[str]) -> None:
        """See `BundleCopies.keep`."""
        self._copies.keep(keys)

    def stop(self) -> None:
        """End a running check, and refuse further ones."""
        self._stopped.set()
        # The check's thread ends its child process; at exit, Python would not wait for that thread.
        if self._checking.acquire(timeout=_LONGEST_STOP_S):
            self._checking.release()

    def _checked(self, adopted: Adopted) -> Bundle:
        """Open the copy, and test its graphs unless done before: once per content and service."""
        bundle = open_verified(adopted.directory)
        if adopted.key not in _passed:
            with self._copies.locked():
                if not self._copies.has_passed(adopted.key):
                    with self._checking:
                        check_graphs(adopted.directory, timeout_s=self._graph_timeout_s, stopped=self._stopped)
                    self._copies.note_passed(adopted.key)
            _passed.add(adopted.key)
        return bundle


@contextmanager
def _named_by_content(adopted: Adopted) -> Iterator[None]:
    """Make refusals name files relative to the bundle: the copy's location means nothing to a caller."""
    try:
        yield
    except BundleError as exc:
        file, found = (text.replace(f"{adopted.directory}/", "") for text in (exc.file, exc.found))
        raise type(exc)(file, expected=exc.expected, found=found) from exc


@contextmanager
def own_loader(settings: Settings, *, run_limit: RunLimit | None = None) -> Iterator[BundleLoader]:
    """Yield a loader whose copies of bundles are removed when the service, or the command, ends.

    Raises:
        NoRunDirectory
    """
    with _own_directory(settings) as directory:
        loader = BundleLoader(directory, settings, run_limit=run_limit)
        try:
            yield loader
        finally:
            loader.stop()


@contextmanager
def _own_directory(settings: Settings) -> Iterator[Path]:
    """Yield the directory shared by all processes of the service, or one of this process alone."""
    if (shared := os.environ.get(RUN_DIRECTORY_VARIABLE)) is not None:
        yield Path(shared)
        return
    with run_directory(settings.run_dir) as directory:
        yield directory


_GOOD_BUNDLE_FILE = "good-bundle"


class Slot(NamedTuple):
    """Source of a served bundle.

    Attributes:
        path: a directory or a link to one.
        number: 0 for the champion; challengers are numbered in the order of the setting.
    """

    path: Path
    number: int


def remember_good_bundle(slot: Slot, loader: BundleLoader, key: str) -> None:
    """Record a bundle as known-good for workers that start later, and remove copies that none of them needs.

    Atomic: a crash or a full disk keeps the previous record.
    """
    if (file := _good_bundle_file(slot)) is None:
        return
    written = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        written.write_text(key, encoding="ascii")
        written.replace(file)
        loader.keep({good.read_text(encoding="ascii") for good in file.parent.glob(f"{_GOOD_BUNDLE_FILE}-*")})
    except OSError as exc:
        log_event(logging.ERROR, "good_bundle_not_noted", key=key, error=exc)


def first_bundle(slot: Slot, loader: BundleLoader) -> LoadedBundle:
    """Load the bundle that a worker starts with: the one at the slot's path, or, if that is refused, the last
    known-good one from its copy. So a dead worker can be replaced while a bad bundle is at the path.

    Raises:
        BundleError: the bundle at the path is refused, and there is no known-good one.
    """
    try:
        return loader.load(loader.adopt(slot.path))
    except BundleError as exc:
        file = _good_bundle_file(slot)
        if file is None or not file.exists():
            raise
        key = file.read_text(encoding="ascii")
        log_event(logging.ERROR, "bundle_refused_at_start", bundle=slot.path, instead=key, error=exc)
        return loader.load_copy(key)


def _good_bundle_file(slot: Slot) -> Path | None:
    directory = os.environ.get(RUN_DIRECTORY_VARIABLE)
    return None if directory is None else Path(directory) / f"{_GOOD_BUNDLE_FILE}-{slot.number}"


class BundleFollower:
    """Follows the bundle at a path and provides its encoder.

    A bundle that fails verification is skipped with a log line, and the previous one stays in use.
    """

    def __init__(self, path: Path, loader: BundleLoader, *, poll_ms: int) -> None:
        """Args:
        poll_ms: poll interval; 0 switches polling off.

        Raises:
            BundleError
        """
        self._path = path
        self._loader = loader
        self._poll_s = poll_ms / 1_000
        self._identity: Identity = identity_of(path)
        self._encoder = loader.open(path).encoder
        self._look_at_s = time.monotonic() + self._poll_s

    def encoder(self) -> Encoder:
        if self._poll_s and time.monotonic() >= self._look_at_s:
            self._look_at_s = time.monotonic() + self._poll_s
            self._look()
        return self._encoder

    def _look(self) -> None:
        identity = identity_of(self._path)
        if identity == self._identity:
            return
        self._identity = identity
        try:
            bundle = self._loader.open(self._path)
        except BundleError as exc:
            log_event(logging.ERROR, "bundle_refused", error=exc)
        else:
            self._encoder = bundle.encoder
            log_event(logging.INFO, "bundle_followed", version=bundle.manifest.model_version)
