"""Callers that dribble: they hold their connections while others call, and count how the service ends them."""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_PACE_S = 0.1  # between two bytes
_NO_ANSWER = "closed"


@contextmanager
def slow_callers(port: int, key: str, *, each: int = 2) -> Iterator[Counter[tuple[str, str]]]:
    """While the block runs, `each` callers of every sort, over and over; gives what became of them."""
    ended: Counter[tuple[str, str]] = Counter()
    stop = threading.Event()
    post = f"POST /rank HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n".encode()
    sorts = {
        "slow head": (b"", post * 1_000),
        "slow body": (post + b"Content-Length: 100000\r\n\r\n", b" " * 100_000),
        "slow chunks": (post + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 10_000),
        "slow without a key": (b"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b" " * 100_000),
        "never a byte": (b"", b""),
    }
    threads = [
        threading.Thread(target=_dribble, args=(port, name, *parts, ended, stop), daemon=True)
        for name, parts in sorts.items()
        for _ in range(each)
    ]
    for thread in threads:
        thread.start()
    try:
        yield ended
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _dribble(
    port: int, name: str, at_once: bytes, slowly: bytes, ended: Counter[tuple[str, str]], stop: threading.Event
) -> None:
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port), timeout=_PACE_S) as connection:
            answer = _answer(connection, at_once, slowly, stop)
        if answer is not None:
            ended[name, answer] += 1
        stop.wait(_PACE_S)


def _answer(connection: socket.socket, at_once: bytes, slowly: bytes, stop: threading.Event) -> str | None:
    """The status, or that there was none; None when the block ended first."""
    connection.sendall(at_once)
    rest = iter(slowly)
    while not stop.is_set():
        try:
            received = connection.recv(65_536)
        except TimeoutError:  # that is the pace
            with contextlib.suppress(ConnectionError):
                connection.sendall(bytes([byte]) if (byte := next(rest, None)) is not None else b"")
            continue
        except ConnectionError:
            return _NO_ANSWER
        return received[9:12].decode() if received else _NO_ANSWER
    return None
