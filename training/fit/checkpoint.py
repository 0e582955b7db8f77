"""Checkpoint of a training, on disk beside the future bundle, so that a killed run can resume."""

import hashlib
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dinrank.model.bundle.staging import flush, named
from dinrank.training.errors import CheckpointError
from dinrank.training.output.disk import explain

FORMAT_VERSION = 1

MAY_CHANGE = ("commit", "versions", "threads")  # ignored once training is finished

_DATASET_FILES = ("schema.toml", "impressions.parquet", "items.parquet", "users.parquet", "behaviours.parquet")


def checkpoint_path(bundle: Path) -> Path:
    """Return the checkpoint's path: `bundles/din.checkpoint` for `bundles/din`, until the bundle is written."""
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
        run: everything that determines the run's result, as JSON values. A checkpoint of any other run is refused.
    """

    path: Path
    run: Mapping[str, Any]

    def read(self) -> dict[str, Any] | None:
        """Return the last written state; None if there is none.

        Raises:
            CheckpointError: the file cannot be read, or is of another run.
        """
        if not self.path.exists():
            return None
        document = self._load()
        if differing := self._differing(document):
            raise CheckpointError(
                f"{self.path} is of another run: {'; '.join(differing)}. "
                "Train with what it was begun with, choose another --out, or delete it to start anew"
            )
        state: dict[str, Any] = document["state"]
        return state

    def trained_with(self) -> dict[str, Any]:
        """Commit, versions and threads of the training that wrote it; of this run where there is none.

        Raises:
            CheckpointError: the file cannot be read.
        """
        run = json.loads(self._load(mapped=True)["run"]) if self.path.exists() else self.run
        return {name: run[name] for name in MAY_CHANGE if name in run}

    def remove_of_another_run(self) -> list[str]:
        """Remove the checkpoint if `read` would refuse it; return the differences.

        Raises:
            CheckpointError: the file cannot be read.
        """
        differing = self._differing(self._load(mapped=True)) if self.path.exists() else []
        if differing:
            self.remove()
        return differing

    def _load(self, *, mapped: bool = False) -> dict[str, Any]:
        try:
            # Tensors and plain values only: nothing in the file is executed.
            document: dict[str, Any] = torch.load(self.path, weights_only=True, mmap=mapped)
            json.loads(document["run"])
            document["state"]
        except (OSError, EOFError, KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as exc:
            raise CheckpointError(f"{self.path} cannot be read; delete it to start anew: {exc}") from exc
        return document

    def _differing(self, document: Mapping[str, Any]) -> list[str]:
        was, now = json.loads(document["run"]), json.loads(self._identity())
        if document.get("finished", False):
            was, now = ({name: run[name] for name in run if name not in MAY_CHANGE} for run in (was, now))
        return list(differences(was, now))

    def write(self, state: Mapping[str, Any], *, is_finished: bool = False) -> None:
        """Replace the checkpoint atomically: if the process is killed, either the old or the new one is there.

        Args:
            is_finished: nothing is left to train. Such a checkpoint may be used with other code and threads.

        Raises:
            CheckpointError: it cannot be written; the old one is still there.
        """
        document = {"run": self._identity(), "state": dict(state), "finished": is_finished}
        try:
            with named(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self._partial.open("wb") as stream:
                    torch.save(document, stream)
                    stream.flush()
                    os.fsync(stream.fileno())
                self._partial.replace(self.path)
                flush(self.path.parent)
        except (OSError, RuntimeError) as exc:  # torch's writer raises its own errors for a full disk
            self._partial.unlink(missing_ok=True)
            megabytes = _num_bytes(state) / 1e6
            raise CheckpointError(
                f"{self.path} cannot be written, {megabytes:,.2f} MB or more: {self._why(exc)}"
            ) from exc

    def _why(self, exc: OSError | RuntimeError) -> str:
        cause = exc.__context__ if isinstance(exc.__context__, OSError) else exc
        if not isinstance(cause, OSError):
            return f"{cause}; make room and go on with --resume"
        cause.filename = cause.filename or str(self.path)
        return explain(cause)

    def remove(self) -> None:
        """Call when bundle and report are written."""
        self.path.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def _identity(self) -> str:
        return json.dumps({"format": FORMAT_VERSION, **self.run})

    @property
    def _partial(self) -> Path:
        """Return a fixed path, so that the next attempt overwrites the leftover of a killed one."""
        return self.path.with_name(f"{self.path.name}.partial")


def _num_bytes(state: Any) -> int:
    """Of all tensors in it."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    return sum(map(_num_bytes, state.values())) if isinstance(state, Mapping) else 0


def differences(was: Any, now: Any, name: str = "") -> Iterator[str]:
    """Yield each value that differs, by its dotted name."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            yield from differences(was.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif was != now:
        yield f"{name} was {was} and is {now}"
