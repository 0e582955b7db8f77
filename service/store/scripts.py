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
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError

from service.store.connection import RedisConnection
from service.store.exchange import Command


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua program for Redis."""

    text: str

    def sha1(self) -> str:
        """How Redis names it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


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


# A timestamp in milliseconds among seconds would be the newest behaviour for ever; such units are a thousand apart.
# Below 100,000,000, seconds of 1973, the published timestamps may as well be days or ranks, which tell of no unit.
LEAST_CLOCK = 1e8
UNITS_APART = 100

# Gives `list`, `events`, `stored` (elements), `known` (members), `horizon` (nil: none) and `live` (elements); and
# `unit_end(newest)`, the first timestamp that is in another unit than `newest`, nil where that cannot be told.
_STATE = (
    f"""
local function unit_end(newest)
  if newest and newest >= {LEAST_CLOCK} then return {UNITS_APART} * newest end
end
"""
    + """
local function in_portions(command, key, values)
  for start = 1, #values, 1000 do
    redis.call(command, key, unpack(values, start, math.min(start + 999, #values)))
  end
end
local function size(command, key)
  local reply = redis.pcall(command, key)
  if type(reply) == 'number' then return reply end
  if string.sub(reply.err, 1, 9) ~= 'WRONGTYPE' then error(reply.err) end
  redis.call('DEL', key)
  return 0
end
local stored, known = size('LLEN', list), size('ZCARD', events)
local horizon = tonumber(redis.call('ZSCORE', events, ''))
local live = known - (horizon and 1 or 0)
if stored < live then
  redis.call('DEL', events)
  known, live, horizon = 0, 0, nil
end
"""
)

# Events are merged with the elements before them, which all pass through Lua. Where that would be so many for each
# event, every event is put in its place by itself instead, which an empty element marks: there is no other one.
_MANY_TO_MOVE = 50

# KEYS: the list and the events. ARGV: how many behaviours the list may hold; of each event id, timestamp and element.
# Gives how many were accepted, were known already, were too old, and were in another unit.
ADD_EVENTS = Script(
    f"\nlocal many_to_move = {_MANY_TO_MOVE}"
    + """
local list, events = KEYS[1], KEYS[2]
local bound = tonumber(ARGV[1])
"""
    + _STATE
    + """
if known == 0 and stored > 0 then
  local is_json, newest = pcall(cjson.decode, redis.call('LINDEX', list, 0))
  if is_json and type(newest) == 'table' and type(newest.timestamp) == 'number' then horizon = newest.timestamp end
end
local other_unit = unit_end(horizon)
local num_known, num_too_old, num_other_unit, num_new = 0, 0, 0, 0
local new, added = {}, {}
for place = 2, #ARGV, 3 do
  local id, timestamp = ARGV[place], ARGV[place + 1]
  if new[id] or redis.call('ZSCORE', events, id) then
    num_known = num_known + 1
  elseif horizon and tonumber(timestamp) <= horizon then
    num_too_old = num_too_old + 1
  elseif other_unit and tonumber(timestamp) >= other_unit then
    num_other_unit = num_other_unit + 1
  else
    new[id] = ARGV[place + 2]
    added[#added + 1] = timestamp
    added[#added + 1] = id
  end
end
if #added == 0 then return {0, num_known, num_too_old, num_other_unit} end
local lowest = 0
if horizon then
  lowest = 1
  added[#added + 1] = horizon
  added[#added + 1] = ''
end
in_portions('ZADD', events, added)
local excess = redis.call('ZCARD', events) - lowest - bound
if excess > 0 then
  for _, id in ipairs(redis.call('ZRANGE', events, lowest, lowest + excess - 1)) do
    if new[id] then
      new[id] = nil
      num_too_old = num_too_old + 1
    end
  end
  redis.call('ZREMRANGEBYRANK', events, lowest, lowest + excess - 1)
end
local at, deepest = {}, -1
for id, element in pairs(new) do
  local place = redis.call('ZREVRANK', events, id)
  at[place] = element
  deepest = math.max(deepest, place)
  num_new = num_new + 1
end
local num_moved = deepest + 1 - num_new
if num_moved > many_to_move * num_new then
  local places = {}
  for place in pairs(at) do places[#places + 1] = place end
  table.sort(places)
  for _, place in ipairs(places) do
    local pushed = redis.call('LINDEX', list, place)
    if pushed then
      redis.call('LSET', list, place, '')
      redis.call('LINSERT', list, 'BEFORE', '', at[place])
      redis.call('LSET', list, place + 1, pushed)
    else
      redis.call('RPUSH', list, at[place])
    end
  end
else
  local moved = {}
  if num_moved > 0 then
    moved = redis.call('LRANGE', list, 0, num_moved - 1)
    redis.call('LTRIM', list, num_moved, -1)
  end
  local oldest_first, next_moved = {}, #moved
  for place = deepest, 0, -1 do
    if at[place] then
      oldest_first[#oldest_first + 1] = at[place]
    else
      oldest_first[#oldest_first + 1] = moved[next_moved]
      next_moved = next_moved - 1
    end
  end
  in_portions('LPUSH', list, oldest_first)
end
if stored + num_new > bound then redis.call('LTRIM', list, 0, bound - 1) end
return {num_new, num_known, num_too_old, num_other_unit}
"""
)

