-- Prologue of each script: KEYS[1] is the user's list, KEYS[2] the sorted set of the live events.
-- Defines `stored` (elements), `known` (members), `horizon` (nil: none) and `live` (elements).
local list, events = KEYS[1], KEYS[2]

-- Returns the first timestamp that is in another unit than `newest`; nil if the unit is unknown.
local function unit_end(newest)
  if newest and newest >= least_clock then return units_apart * newest end
end

local function in_portions(command, key, values)
  for start = 1, #values, 1000 do
    redis.call(command, key, unpack(values, start, math.min(start + 999, #values)))
  end
end

local function size(command, key)
  local reply = redis.pcall(command, key)
  if type(reply) == 'number' then return reply end
  if string.sub(reply.err, 1, 9) ~= 'WRONGTYPE' then error(reply.err) end
  redis.call('UNLINK', key)
  return 0
end

local stored, known = size('LLEN', list), size('ZCARD', events)
local horizon = tonumber(redis.call('ZSCORE', events, ''))
local live = known - (horizon and 1 or 0)
if stored < live then
  redis.call('UNLINK', events)
  known, live, horizon = 0, 0, nil
end
