"""What the Redis store of the state does at the server, whole or not at all: scripts in Lua.

Keys, all with the prefix `banyan:state:` and, by the tag in braces, in one slot of a cluster:

- `schema`: the version of what follows, as a number. A store without it is none.
- `meta`: starts, version, `heard` (when a replica was, last), `shared` (there are replicas), and
  `held`: how many records there are. A server that evicts keys, or a person, cannot take records or
  replicas away unnoticed.
- `records`: name of the route -> its record, JSON. `history`: the stream of transitions, JSON.
- `replicas`: who shares the store, as `ID:seen` (milliseconds of the server's clock), `ID:name`,
  `ID:file` (the digest of what its file declares), `ID:generation` and `ID:table` (the mark of its
  table in force).
- `files`: the digests of all files, by the order in which they were loaded: what is scored most
  among those of the replicas leads.
- `quiet`: `ID:route` -> the generation of the route's record as of which that replica holds its
  writes back.

A script looks at all that could make it fail before it writes anything, since Redis does not undo
what a script wrote before it failed. Each answers with a word and what belongs to it: "done" or
why not ("damaged", "schema", "conflict", or "lost" with what is missing).
"""

from typing import Final

PREFIX: Final = "banyan:state:"
CHANNEL: Final = f"{PREFIX}changed"
SCHEMA_VERSION: Final = 1

_PARTS: Final = ("schema", "meta", "records", "history", "replicas", "files", "quiet")
KEYS: Final = tuple(f"{PREFIX}{{all}}:{part}" for part in _PARTS)
SCHEMA, META, RECORDS, HISTORY, REPLICAS, FILES, QUIET = KEYS

FORGOTTEN_MS: Final = 60_000  # a replica that is not heard of for so long is taken for gone
SILENT_MS: Final = 5_000  # when nobody is heard of for so long it is the server who was away
FILES_KEPT: Final = 1000

# In every script, ARGV[1] is the version of the schema, ARGV[2] the channel, ARGV[3] who asks.
_COMMON: Final = """
local SCHEMA, META, RECORDS, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local REPLICAS, FILES, QUIET = KEYS[5], KEYS[6], KEYS[7]
local ME = ARGV[3]

local function misused()
  local kinds = {'string', 'hash', 'hash', 'stream', 'hash', 'zset', 'hash'}
  for i, kind in ipairs(kinds) do
    local found = redis.call('TYPE', KEYS[i]).ok
    if found ~= 'none' and found ~= kind then
      return {'damaged', KEYS[i] .. ' is a ' .. found .. ' of something else'}
    end
  end
  for _, field in ipairs({'starts', 'version', 'held', 'heard', 'shared'}) do
    local value = redis.call('HGET', META, field)
    if value and not value:match('^%d+$') then
      return {'damaged', field .. ' in ' .. META .. ' is no number'}
    end
  end
end

local function refused()
  local wrong = misused()
  if wrong then return wrong end
  local schema = redis.call('GET', SCHEMA)
  if not schema then return {'lost', 'it has lost what it held, or part of it'} end
  if schema ~= ARGV[1] then return {'schema', schema} end
  local held = tonumber(redis.call('HGET', META, 'held') or '0')
  local count = redis.call('HLEN', RECORDS)
  if held ~= count then
    return {'lost', string.format('%d records are there instead of %d', count, held)}
  end
  if redis.call('HEXISTS', META, 'shared') == 1 and redis.call('EXISTS', REPLICAS) == 0 then
    return {'lost', 'it has lost who shares it'}
  end
end

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A hash of this form as a table of tables: field = "ID:key".
local function by_replica(key)
  local found, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local id, name = flat[i]:match('^(%x+):(.*)$')
    if id then
      found[id] = found[id] or {}
      found[id][name] = flat[i + 1]
    end
  end
  return found
end

-- Of each replica: who, its name, the order of its file, how old its word is, what it holds back.
local function replicas()
  local answer, now, quiet = {}, clock(), by_replica(QUIET)
  for id, known in pairs(by_replica(REPLICAS)) do
    local order = known.file and redis.call('ZSCORE', FILES, known.file)
    local one = {id, known.name or '', order or '0', tostring(now - (tonumber(known.seen) or 0))}
    for route, generation in pairs(quiet[id] or {}) do
      one[#one + 1] = route
      one[#one + 1] = generation
    end
    answer[#answer + 1] = one
  end
  return answer
end

-- A server whose memory is full does not take it, and can be read all the same.
local function seen()
  redis.pcall('HSET', REPLICAS, ME .. ':seen', string.format('%.0f', clock()))
end

local function without_quiet(id)
  for route in pairs(by_replica(QUIET)[id] or {}) do
    redis.call('HDEL', QUIET, id .. ':' .. route)
  end
end

local function without(id)
  without_quiet(id)
  for _, field in ipairs({'seen', 'name', 'file', 'generation', 'table'}) do
    redis.call('HDEL', REPLICAS, id .. ':' .. field)
  end
end

local function everything()
  seen()
  local mark = redis.call('HMGET', REPLICAS, ME .. ':generation', ME .. ':table')
  local starts = redis.call('HGET', META, 'starts')
  local answer = {'done', starts or '0', mark[1] or '0', mark[2] or '', replicas()}
  for _, record in ipairs(redis.call('HVALS', RECORDS)) do answer[#answer + 1] = record end
  return answer
end

-- A version is never used twice, even if the server lost the last ones (a replica that took over):
-- so it is the time in milliseconds, or one more than the last one where that is later.
local function changed()
  local last = tonumber(redis.call('HGET', META, 'version') or '0')
  local version = string.format('%.0f', math.max(last + 1, clock()))
  redis.call('HSET', META, 'version', version, 'held', redis.call('HLEN', RECORDS))
  -- A user who may not publish has changed the state nevertheless; others poll.
  redis.pcall('PUBLISH', ARGV[2], version)
  return {'done', version}
end
"""

