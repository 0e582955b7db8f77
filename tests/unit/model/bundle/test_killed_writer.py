"""Writers that are killed, and writers without room: a bundle is there whole, or not at all."""

import subprocess
import sys
from pathlib import Path

from dinrank.model.bundle.reader import open_bundle
from tests.fixtures.bundle import make_bundle

ROOT = Path(__file__).parents[4]
BEGINNING = """
import os, resource, signal, sys, time
from pathlib import Path
from tests.fixtures.bundle import golden_answers, make_encoder, write_graph
from dinrank.model.bundle.writer import write_bundle

folder, graph = Path(sys.argv[1]), Path(sys.argv[2])
encoder, golden = make_encoder(), golden_answers()
write_graph(graph)

def write(out):
    write_bundle(out, model_name="formula", encoder=encoder, graph_files=[graph], golden=golden,
                 training={}, metrics={}, calibration={"method": "none"})

"""
# Children that write the same bundle, each killed a little later than the one before; what one leaves is set aside.
KILLED = """
start = time.monotonic()
write(folder / "whole")
duration = time.monotonic() - start
for number in range(NUM):
    writer = os.fork()
    if writer == 0:
        write(folder / "bundle")
        os._exit(0)
    time.sleep(3.0 * duration * number / NUM)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    print(len(list(folder.glob(".bundle.*"))))
    if (folder / "bundle").exists():
        (folder / "bundle").rename(folder / f"bundle-{number}")
"""
WITHOUT_ROOM = """
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    write(folder / "bundle")
except OSError as exc:
    print(exc)
"""
NUM_KILLED = 40


def run(program: str, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", BEGINNING + program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ended.stdout


def test_a_killed_writer_leaves_a_whole_bundle_or_none(tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    unfinished = run(KILLED.replace("NUM", str(NUM_KILLED)), str(folder), str(tmp_path / "model.onnx")).split()
    assert set(unfinished) == {"0", "1"}  # some were killed amid their work, and the next one removed what they left
    assert open_bundle(make_bundle(folder / "bundle"))
    assert not list(folder.glob(".bundle.*"))
    assert len({open_bundle(path).manifest.model_version for path in folder.glob("bundle-*")}) == 1


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files, as a disk without room has one."""
    graph = make_bundle(tmp_path / "bundle") / "model.onnx"
    for limit in (0, 200, graph.stat().st_size - 1):
        folder = tmp_path / f"with {limit} bytes"
        said = run(WITHOUT_ROOM, str(folder), str(tmp_path / "model.onnx"), str(limit))
        assert said, limit
        assert list(folder.iterdir()) == []
