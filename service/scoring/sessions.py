"""ONNX Runtime sessions: open, check and run a bundle's graphs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from dinrank.model.bundle.errors import SchemaMismatch, UnsupportedFormat
from dinrank.service.errors import PredictionFailed
from dinrank.service.scoring.run_limit import RunLimit

# Errors of ONNX Runtime; their only common base class is Exception.
RUNTIME_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


_FLOATS = ("tensor(float)", "tensor(double)")


class Session:
    """One graph. Safe to use from several threads at once.

    Args:
        threads: how many threads one run may use.
        run_limit: ends runs that take too long; without it a run may take for ever.

    Raises:
        UnsupportedFormat: ONNX Runtime cannot read the graph.
    """

    def __init__(self, path: Path, *, threads: int = 1, run_limit: RunLimit | None = None) -> None:
        self.file = path.name
        self._run_limit = run_limit
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: they are raised as well
        # A spinning thread takes the core that the next request needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except RUNTIME_ERRORS as exc:
            raise UnsupportedFormat(self.file, expected="a graph that ONNX Runtime loads", found=str(exc)) from exc
        self._inputs = {node.name: node for node in self._session.get_inputs()}
        self._outputs = {node.name: node for node in self._session.get_outputs()}

    def has_output(self, name: str) -> bool:
        return name in self._outputs

    def input_shape(self, name: str) -> Sequence[int | str | None]:
        """Raises: SchemaMismatch, when there is no such input."""
        if name not in self._inputs:
            raise SchemaMismatch(self.file, expected=f"an input {name}", found=", ".join(sorted(self._inputs)))
        shape: Sequence[int | str | None] = self._inputs[name].shape
        return shape

    def check_inputs(
        self, expected: Mapping[str, Sequence[int | str]], *, floats: frozenset[str] = frozenset()
    ) -> None:
        """Compare the graph's inputs with those expected: int64, or float32 for those in `floats`.

        Raises:
            SchemaMismatch: a name, type or shape differs.
        """
        if self._inputs.keys() != expected.keys():
            raise SchemaMismatch(
                self.file,
                expected=f"inputs {', '.join(sorted(expected))}",
                found=", ".join(sorted(self._inputs)) or "none",
            )
        for name, shape in expected.items():
            node, kind = self._inputs[name], "float" if name in floats else "int64"
            if node.type != f"tensor({kind})" or not _fits(node.shape, shape):
                raise SchemaMismatch(
                    self.file, expected=f"input {name} {kind} {list(shape)}", found=f"{node.type} {node.shape}"
                )

    def check_output(self, name: str, shape: Sequence[int | str]) -> None:
        """Raises: SchemaMismatch, when there is no such output or it is not of floats in this shape."""
        node = self._outputs.get(name)
        if node is None:
            raise SchemaMismatch(self.file, expected=f"an output {name}", found=", ".join(sorted(self._outputs)))
        if node.type not in _FLOATS or not _fits(node.shape, shape):
            raise SchemaMismatch(
                self.file, expected=f"output {name} of floats {list(shape)}", found=f"{node.type} {node.shape}"
            )

    def run(self, outputs: Sequence[str], inputs: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.floating]]:
        """Run the graph once, in the calling thread.

        Raises:
            PredictionFailed: ONNX Runtime refused, or the run was ended after its limit.
        """
        options = ort.RunOptions()
        if self._run_limit is not None:
            self._run_limit.begin(options)
        try:
            found: list[NDArray[np.floating]] = self._session.run(list(outputs), dict(inputs), options)
        except RUNTIME_ERRORS as exc:
            if options.terminate and self._run_limit is not None:
                limit_ms = self._run_limit.limit_ms
                raise PredictionFailed(f"{self.file} ran longer than {limit_ms} ms, and was ended") from exc
            raise PredictionFailed(f"ONNX Runtime refused the request: {exc}") from exc
        finally:
            if self._run_limit is not None:
                self._run_limit.end(options)
        return found


def _fits(found: Sequence[int | str | None], expected: Sequence[int | str]) -> bool:
    """Compare shapes: dynamic dimensions, "C" and "T", must be dynamic under any name; fixed ones must be equal."""
    return len(found) == len(expected) and all(
        size == wanted if isinstance(wanted, int) else not isinstance(size, int)
        for size, wanted in zip(found, expected, strict=True)
    )