# Makes a store where there is none. A read-only replica refuses it whatever there is.
OPEN: Final = (
    _COMMON
    + """
redis.call('PERSIST', SCHEMA)
local wrong = misused()
if wrong then return wrong end
if redis.call('EXISTS', SCHEMA, META, RECORDS, HISTORY) == 0 then
  redis.call('SET', SCHEMA, ARGV[1])
end
return refused() or {'done'}
"""
)

# PERSIST changes nothing, but a read-only replica refuses it: what that holds may be out of date.
LOAD: Final = _COMMON + "redis.call('PERSIST', SCHEMA) return refused() or everything()"

BEGIN: Final = (
    _COMMON
    + """
local wrong = refused()
if wrong then return wrong end
redis.call('HINCRBY', META, 'starts', 1)
-- What was said before is of a controller that is no more, and nobody keeps to it.
without_quiet(ME)
return everything()
"""
)

# ARGV: how many transitions are kept, generation ("" for the table as it is) and digest of the
# table, how many records, forgotten ones, quiet routes, withdrawn and swapped ones there are; then
# name, generation and record of each; names; route and generation of each of the three kinds;
# route and transition of each.
# A conflict comes with the records that are there, in the order of those of the change; "loud" is
# the word where a route is not as quiet as the change takes for granted.
COMMIT: Final = (
    _COMMON
    + """
local wrong = refused()
if wrong then return wrong end
local first, forgotten = 12, 12 + 3 * ARGV[7]
local quiet = forgotten + ARGV[8]
local withdrawn = quiet + 2 * ARGV[9]
local swapped = withdrawn + 2 * ARGV[10]
local transitions = swapped + 2 * ARGV[11]

local function generation_of(text)
  if not text then return 0 end
  local known, record = pcall(cjson.decode, text)
  return known and type(record) == 'table' and tonumber(record.generation)
end

local stored, follows = {'conflict'}, true
for i = first, forgotten - 1, 3 do
  local text = redis.call('HGET', RECORDS, ARGV[i])
  stored[#stored + 1] = text
  local generation = generation_of(text)
  follows = follows and generation and generation + 1 == tonumber(ARGV[i + 1])
end
if not follows then return stored end

-- What is said is of the record as it is now, and what is taken back has led to nothing yet.
for i = quiet, withdrawn - 1, 2 do
  local generation = generation_of(redis.call('HGET', RECORDS, ARGV[i]))
  if generation ~= tonumber(ARGV[i + 1]) then return {'loud'} end
end
for i = withdrawn, swapped - 1, 2 do
  if redis.call('HGET', QUIET, ME .. ':' .. ARGV[i]) ~= ARGV[i + 1] then return {'loud'} end
end
if swapped < transitions then
  seen()
  local said = by_replica(QUIET)
  for id in pairs(by_replica(REPLICAS)) do
    for i = swapped, transitions - 1, 2 do
      if id ~= ME and (not said[id] or said[id][ARGV[i]] ~= ARGV[i + 1]) then return {'loud'} end
    end
  end
end

-- First what a server whose memory is full refuses: once a script has written, it may go on.
for i = transitions, #ARGV, 2 do
  redis.call('XADD', HISTORY, 'MAXLEN', ARGV[4], '*', 'route', ARGV[i], 'transition', ARGV[i + 1])
end
if ARGV[5] ~= '' then
  redis.call('HSET', REPLICAS, ME .. ':generation', ARGV[5], ME .. ':table', ARGV[6])
end
for i = forgotten, quiet - 1 do redis.call('HDEL', RECORDS, ARGV[i]) end
for i = quiet, withdrawn - 1, 2 do redis.call('HSET', QUIET, ME .. ':' .. ARGV[i], ARGV[i + 1]) end
for i = withdrawn, swapped - 1, 2 do redis.call('HDEL', QUIET, ME .. ':' .. ARGV[i]) end
for i = swapped, transitions - 1, 2 do
  for id in pairs(by_replica(QUIET)) do redis.call('HDEL', QUIET, id .. ':' .. ARGV[i]) end
end
for i = first, forgotten - 1, 3 do redis.call('HSET', RECORDS, ARGV[i], ARGV[i + 2]) end
return changed()
"""
)

