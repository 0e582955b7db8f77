"""A directory of the service's own for as long as it runs: its copies of bundles, the workers' metrics."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dinrank.model.bundle.staging import scratch_directory

RUN_DIRECTORY_VARIABLE = "DINRANK_OWN_DIRECTORY"  # set for the workers by the process that starts them


class NoRunDirectory(Exception):
    """No directory can be made for the service's own files; the message names the place and the setting."""


@contextmanager
def run_directory(parent: Path | None) -> Iterator[Path]:
    """Make a directory that only this user may enter, and remove it at the end of the block.

    Directories of services that were killed are removed first.

    Args:
        parent: where to make it; by default the system's place for temporary files.

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
