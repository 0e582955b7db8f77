"""What Redis itself carries out about one user, in one step each: nobody sees half of it, a crash leaves none of it.

A user's list holds, newest first, the live behaviours and behind them those that `publish` wrote:

    list     [ live, newest ... live, oldest | published, newest ... published, oldest ]       bounded
    events   { event id: timestamp of each live one } and, under the empty id, the horizon

Live behaviours stand in the order of the sorted set, which is that of (timestamp, event id, byte by byte): so the rank
of an event among the events is its place in the list, and no element need be read to find it. The horizon is the newest
published timestamp. Whatever is not newer is taken to be published already: a dataset has no event ids to tell it by.
Whatever is a hundred times as large, in a horizon that looks like a clock, is in another unit and refused.
So the list is a function of what was published last and of the set of events, whatever their order and repetition; but
for what a crowd in another unit pushed out of a full list before anything was published.

A user without live behaviours has no sorted set; the horizon is then the timestamp of the list's first element. A list
that is shorter than its events say was cut or replaced by somebody else: what is left of it counts as published.

What takes memory comes first, as Redis refuses a script that asks for more than it has only until it has written. A key
of another type is replaced. Lua takes some thousand arguments at a time.

Redis serves nobody else while a script runs, so a call has an end to its work: see `add_events.lua`. No script reads a
list. Lua keeps each text once and finds it by some of its characters: texts that differ in the others cost it a look
at all before them, so that a list's elements, which are alike, can take a hundred times as long as others of their
length.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from redis.exceptions import NoScriptError

from dinrank.service.store.connection import RedisConnection
from dinrank.service.store.replies import Command

# A timestamp in milliseconds among seconds would be the newest behaviour for ever; such units are a thousand apart.
# Below 100,000,000, seconds of 1973, the published timestamps may as well be days or ranks, which tell of no unit.
LEAST_CLOCK = 1e8
UNITS_APART = 100


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua program for Redis."""

    text: str

    @classmethod
    def of(cls, name: str) -> Self:
        """The program in the file of this name, behind what all of them begin with."""
        constants = f"local least_clock, units_apart = {LEAST_CLOCK:.0f}, {UNITS_APART}\n"
        return cls(constants + _read("user_state") + _read(name))

    def sha1(self) -> str:
        """How Redis names it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def _read(name: str) -> str:
    return Path(__file__).with_name(f"{name}.lua").read_text(encoding="utf-8")


ADD_EVENTS = Script.of("add_events")
REPLACE_USER = Script.of("replace_user")


async def run_script(connection: RedisConnection, script: Script, calls: Sequence[Command]) -> list[Any]:
    """Run a script once for each call (the number of keys, the keys, the arguments), and give the replies as they come.

    One round trip; another one for calls to a server that does not know the script yet, which gets it with them.

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
