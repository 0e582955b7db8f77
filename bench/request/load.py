"""Keep rankings in flight until stopped: python -m bench.request.load PORT CALLERS. Prints a line once they are."""

import itertools
import sys
import threading

from bench.harness.processes import connect, post_rank
from bench.harness.traffic import NUM_USERS, bodies


def call_for_ever(port: int, offset: int, started: threading.Barrier) -> None:
    connection = connect(port)
    post_rank(connection, bodies(50, 200)[offset % NUM_USERS])
    started.wait()
    for body in itertools.islice(itertools.cycle(bodies(50, 200)), offset, None):
        post_rank(connection, body)


def main(port: int, callers: int) -> None:
    started = threading.Barrier(callers + 1)
    threads = [
        threading.Thread(target=call_for_ever, args=(port, number, started), daemon=True) for number in range(callers)
    ]
    for thread in threads:
        thread.start()
    started.wait()
    print(f"{callers} callers", flush=True)  # noqa: T201
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
