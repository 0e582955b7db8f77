"""Where a training stands, on disk beside the bundle to be, so that a killed one goes on."""

import hashlib
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.bundle.staging import flush

FORMAT_VERSION = 1
_DATASET_FILES = ("schema.toml", "impressions.parquet", "items.parquet", "users.parquet", "behaviours.parquet")


class CheckpointError(Exception):
    """A checkpoint cannot be used or written; the message names the file and what to do."""


def checkpoint_path(bundle: Path) -> Path:
    """`bundles/din` has its checkpoint beside it in `bundles/din.checkpoint` until it is written."""
    return bundle.with_name(f"{bundle.name}.checkpoint")


def fingerprint(dataset: Path) -> str:
    """sha256 over the files of a dataset directory that training reads."""
    digest = hashlib.sha256()
    for name in _DATASET_FILES:
        file = dataset / name
        if file.exists():
            with file.open("rb") as stream:
                digest.update(f"{name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The checkpoint of one run.

    Attributes:
        run: everything that determines what the run comes to, as JSON values. A checkpoint of any other run is refused.
    """

    path: Path
    run: Mapping[str, Any]

    def read(self) -> dict[str, Any] | None:
        """The state that was written last; None when there is none.

        Raises:
            CheckpointError: the file cannot be read, or is of another run.
        """
        if not self.path.exists():
            return None
        try:
            document = torch.load(self.path, weights_only=True)  # tensors and plain values: nothing in it is executed
            run, state = json.loads(document["run"]), document["state"]
        except (OSError, EOFError, KeyError, RuntimeError, TypeError, pickle.UnpicklingError) as exc:
            raise CheckpointError(f"{self.path} cannot be read; delete it to start anew: {exc}") from exc
        if differing := list(differences(run, json.loads(self._identity()))):
            raise CheckpointError(
                f"{self.path} is of another run: {'; '.join(differing)}. "
                "Train with what it was begun with, choose another --out, or delete it to start anew"
            )
        found: dict[str, Any] = state
        return found

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint in one rename: whenever the process is killed, the old one or the new one is there.

        Raises:
            CheckpointError: the disk does not take it; the old one is still there.
        """
        document = {"run": self._identity(), "state": dict(state)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._partial.open("wb") as stream:
                torch.save(document, stream)
                stream.flush()
                os.fsync(stream.fileno())
            self._partial.replace(self.path)
            flush(self.path.parent)
        except (OSError, RuntimeError) as exc:  # torch's writer has errors of its own for a full disk
            self._partial.unlink(missing_ok=True)
            raise CheckpointError(f"{self.path} cannot be written; make room and go on with --resume: {exc}") from exc

    def remove(self) -> None:
        """To be called when the bundle is written."""
        self.path.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def _identity(self) -> str:
        return json.dumps({"format": FORMAT_VERSION, **self.run})

    @property
    def _partial(self) -> Path:
        """One name, so that the next attempt overwrites what a killed one left."""
        return self.path.with_name(f"{self.path.name}.partial")


def differences(was: Any, now: Any, name: str = "") -> Iterator[str]:
    """Each value that differs, by its dotted name."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            yield from differences(was.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif was != now:
        yield f"{name} was {was} and is {now}"
