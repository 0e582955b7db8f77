"""Lua scripts that update one user atomically: no reader or crash sees half an update.

A user's list holds, newest first, the live behaviours and after them those written by `publish`:

    list     [ live, newest ... live, oldest | published, newest ... published, oldest ]       bounded
    events   { event id: timestamp of each live one } and, under the empty id, the horizon

Live behaviours are in the order of the sorted set, (timestamp, event id bytewise): the rank of an event in the set is
its position in the list, found without reading any element. The horizon is the newest published timestamp. An event
that is not newer counts as published already: a dataset has no event ids to compare. If the horizon looks like a clock
time, a timestamp a hundred times as large is in another unit and refused.
So the list is a function of the last publication and the set of events, independent of order and repetition. The only
exception: events in another unit may push others out of a full list before anything is published.

A user without live behaviours has no sorted set; the horizon is then the timestamp of the list's first element. A list
shorter than its events imply was trimmed or replaced by another program: the rest of it counts as published.

Steps that allocate memory come first: out of memory, Redis refuses only scripts that have not written yet. A key of
another type is replaced. Lua takes some thousand arguments at a time.

Redis serves no other client while a script runs, so the work of a call is bounded: see `add_events.lua`. No script
reads a whole list. Lua interns strings by a hash of some of their characters: strings that differ only in the others
collide, so that a list's elements, which are alike, can take a hundred times as long as others of their length.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from redis.exceptions import NoScriptError

from dinrank.service.store.connection import RedisConnection
from dinrank.service.store.replies import Command

# A timestamp in milliseconds among seconds would stay the newest behaviour for ever; the units are a factor of 1,000
# apart. Below 100,000,000, in seconds the year 1973, published timestamps may as well be days or ranks, without a unit.
LEAST_CLOCK = 1e8
UNITS_APART = 100


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua program for Redis."""

    text: str

    @classmethod
    def of(cls, name: str) -> Self:
        """Read the program in the file of this name, with the common prologue in front."""
        constants = f"local least_clock, units_apart = {LEAST_CLOCK:.0f}, {UNITS_APART}\n"
        return cls(constants + _read("user_state") + _read(name))

    def sha1(self) -> str:
        """Return the SHA-1 by which Redis names the script."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def _read(name: str) -> str:
    return Path(__file__).with_name(f"{name}.lua").read_text(encoding="utf-8")


ADD_EVENTS = Script.of("add_events")
REPLACE_USER = Script.of("replace_user")


async def run_script(connection: RedisConnection, script: Script, calls: Sequence[Command]) -> list[Any]:
    """Run a script once for each call (number of keys, keys, arguments), and return the replies in order.

    One round trip, and a second one for servers that do not know the script yet; it sends them the script.

    Raises:
        FeatureStoreUnavailable: as `RedisConnection.execute`.
    """
    sha1 = script.sha1()
    replies = await connection.execute([("EVALSHA", sha1, *call) for call in calls])
    unknown = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        again = await connection.execute([("EVAL", script.text, *calls[place]) for place in unknown])
        for place, reply in zip(unknown, again, strict=True):
            replies[place] = reply
    return replies
