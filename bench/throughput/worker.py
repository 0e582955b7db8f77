"""Worker process of one implementation: takes commands from stdin, runs and times them.

Needs only torch and numpy, as each library lives in an environment of its own.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bench.throughput.setting import SEED, Setting

Arrays = Mapping[str, NDArray[Any]]


class Mode(StrEnum):
    """`loop`: batches come from the implementation's own input pipeline, from memory. `step`: they are prepared."""

    LOOP = "loop"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class Measured:
    """Attributes:
    seconds: by the clock.
    cpu_seconds: of all threads of the process; less disturbed by other work on the machine.
    loss: mean log loss of the batches.
    """

    seconds: float
    cpu_seconds: float
    loss: float


class Implementation(Protocol):
    """Goes through the rows once, in order: each batch that `loop` or `prepare` takes is a new one."""

    def loop(self, num_batches: int) -> float:
        """Train as a user would; return the mean log loss of the batches."""

    def prepare(self, num_batches: int) -> Sequence[Any]:
        """Return the next batches, as `step` takes them."""

    def step(self, batch: Any) -> float:
        """Take one training step; return the batch's log loss."""


def serve(build: Callable[[Setting, Arrays], Implementation], library: str) -> None:
    """Read the setting from the command line, then a command a line, `{"mode": "loop", "batches": 20}`, until the end.

    Answers with a line of JSON each; what else is printed goes to stderr.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    setting = Setting.from_json(sys.argv[1])
    torch.set_num_threads(setting.threads)
    torch.manual_seed(SEED)
    with np.load(setting.arrays) as file:
        implementation = build(setting, dict(file))
    versions = {name: version(name) for name in (library, "torch", "numpy")}
    _answer(answers, {"python": platform.python_version(), **versions})
    for line in sys.stdin:
        command = json.loads(line)
        measured = measure(implementation, Mode(command["mode"]), int(command["batches"]))
        _answer(answers, asdict(measured))


def measure(implementation: Implementation, mode: Mode, num_batches: int) -> Measured:
    """Train on the next batches, against the clock."""
    prepared = implementation.prepare(num_batches) if mode is Mode.STEP else ()
    started, cpu_started = time.perf_counter(), time.process_time()
    if mode is Mode.LOOP:
        loss = implementation.loop(num_batches)
    else:
        loss = sum([implementation.step(batch) for batch in prepared]) / num_batches
    return Measured(time.perf_counter() - started, time.process_time() - cpu_started, loss)


def _answer(answers: Any, answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
