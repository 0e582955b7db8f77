"""Validation of Redis replies: a reply of an unexpected form is refused, with all that came with it."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from redis.exceptions import RedisError, ResponseError

Command = Sequence[bytes | str | int]  # its name, as text, and the arguments
Meaning = Callable[[Any], Any]  # redis-py's function that reads a reply

_MAX_SHOWN = 200  # characters of a server's reply
_BYTES = frozenset({bytes})
_ENTRY_ID = re.compile(rb"\d{1,20}-\d{1,20}")
# Raised by redis-py's functions on unexpected input.
UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


class MalformedReply(RedisError):
    """A reply of a form that the command never returns: from another program, a proxy, or out of step."""

    def __init__(self, command: Command, reply: object) -> None:
        super().__init__(f"no reply to {str(command[0])}: {shortened(repr(reply))}")


def understood(command: Command, reply: Any, meaning: Meaning | None) -> Any:
    """Decode a reply with redis-py's function and check its form; an error stays an error.

    Args:
        reply: as it was parsed.

    Raises:
        MalformedReply
    """
    if isinstance(reply, ResponseError):
        return shortened_error(reply)
    if meaning is not None:
        if command[0] == "HGETALL" and not (type(reply) is list and len(reply) % 2 == 0):
            raise MalformedReply(command, reply)  # redis-py would decode it nevertheless
        try:
            reply = meaning(reply)
        except UNREADABLE as exc:
            raise MalformedReply(command, reply) from exc
    has_form = _FORMS.get(command[0])
    if has_form is not None and not has_form(command, reply):
        raise MalformedReply(command, reply)
    return reply


def checked(command: Command, reply: Any) -> Any:
    """Check a reply that redis-py has decoded already, perhaps into an exception. Raises: MalformedReply."""
    if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
        return reply
    return understood(command, reply, None)


def shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def shortened_error(error: ResponseError) -> ResponseError:
    """Shorten an error for log lines and answers."""
    text = str(error)
    return error if len(text) <= _MAX_SHOWN else type(error)(shortened(text))


def _are_bytes(values: object) -> bool:
    return type(values) is list and _BYTES.issuperset(map(type, values))


def _is_range(command: Command, reply: Any) -> bool:
    start, stop = command[2:4]
    assert isinstance(start, int) and isinstance(stop, int)
    return _are_bytes(reply) and (stop < 0 or len(reply) <= stop - start + 1)


def _is_hash(command: Command, reply: Any) -> bool:
    return type(reply) is dict and _BYTES.issuperset(map(type, chain(reply, reply.values())))


def _is_count(command: Command, reply: Any) -> bool:
    return type(reply) is int and reply >= 0


def _is_score(command: Command, reply: Any) -> bool:
    return reply is None or type(reply) is float


def _is_of_script(command: Command, reply: Any) -> bool:
    return reply is None or (type(reply) is list and all(type(each) is int and each >= 0 for each in reply))


def _is_portion_of_keys(command: Command, reply: Any) -> bool:
    return type(reply) is tuple and _are_bytes(reply[1])


def _are_entries_of_streams(command: Command, reply: Any) -> bool:
    return type(reply) is list and all(
        len(stream) == 2 and type(stream[0]) is bytes and all(map(_is_entry, stream[1] or ())) for stream in reply
    )


def _is_entry(entry: tuple[Any, Any]) -> bool:
    entry_id, fields = entry
    return _is_entry_id(entry_id) and _is_hash((), fields)


def _is_claim(command: Command, reply: Any) -> bool:
    return type(reply) is list and len(reply) >= 2 and _is_entry_id(reply[0])


def _is_entry_id(value: object) -> bool:
    return type(value) is bytes and _ENTRY_ID.fullmatch(value) is not None


def _is_text(command: Command, reply: Any) -> bool:
    return type(reply) is bytes


def _is_dictionary(command: Command, reply: Any) -> bool:
    return type(reply) is dict


def _is_time(command: Command, reply: Any) -> bool:
    return type(reply) is tuple and len(reply) == 2 and all(type(each) is int for each in reply)


def _is_pong(command: Command, reply: Any) -> bool:
    return reply is True


_FORMS: Mapping[bytes | str | int, Callable[[Command, Any], bool]] = {
    "LRANGE": _is_range,
    "HGETALL": _is_hash,
    **dict.fromkeys(("LLEN", "ZCARD", "HLEN", "EXISTS", "UNLINK", "HSET", "HDEL", "XACK"), _is_count),
    "ZSCORE": _is_score,
    **dict.fromkeys(("EVAL", "EVALSHA"), _is_of_script),
    "SCAN": _is_portion_of_keys,
    "XREADGROUP": _are_entries_of_streams,
    "XAUTOCLAIM": _is_claim,
    **dict.fromkeys(("XADD", "XGROUP"), _is_text),
    **dict.fromkeys(("INFO", "CONFIG GET"), _is_dictionary),
    "TIME": _is_time,
    "PING": _is_pong,
}
