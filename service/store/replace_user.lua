-- Replace a user's published data. Live behaviours that are newer than all of it, and in its unit, stay in place; the
-- others are removed.
-- KEYS: the list, the events and the profile.
-- ARGV: how many behaviours the list may hold; the newest published timestamp, or empty; the number of parts of fields
-- to set, then those parts; the number of names of fields to remove, then those names; the published elements, newest
-- first.
local profile = KEYS[3]
local bound, newest = tonumber(ARGV[1]), tonumber(ARGV[2])
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

local function in_profile(command, parts)
  if #parts == 0 then return end
  local reply = redis.pcall(command, profile, unpack(parts))
  if type(reply) == 'number' then return end
  if string.sub(reply.err, 1, 9) ~= 'WRONGTYPE' then error(reply.err) end
  redis.call('UNLINK', profile)
  if command == 'HSET' then redis.call(command, profile, unpack(parts)) end
end

-- Out of memory, this is refused with nothing changed; the next step drops the element again.
if #published + #set > 0 then redis.call('RPUSH', list, '') end
if num_kept > 0 then
  redis.call('LTRIM', list, num_other_unit, num_other_unit + num_kept - 1)
else
  redis.call('UNLINK', list)
end
in_portions('RPUSH', list, published)
if #published + num_kept > bound then redis.call('LTRIM', list, 0, bound - 1) end
in_profile('HSET', set)
in_profile('HDEL', removed)
if num_kept == 0 then
  redis.call('UNLINK', events)
elseif newest then
  redis.call('ZREMRANGEBYSCORE', events, '-inf', ARGV[2])
  if other_unit then redis.call('ZREMRANGEBYSCORE', events, string.format('%.17g', other_unit), '+inf') end
  redis.call('ZADD', events, ARGV[2], '')
else
  redis.call('ZREM', events, '')
end
