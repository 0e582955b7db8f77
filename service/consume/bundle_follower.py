"""The bundle that a consumer reads events by: it needs to know features and items, and no graph."""

import logging
import time
from pathlib import Path

from model.bundle.encoding import Encoder
from model.bundle.errors import BundleError
from model.bundle.reader import Signatures, open_bundle
from service.loading import Identity, identity_of
from service.telemetry import log_event


class BundleFollower:
    """Gives the encoder of the bundle at a path, and soon after another one lies there, that one's.

    A bundle that cannot be trusted is passed over, with a log line, and the one before goes on.
    """

    def __init__(self, path: Path, *, poll_ms: int, signatures: Signatures | None = None) -> None:
        """Args:
        poll_ms: pause between looks; 0 never looks again.
        signatures: see `open_bundle`.

        Raises:
            BundleError
        """
        self._path = path
        self._signatures = signatures
        self._poll_s = poll_ms / 1_000
        self._identity: Identity = identity_of(path)
        self._encoder = open_bundle(self._identity.directory, signatures=signatures).encoder
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
            bundle = open_bundle(identity.directory, signatures=self._signatures)
        except BundleError as exc:
            log_event(logging.ERROR, "bundle_refused", error=exc)
        else:
            self._encoder = bundle.encoder
            log_event(logging.INFO, "bundle_followed", version=bundle.manifest.model_version)