# What follows puts in what is known, where there is nothing of that.
# ARGV: starts, generation and digest of the table; how many replicas are known and how many
# records there are; id and name of each of the one, name and record of each of the other; route and
# transition of each line of history.
_FILL: Final = """
local function fill()
  local records = 9 + 2 * ARGV[7]
  local lines = records + 2 * ARGV[8]
  if redis.call('EXISTS', HISTORY) == 0 then
    for i = lines, #ARGV, 2 do
      redis.call('XADD', HISTORY, '*', 'route', ARGV[i], 'transition', ARGV[i + 1])
    end
  end
  redis.call('SETNX', SCHEMA, ARGV[1])
  local starts = tonumber(redis.call('HGET', META, 'starts') or '0')
  redis.call('HSET', META, 'starts', string.format('%.0f', math.max(starts, tonumber(ARGV[4]))))
  redis.call('HSETNX', REPLICAS, ME .. ':generation', ARGV[5])
  redis.call('HSETNX', REPLICAS, ME .. ':table', ARGV[6])
  -- They are waited for, as those that are heard of no more.
  for i = 9, records - 1, 2 do
    redis.call('HSETNX', REPLICAS, ARGV[i] .. ':name', ARGV[i + 1])
    redis.call('HSETNX', REPLICAS, ARGV[i] .. ':seen', string.format('%.0f', clock()))
  end
  if redis.call('EXISTS', RECORDS) == 0 then
    for i = records, lines - 1, 2 do redis.call('HSET', RECORDS, ARGV[i], ARGV[i + 1]) end
  end
  return changed()
end
"""

RESTORE: Final = (
    _COMMON
    + _FILL
    + """
local wrong = refused()
if wrong then return wrong end
if redis.call('EXISTS', RECORDS) == 1 then return {'conflict'} end
return fill()
"""
)

