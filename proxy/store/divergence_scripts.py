"""What the Redis store of divergences does at the server, whole or not at all: scripts in Lua.

Keys, all with the prefix `banyan:` (and so, of one Redis and not of a cluster):

- `divergences`: the stream. An entry's id is the time of the divergence in milliseconds, or that of
  the entry before it where that was later, and a number.
- `divergences:ids`: id of a divergence -> its member; `divergences:route:NAME`: members. A member
  is the id of the entry, padded, so that members sort by it, and the id of the divergence.
- `signatures`, `signatures:route:NAME`: digests of signatures by count; `signatures:last` by time.
- `signature:DIGEST`: what is counted of it; `samples:DIGEST`: members, its reservoir.
- `divergences:held`: bytes, and the last id of the stream; `noise`: route -> what was learned.
"""

from typing import Final

PREFIX: Final = "banyan:"

_COMMON: Final = """
local P = 'banyan:'
local STREAM = P .. 'divergences'
local function entry_of(member)
  return string.format('%d-%d', tonumber(member:sub(1, 15)), tonumber(member:sub(17, 26)))
end
local function fields_of(entry)
  local found = redis.call('XRANGE', STREAM, entry, entry)[1]
  if not found then return nil end
  local fields = {}
  for i = 1, #found[2], 2 do fields[found[2][i]] = found[2][i + 1] end
  return fields
end
local function member_of(entry, id)
  local ms, number = entry:match('(%d+)-(%d+)')
  return string.format('%015d-%010d ', tonumber(ms), tonumber(number)) .. id
end
local function drop(entry, fields)
  local member = member_of(entry, fields.id)
  redis.call('XDEL', STREAM, entry)
  redis.call('HDEL', STREAM .. ':ids', fields.id)
  redis.call('ZREM', STREAM .. ':route:' .. fields.route, member)
  redis.call('HINCRBY', STREAM .. ':held', 'bytes', -tonumber(fields.size))
  for digest in fields.signatures:gmatch('%S+') do
    redis.call('ZREM', P .. 'samples:' .. digest, member)
  end
end
"""

# Adds one divergence; how many went for it, itself perhaps among them.
# ARGV: id, record, answers, route, ms, at, bytes; the bounds (samples, newest, signatures a route,
# signatures, entries); the "(other)" of the route (digest, text, path, kind); then for each
# signature: digest, text, path, kind, whether it is noise, chance.
ADD: Final = (
    _COMMON
    + """
local id, route, ms, at, size = ARGV[1], ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local samples, newest = tonumber(ARGV[8]), tonumber(ARGV[9])
if redis.call('HEXISTS', STREAM .. ':ids', id) == 1 then return 0 end

local found, order = {}, {}
for i = 17, #ARGV, 6 do
  local digest, from = ARGV[i], i
  if redis.call('EXISTS', P .. 'signature:' .. digest) == 0 and digest ~= ARGV[13] and
      (redis.call('ZCARD', P .. 'signatures:route:' .. route) >= tonumber(ARGV[10]) or
       redis.call('ZCARD', P .. 'signatures') >= tonumber(ARGV[11])) then
    digest, from = ARGV[13], 13
  end
  local noise = ARGV[i + 4] == '1'
  if found[digest] then
    found[digest].noise = found[digest].noise and noise
  else
    found[digest] = {noise = noise, chance = tonumber(ARGV[i + 5])}
    order[#order + 1] = digest
    local key = P .. 'signature:' .. digest
    if redis.call('EXISTS', key) == 0 then
      redis.call('HSET', key, 'text', ARGV[from + 1], 'route', route, 'path', ARGV[from + 2],
        'kind', ARGV[from + 3], 'count', 0, 'noise', 0, 'first', at, 'last', at, 'passed', 0,
        'kept', 0)
      redis.call('ZADD', P .. 'signatures', 0, digest)
      redis.call('ZADD', P .. 'signatures:route:' .. route, 0, digest)
      redis.call('ZADD', P .. 'signatures:last', at, digest)
    end
  end
end

local last = redis.call('HMGET', STREAM .. ':held', 'ms', 'number')
local number = 0
if last[1] and ms <= tonumber(last[1]) then
  ms, number = tonumber(last[1]), tonumber(last[2]) + 1
end
local entry = string.format('%d-%d', ms, number)
redis.call('HSET', STREAM .. ':held', 'ms', string.format('%d', ms), 'number', number)
-- The bound of the stream itself is a second fence: KEEP trims exactly, and what belongs to it.
redis.call('XADD', STREAM, 'MAXLEN', '~', 2 * tonumber(ARGV[12]) + 1000, entry, 'id', id, 'record',
  ARGV[2], 'answers', ARGV[3], 'route', route, 'at', at, 'size', size, 'signatures',
  table.concat(order, ' '))
local member = member_of(entry, id)
redis.call('HSET', STREAM .. ':ids', id, member)
redis.call('ZADD', STREAM .. ':route:' .. route, 0, member)
redis.call('HINCRBY', STREAM .. ':held', 'bytes', size)

local pushed_out = {}
for _, digest in ipairs(order) do
  local key, mine = P .. 'signature:' .. digest, P .. 'samples:' .. digest
  if found[digest].noise then
    redis.call('HINCRBY', key, 'noise', 1)
  else
    redis.call('HINCRBY', key, 'count', 1)
    redis.call('ZINCRBY', P .. 'signatures', 1, digest)
    redis.call('ZINCRBY', P .. 'signatures:route:' .. route, 1, digest)
  end
  local known = redis.call('HMGET', key, 'first', 'last', 'passed', 'kept')
  if tonumber(at) < tonumber(known[1]) then redis.call('HSET', key, 'first', at) end
  if tonumber(at) > tonumber(known[2]) then
    redis.call('HSET', key, 'last', at)
    redis.call('ZADD', P .. 'signatures:last', at, digest)
  end
  -- As in proxy/store/reservoir.py: the newest stay, what they push out runs through Algorithm R.
  local now = math.max(redis.call('ZCARD', mine) - newest, 0)
  local passed, kept = tonumber(known[3]), tonumber(known[4])
  if now < kept then passed = math.floor(passed * now / kept) end
  redis.call('ZADD', mine, 0, member)
  local count = redis.call('ZCARD', mine)
  if count > newest then passed = passed + 1 end
  if count > samples then
    local room = samples - newest
    local place = math.floor(found[digest].chance * passed)
    if place >= room then place = room end
    local going = redis.call('ZRANGE', mine, place, place)[1]
    redis.call('ZREM', mine, going)
    pushed_out[#pushed_out + 1] = going
    count = count - 1
  end
  redis.call('HSET', key, 'passed', passed, 'kept', math.max(count - newest, 0))
end

local dropped = 0
for _, going in ipairs(pushed_out) do
  local entry = entry_of(going)
  local fields = fields_of(entry)
  if fields then
    local kept = false
    for digest in fields.signatures:gmatch('%S+') do
      kept = kept or redis.call('ZSCORE', P .. 'samples:' .. digest, going)
    end
    if not kept then
      drop(entry, fields)
      dropped = dropped + 1
    end
  end
end
return dropped
"""
)

