-- Add events to a user's list, as many as the call's work limit allows.
-- ARGV: how many behaviours the list may hold; the work limit; how many events to process at any cost; then for each
-- event, newest first (of equal timestamps the greatest id first), id, timestamp and element.
-- Returns the numbers of accepted, known, too old and other-unit events. These are the first ones of ARGV: the sender
-- must send the others again.
-- Work is counted in elements traversed to reach a position, which take Redis some 0.04 microseconds each, and five
-- times that if each has kilobytes. An event by itself takes 5 microseconds; the sender sends at most a few hundred.
local bound, work_left, at_least = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- Events near the front are merged with the elements before them in Lua, if those are few per event. All others are
-- inserted one by one.
local most_moved, many_to_move = 250, 50

if known == 0 and stored > 0 then
  local is_json, newest = pcall(cjson.decode, redis.call('LINDEX', list, 0))
  if is_json and type(newest) == 'table' and type(newest.timestamp) == 'number' then horizon = newest.timestamp end
end
local other_unit = unit_end(horizon)
local num_known, num_too_old, num_other_unit, num_new = 0, 0, 0, 0
local new, added = {}, {}

-- Returns the outcome of an event, and its work.
local function judged(id, timestamp)
  if new[id] or redis.call('ZSCORE', events, id) then return 'known', 0 end
  if horizon and tonumber(timestamp) <= horizon then return 'too old', 0 end
  if other_unit and tonumber(timestamp) >= other_unit then return 'other unit', 0 end
  local depth = redis.call('ZCOUNT', events, '(' .. timestamp, '+inf')
  if depth + num_new >= bound then return 'too old', 0 end
  return 'new', depth < most_moved and 0 or depth + num_new
end

local num_taken = 0
for place = 4, #ARGV, 3 do
  local id, timestamp = ARGV[place], ARGV[place + 1]
  local fate, work = judged(id, timestamp)
  work_left = work_left - work
  if work_left < 0 and num_taken >= at_least then break end
  num_taken = num_taken + 1
  if fate == 'known' then
    num_known = num_known + 1
  elseif fate == 'too old' then
    num_too_old = num_too_old + 1
  elseif fate == 'other unit' then
    num_other_unit = num_other_unit + 1
  else
    num_new = num_new + 1
    new[id] = ARGV[place + 2]
    added[#added + 1] = timestamp
    added[#added + 1] = id
  end
end
if num_new == 0 then return {0, num_known, num_too_old, num_other_unit} end

local lowest = 0
if horizon then
  lowest = 1
  added[#added + 1] = horizon
  added[#added + 1] = ''
end
in_portions('ZADD', events, added)
local excess = redis.call('ZCARD', events) - lowest - bound
if excess > 0 then redis.call('ZREMRANGEBYRANK', events, lowest, lowest + excess - 1) end

local at, places = {}, {}
for id, element in pairs(new) do
  local place = redis.call('ZREVRANK', events, id)
  if place then
    at[place] = element
    places[#places + 1] = place
  else
    num_new = num_new - 1
    num_too_old = num_too_old + 1
  end
end
table.sort(places)

local num_near = 0
while num_near < #places and places[num_near + 1] - num_near < most_moved do num_near = num_near + 1 end
local num_moved = num_near > 0 and places[num_near] + 1 - num_near or 0
if num_moved > many_to_move * num_near then num_near, num_moved = 0, 0 end
if num_near > 0 then
  local moved = {}
  if num_moved > 0 then
    moved = redis.call('LRANGE', list, 0, num_moved - 1)
    redis.call('LTRIM', list, num_moved, -1)
  end
  local oldest_first, next_moved = {}, #moved
  for place = places[num_near], 0, -1 do
    if at[place] then
      oldest_first[#oldest_first + 1] = at[place]
    else
      oldest_first[#oldest_first + 1] = moved[next_moved]
      next_moved = next_moved - 1
    end
  end
  in_portions('LPUSH', list, oldest_first)
end
-- An empty element marks the position: no other element is empty.
for number = num_near + 1, #places do
  local place = places[number]
  local pushed = redis.call('LINDEX', list, place)
  if pushed then
    redis.call('LSET', list, place, '')
    redis.call('LINSERT', list, 'BEFORE', '', at[place])
    redis.call('LSET', list, place + 1, pushed)
  else
    redis.call('RPUSH', list, at[place])
  end
end
if stored + num_new > bound then redis.call('LTRIM', list, 0, bound - 1) end
return {num_new, num_known, num_too_old, num_other_unit}
