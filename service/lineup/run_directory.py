"""Run directory: private to the service while it runs; holds its copies of bundles and the workers' metrics."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dinrank.model.bundle.staging import scratch_directory

RUN_DIRECTORY_VARIABLE = "DINRANK_OWN_DIRECTORY"  # set for the workers by the supervisor


class NoRunDirectory(Exception):
    """The run directory cannot be created; the message names the location and the setting."""


@contextmanager
def run_directory(parent: Path | None) -> Iterator[Path]:
    """Create a directory that only this user may enter, and remove it at the end of the block.

    Leftover directories of killed services are removed first.

    Args:
        parent: where to create it; by default the system's temporary folder.

    Raises:
        NoRunDirectory
    """
    with ExitStack() as stack:
        try:
            if parent is not None:
                parent.mkdir(parents=True, exist_ok=True)
            directory = stack.enter_context(scratch_directory("run", folder=parent))
        except OSError as exc:
            raise NoRunDirectory(
                f"no directory for the service's own files in {parent or tempfile.gettempdir()}: {exc.strerror}; set "
                "DINRANK_RUN_DIR to one that it may write to"
            ) from exc
        yield directory