# Lets the oldest go where there is too much or where they are too old, 500 at most at once; how
# many by age, count and bytes, and whether there may be more to do.
# ARGV: entries, bytes, the oldest time.
KEEP: Final = (
    _COMMON
    + """
local counts, done = {0, 0, 0}, 0
while done < 500 do
  local first = redis.call('XRANGE', STREAM, '-', '+', 'COUNT', 1)[1]
  if not first then break end
  local fields = fields_of(first[1])
  local why
  if tonumber(fields.at) < tonumber(ARGV[3]) then why = 1
  elseif redis.call('XLEN', STREAM) > tonumber(ARGV[1]) then why = 2
  elseif tonumber(redis.call('HGET', STREAM .. ':held', 'bytes')) > tonumber(ARGV[2]) then why = 3
  else break end
  drop(first[1], fields)
  counts[why] = counts[why] + 1
  done = done + 1
end
for _, digest in ipairs(redis.call('ZRANGEBYSCORE', P .. 'signatures:last', '-inf',
    '(' .. ARGV[3], 'LIMIT', 0, 100)) do
  local route = redis.call('HGET', P .. 'signature:' .. digest, 'route')
  redis.call('DEL', P .. 'signature:' .. digest, P .. 'samples:' .. digest)
  redis.call('ZREM', P .. 'signatures:last', digest)
  redis.call('ZREM', P .. 'signatures', digest)
  if route then redis.call('ZREM', P .. 'signatures:route:' .. route, digest) end
end
return {counts[1], counts[2], counts[3], done}
"""
)

# Reads entries, of the stream or those that an index names. The answer is flat, since every list in
# it has its price at the client: the place that was looked at last ("" if there are no more behind
# it), then place, record and answers of each that is there.
# ARGV: index ("" for the stream), "newest" or "oldest" first, two bounds, how many, with answers?
READ: Final = (
    _COMMON
    + """
local index, reverse, count = ARGV[1], ARGV[2] == 'newest', tonumber(ARGV[5])
local found, last, looked = {}, '', 0
local function give(entry, fields)
  last, looked = member_of(entry, ''):sub(1, 26), looked + 1
  if fields then
    found[#found + 1] = last
    found[#found + 1] = fields.record
    found[#found + 1] = ARGV[6] == '1' and fields.answers or ''
  end
end
if index == '' then
  local ask = reverse and 'XREVRANGE' or 'XRANGE'
  for _, each in ipairs(redis.call(ask, STREAM, ARGV[3], ARGV[4], 'COUNT', count)) do
    local fields = {}
    for i = 1, #each[2], 2 do fields[each[2][i]] = each[2][i + 1] end
    give(each[1], fields)
  end
else
  local ask = reverse and 'ZREVRANGEBYLEX' or 'ZRANGEBYLEX'
  for _, member in ipairs(redis.call(ask, index, ARGV[3], ARGV[4], 'LIMIT', 0, count)) do
    local entry = entry_of(member)
    give(entry, fields_of(entry))
  end
end
table.insert(found, 1, looked == count and last or '')
return found
"""
)

# Forgets a route, 500 divergences at most at once; how many these were.
FORGET: Final = (
    _COMMON
    + """
local route, members = ARGV[1], STREAM .. ':route:' .. ARGV[1]
local count = 0
for _, member in ipairs(redis.call('ZRANGE', members, 0, 499)) do
  local entry = entry_of(member)
  local fields = fields_of(entry)
  if fields then drop(entry, fields) end
  redis.call('ZREM', members, member)
  count = count + 1
end
if redis.call('ZCARD', members) == 0 then
  for _, digest in ipairs(redis.call('ZRANGE', P .. 'signatures:route:' .. route, 0, -1)) do
    redis.call('DEL', P .. 'signature:' .. digest, P .. 'samples:' .. digest)
    redis.call('ZREM', P .. 'signatures:last', digest)
    redis.call('ZREM', P .. 'signatures', digest)
  end
  redis.call('DEL', P .. 'signatures:route:' .. route)
  redis.call('HDEL', P .. 'noise', route)
end
return count
"""
)
