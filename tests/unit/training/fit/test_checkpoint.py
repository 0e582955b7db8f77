from pathlib import Path
from typing import Any

import pytest
import torch

from dinrank.training.errors import CheckpointError
from dinrank.training.fit.checkpoint import Checkpoint, checkpoint_path, fingerprint
from tests.fixtures.dataset import write_dataset_directory

RUN = {"seed": 1, "config": {"epochs": 2, "network": {"tower": (8, 4)}}}

STATE = {"weights": torch.arange(3.0), "progress": "here"}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "bundles" / "din.checkpoint", RUN)


def test_the_checkpoint_is_named_after_the_bundle_and_lies_beside_it() -> None:
    assert checkpoint_path(Path("bundles/v1.2")) == Path("bundles/v1.2.checkpoint")


def test_what_was_written_is_read_and_nothing_else_lies_there(checkpoint: Checkpoint) -> None:
    assert checkpoint.read() is None
    for weights in (torch.zeros(3), STATE["weights"]):  # the second replaces the first
        checkpoint.write({**STATE, "weights": weights})
    assert list(checkpoint.path.parent.iterdir()) == [checkpoint.path]
    found = checkpoint.read()
    assert found is not None
    assert torch.equal(found["weights"], torch.arange(3.0))
    assert found["progress"] == "here"
    checkpoint.remove()
    assert list(checkpoint.path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({**RUN, "seed": 2}, "seed was 1 and is 2"),
        (
            {**RUN, "config": {"epochs": 2, "network": {"tower": (8,)}}},
            r"config.network.tower was \[8, 4\] and is \[8\]",
        ),
        ({**RUN, "dataset": "f00"}, "dataset was None and is f00"),
        (
            {**RUN, "seed": 2, "config": {}},
            "config.epochs was 2 and is None; config.network was .*; seed was 1 and is 2",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_with_what_differs_and_what_to_do(
    checkpoint: Checkpoint, other: dict[str, Any], difference: str
) -> None:
    checkpoint.write(STATE)
    expected = rf"din.checkpoint is of another run: {difference}\. Train with what .* or delete it to start anew"
    with pytest.raises(CheckpointError, match=expected):
        Checkpoint(checkpoint.path, other).read()


@pytest.mark.parametrize("kept", [0, 10, 700])
def test_a_damaged_file_is_refused_with_advice(checkpoint: Checkpoint, kept: int) -> None:
    checkpoint.write(STATE)
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"din\.checkpoint cannot be read; delete it to start anew"):
        checkpoint.read()


def test_a_file_that_would_execute_code_is_refused(checkpoint: Checkpoint) -> None:
    checkpoint.write(STATE)
    torch.save({"run": Path("anything but plain values")}, checkpoint.path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.read()


def test_a_write_that_fails_leaves_the_old_checkpoint(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(STATE)

    def full_disk(document: Any, stream: Any) -> None:
        stream.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(CheckpointError, match=r"cannot be written, .* MB or more: no room .*No space left.*--resume"):
        checkpoint.write({"progress": "further"})
    assert list(checkpoint.path.parent.iterdir()) == [checkpoint.path]
    found = checkpoint.read()
    assert found is not None
    assert found["progress"] == "here"


def test_the_fingerprint_is_of_every_file_that_training_reads_and_of_no_other(tmp_path: Path) -> None:
    first, second = (write_dataset_directory(tmp_path / name) for name in ("first", "second"))
    (first / "notes.txt").write_text("nobody reads this")
    assert fingerprint(first) == fingerprint(second)
    for file in ("schema.toml", "impressions.parquet", "items.parquet", "users.parquet"):
        before = (second / file).read_bytes()
        (second / file).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert fingerprint(first) != fingerprint(second), file
        (second / file).write_bytes(before)
    (second / "behaviours.parquet").touch()
    assert fingerprint(first) != fingerprint(second)