# Puts back what the server has lost, and touches nothing else: what it still has may be newer.
# A conflict is that nothing is missing, be it that another one was first.
REFILL: Final = (
    _COMMON
    + _FILL
    + """
local wrong = refused()
if wrong and wrong[1] ~= 'lost' then return wrong end
if not wrong then return {'conflict'} end
return fill()
"""
)

# Says that who asks is there, with its name and the digest of its file ("" while there is none).
# A file that was never loaded is the newest, and so is one that a replica came back to from another
# one. One that a replica starts with keeps its order: it may be of a restart amid a deployment. A
# server that has lost the order of a file is told the one that it had.
# ARGV: name, digest, its order as it was said last (0: never), the milliseconds after which others
# are taken for gone, those after which it is the server who was away, how many files are kept.
PRESENT: Final = (
    _COMMON
    + """
local wrong = refused()
if wrong then return wrong end
local news = redis.call('HEXISTS', REPLICAS, ME .. ':name') == 0
local was_away = clock() - tonumber(redis.call('HGET', META, 'heard') or '0') > tonumber(ARGV[8])
redis.call('HSET', META, 'heard', string.format('%.0f', clock()))
for id, known in pairs(by_replica(REPLICAS)) do
  if was_away then
    -- Nobody could be heard of: each has its time from now on.
    redis.call('HSET', REPLICAS, id .. ':seen', string.format('%.0f', clock()))
  elseif id ~= ME and clock() - (tonumber(known.seen) or 0) > tonumber(ARGV[7]) then
    without(id)
    news = true
  end
end
local before = redis.call('HGET', REPLICAS, ME .. ':file')
local known = redis.call('ZSCORE', FILES, ARGV[5])
if ARGV[5] ~= '' and (ARGV[5] ~= before or not known) then
  local newest = redis.call('ZREVRANGE', FILES, 0, 0, 'WITHSCORES')
  if not known and ARGV[6] ~= '0' then
    local order = tonumber(ARGV[6])
    -- One that has it was loaded in the same millisecond, after the server had lost this one.
    while redis.call('ZCOUNT', FILES, order, order) > 0 do order = order - 1 end
    redis.call('ZADD', FILES, string.format('%.0f', order), ARGV[5])
  elseif newest[1] ~= ARGV[5] and (before or not known) then
    -- As a version is: never one that was used, even if the server lost the last ones.
    local order = math.max(tonumber(newest[2] or '0') + 1, clock())
    redis.call('ZADD', FILES, string.format('%.0f', order), ARGV[5])
    redis.call('ZREMRANGEBYRANK', FILES, 0, -1 - tonumber(ARGV[9]))
  end
  redis.call('HSET', REPLICAS, ME .. ':file', ARGV[5])
  news = true
end
redis.call('HSET', REPLICAS, ME .. ':name', ARGV[4])
redis.call('HSET', META, 'shared', '1')
seen()
if news then changed() end
return {'done', replicas()}
"""
)

# Who asks goes away, and serves nothing any more.
LEAVE: Final = (
    _COMMON
    + """
local wrong = refused()
if wrong then return wrong end
without(ME)
if redis.call('EXISTS', REPLICAS) == 0 then redis.call('HDEL', META, 'shared') end
return changed()
"""
)

# The newest transitions. ARGV: how many, whether of one route only ("1"), which.
READ_HISTORY: Final = (
    _COMMON
    + """
local wrong = refused()
if wrong then return wrong end
local answer, limit, start = {'done'}, tonumber(ARGV[4]), '+'
local at_once = ARGV[5] == '1' and 500 or math.min(limit, 500)
repeat
  local some = redis.call('XREVRANGE', HISTORY, start, '-', 'COUNT', at_once)
  for _, entry in ipairs(some) do
    start = '(' .. entry[1]
    local fields = {}
    for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
    if ARGV[5] ~= '1' or fields.route == ARGV[6] then
      answer[#answer + 1] = fields.transition or ''
    end
    if #answer > limit then return answer end
  end
until #some == 0
return answer
"""
)