# KEYS: the list, the events and the profile. ARGV: how many behaviours the list may hold; the newest published
# timestamp, empty without one; how many parts of fields to set follow, and they; how many names of fields to remove
# follow, and they; the published elements, newest first. Live behaviours that are newer than all these, and in their
# unit, stay, the others go.
REPLACE_USER = Script(
    """
local list, events, profile = KEYS[1], KEYS[2], KEYS[3]
local bound, newest = tonumber(ARGV[1]), tonumber(ARGV[2])
"""
    + _STATE
    + """
local num_kept, num_other_unit = live, 0
local other_unit = unit_end(newest)
if newest and live > 0 then
  num_kept = redis.call('ZCOUNT', events, '(' .. ARGV[2], '+inf')
  if horizon and horizon > newest then num_kept = num_kept - 1 end
  if other_unit then
    num_other_unit = redis.call('ZCOUNT', events, string.format('%.17g', other_unit), '+inf')
    if horizon and horizon >= other_unit then num_other_unit = num_other_unit - 1 end
    num_kept = num_kept - num_other_unit
  end
end
local kept = {}
if num_kept > 0 then kept = redis.call('LRANGE', list, num_other_unit, num_other_unit + num_kept - 1) end
local place = 3
local function values()
  local taken = {}
  local last = place + tonumber(ARGV[place])
  for each = place + 1, last do taken[#taken + 1] = ARGV[each] end
  place = last + 1
  return taken
end
local set, removed = values(), values()
local published = {}
for each = place, #ARGV do published[#published + 1] = ARGV[each] end
in_portions('RPUSH', list, published)
if #set > 0 then redis.call('HSET', profile, unpack(set)) end
if #removed > 0 then redis.call('HDEL', profile, unpack(removed)) end
if #published == 0 and num_kept == 0 then
  redis.call('DEL', list)
elseif #published == 0 then
  redis.call('LTRIM', list, 0, num_kept - 1)
else
  redis.call('LTRIM', list, -#published, -1)
  local oldest_first = {}
  for each = #kept, 1, -1 do oldest_first[#oldest_first + 1] = kept[each] end
  in_portions('LPUSH', list, oldest_first)
end
if #published + num_kept > bound then redis.call('LTRIM', list, 0, bound - 1) end
if num_kept == 0 then
  redis.call('DEL', events)
elseif newest then
  redis.call('ZREMRANGEBYSCORE', events, '-inf', ARGV[2])
  if other_unit then redis.call('ZREMRANGEBYSCORE', events, string.format('%.17g', other_unit), '+inf') end
  redis.call('ZADD', events, ARGV[2], '')
else
  redis.call('ZREM', events, '')
end
"""
)
