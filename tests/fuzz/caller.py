"""Sends hostile requests over a real socket, and says what is wrong with an answer."""

import http.client
import json
import socket
from dataclasses import dataclass

from tests.fuzz.hostile import Hostile

TIMEOUT_S = 60.0  # an answer that takes longer is a hang
ALLOWED = frozenset({200, 400, 413, 415, 422})
_LEAKS = (b"Traceback", b'File "', b".py", b"site-packages", b"Error(", b"0x7f", b"redis://", b"unix://")


class BadAnswer(AssertionError):
    """An answer that no caller may ever get, or none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body."""

    status: int
    body: bytes


class Caller:
    """One caller, who keeps the connection as long as the service does.

    Args:
        secrets: texts that must not be in any answer.
    """

    def __init__(self, port: int, key: str, *, secrets: tuple[str, ...] = ()) -> None:
        self._port = port
        self._key = key
        self._leaks = (*_LEAKS, *(secret.encode() for secret in (*secrets, key)))
        self._socket: socket.socket | None = None

    def send(self, hostile: Hostile) -> Answer:
        """Raises: BadAnswer."""
        request = _on_the_wire(hostile, self._key)
        try:
            try:
                answer = self._exchanged(request)
            except (http.client.RemoteDisconnected, ConnectionError):
                # The service may close an idle connection while the next request is under way; a new one it answers.
                self.close()
                answer = self._exchanged(request)
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise BadAnswer(f"no answer but {exc!r} to {_shown(hostile)}") from exc
        fault = self._fault(answer, hostile)
        if fault:
            raise BadAnswer(f"{fault} in {answer.status} {answer.body[:500]!r} to {_shown(hostile)}")
        return answer

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchanged(self, request: bytes) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        response = http.client.HTTPResponse(self._socket, method="POST")
        try:
            response.begin()  # passes over 100 Continue
            answer = Answer(response.status, response.read())
            if response.will_close:
                self.close()
            return answer
        finally:
            response.close()

    def _fault(self, answer: Answer, hostile: Hostile) -> str:
        if answer.status not in ALLOWED:
            return "a status that is not allowed"
        try:
            document = json.loads(answer.body)
        except ValueError:
            return "no JSON"
        if (answer.status == 200) != ("ads" in document):
            return "a wrong document"
        # What the caller sent may come back: the text of a bad feature, for one.
        leaks = [leak for leak in self._leaks if leak in answer.body and leak not in hostile.body]
        return f"a leak of {leaks}" if leaks else ""


def _on_the_wire(hostile: Hostile, key: str) -> bytes:
    headers = {"Host": "x", "Content-Type": "application/json", "Authorization": f"Bearer {key}"} | hostile.headers
    if hostile.chunk:
        headers["Transfer-Encoding"] = "chunked"
        step = max(hostile.chunk, len(hostile.body) // 1_000)  # a large body in single bytes takes for ever
        parts = [hostile.body[start : start + step] for start in range(0, len(hostile.body), step)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        headers["Content-Length"] = str(len(hostile.body))
        body = hostile.body
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /rank HTTP/1.1\r\n{head}\r\n".encode() + body


def _shown(hostile: Hostile) -> str:
    body = f"{len(hostile.body)} bytes {hostile.body[:600]!r}"
    return f"{hostile.kind}, chunks of {hostile.chunk}, {hostile.headers}, {body}"
