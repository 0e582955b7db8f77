"""Sends hostile requests over a real socket, and says what is wrong with an answer."""

import http.client
import json
import socket
from collections.abc import Sequence
from contextlib import suppress

from tests.fuzz.hostile import Hostile
from tests.fuzz.wire import Answer, Connection, Manner, Target

ALLOWED = frozenset({200, 400, 413, 415, 422})
_LEAKS = (b"Traceback", b'File "', b".py", b"site-packages", b"Error(", b"0x7f", b"redis://", b"unix://")


class BadAnswer(AssertionError):
    """An answer that no caller may ever get, or none."""


class Caller:
    """One caller, who keeps the connection as long as the service does.

    Args:
        secrets: texts that must not be in any answer.
    """

    def __init__(self, target: Target, key: str, *, secrets: tuple[str, ...] = ()) -> None:
        self._target = target
        self._key = key
        self._leaks = (*_LEAKS, *(secret.encode() for secret in (*secrets, key)))
        self._kept: Connection | None = None

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
        return self._checked(answer, hostile)

    def _checked(self, answer: Answer, hostile: Hostile) -> Answer:
        fault = self._fault(answer, hostile)
        if fault:
            raise BadAnswer(f"{fault} in {answer.status} {answer.body[:500]!r} to {_shown(hostile)}")
        return answer

    def send_as(self, manner: Manner, several: Sequence[Hostile]) -> list[Answer]:
        """Those that are answered: a connection may end before the last.

        Raises: BadAnswer.
        """
        match manner:
            case Manner.ONE_BY_ONE:
                return [self.send(each) for each in several]
            case Manner.RESET:
                with suppress(OSError):  # what the service makes of it shows in its log and its metrics
                    self._target.reset_after(self._together(several))
                return []
            case _:
                return self._sent_together(several, is_half_closed=manner is Manner.HALF_CLOSED)

    def _together(self, several: Sequence[Hostile]) -> bytes:
        return b"".join(_on_the_wire(each, self._key) for each in several)

    def _sent_together(self, several: Sequence[Hostile], *, is_half_closed: bool) -> list[Answer]:
        answers: list[Answer] = []
        try:
            with self._target.connection() as connection:
                connection.socket.sendall(self._together(several))
                if is_half_closed:
                    connection.socket.shutdown(socket.SHUT_WR)
                for each in several:
                    answers.append(self._checked(connection.answer(), each))
                    if answers[-1].is_last:
                        break
                if is_half_closed and not connection.has_ended():
                    raise BadAnswer(f"something after the answers to {[_shown(each) for each in several]}")
        except (OSError, http.client.HTTPException) as exc:
            shown = [_shown(each) for each in several]
            raise BadAnswer(f"{len(answers)} answers, and then {exc!r} to {shown}") from exc
        return answers

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _exchanged(self, request: bytes) -> Answer:
        if self._kept is None:
            self._kept = self._target.open()
        self._kept.socket.sendall(request)
        answer = self._kept.answer()
        if answer.is_last:
            self.close()
        return answer

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
