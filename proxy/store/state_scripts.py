"""What the Redis store of the state does at the server, whole or not at all: scripts in Lua.

Keys, all with the prefix `banyan:state:` and, by the tag in braces, in one slot of a cluster:

- `schema`: the version of what follows, as a number. A store without it is none.
- `meta`: starts, generation and digest of the table, version, and `held`: how many records there
  are. A server that evicts keys, or a person, cannot take the records away unnoticed.
- `records`: name of the route -> its record, JSON. `history`: the stream of transitions, JSON.

A script looks at all that could make it fail before it writes anything, since Redis does not undo
what a script wrote before it failed. Each answers with a word and what belongs to it: "done" or
why not ("damaged", "empty", "schema", "conflict").
"""

from typing import Final

PREFIX: Final = "banyan:state:"
CHANNEL: Final = f"{PREFIX}changed"
SCHEMA_VERSION: Final = 1

KEYS: Final = tuple(f"{PREFIX}{{all}}:{part}" for part in ("schema", "meta", "records", "history"))
SCHEMA, META, RECORDS, HISTORY = KEYS

# ARGV[1] is the version of the schema, ARGV[2] the channel, in every script.
_COMMON: Final = """
local SCHEMA, META, RECORDS, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function misused()
  for i, kind in ipairs({'string', 'hash', 'hash', 'stream'}) do
    local found = redis.call('TYPE', KEYS[i]).ok
    if found ~= 'none' and found ~= kind then
      return {'damaged', KEYS[i] .. ' is a ' .. found .. ' of something else'}
    end
  end
  for _, field in ipairs({'starts', 'generation', 'version', 'held'}) do
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
  if not schema then return {'empty'} end
  if schema ~= ARGV[1] then return {'schema', schema} end
  local held = tonumber(redis.call('HGET', META, 'held') or '0')
  local count = redis.call('HLEN', RECORDS)
  if held ~= count then
    return {'damaged', string.format('%d records are there instead of %d', count, held)}
  end
end

local function everything()
  local meta = redis.call('HMGET', META, 'starts', 'generation', 'digest')
  local answer = {'done', meta[1] or '0', meta[2] or '0', meta[3] or ''}
  for _, record in ipairs(redis.call('HVALS', RECORDS)) do answer[#answer + 1] = record end
  return answer
end

-- A version is never used twice, even if the server lost the last ones (a replica that took over):
-- so it is the time in milliseconds, or one more than the last one where that is later.
local function changed()
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local last = tonumber(redis.call('HGET', META, 'version') or '0')
  local version = string.format('%.0f', math.max(last + 1, now))
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
return everything()
"""
)

# ARGV: how many transitions are kept, generation ("" for the table as it is) and digest of the
# table, how many records and forgotten ones; then name, generation and record of each; names;
# route and transition of each.
# A conflict comes with the records that are there, in the order of those of the change.
COMMIT: Final = (
    _COMMON
    + """
local wrong = refused()
if wrong then return wrong end
local first, forgotten = 8, 8 + 3 * ARGV[6]
local transitions = forgotten + ARGV[7]

local stored, follows = {'conflict'}, true
for i = first, forgotten - 1, 3 do
  local text = redis.call('HGET', RECORDS, ARGV[i])
  stored[#stored + 1] = text
  local generation = 0
  if text then
    local known, record = pcall(cjson.decode, text)
    generation = known and type(record) == 'table' and tonumber(record.generation)
  end
  follows = follows and generation and generation + 1 == tonumber(ARGV[i + 1])
end
if not follows then return stored end

-- First what a server whose memory is full refuses: once a script has written, it may go on.
for i = transitions, #ARGV, 2 do
  redis.call('XADD', HISTORY, 'MAXLEN', ARGV[3], '*', 'route', ARGV[i], 'transition', ARGV[i + 1])
end
if ARGV[4] ~= '' then redis.call('HSET', META, 'generation', ARGV[4], 'digest', ARGV[5]) end
for i = forgotten, transitions - 1 do redis.call('HDEL', RECORDS, ARGV[i]) end
for i = first, forgotten - 1, 3 do redis.call('HSET', RECORDS, ARGV[i], ARGV[i + 2]) end
return changed()
"""
)

# ARGV: starts, generation, digest; then name and record of each.
RESTORE: Final = (
    _COMMON
    + """
local wrong = refused()
if wrong then return wrong end
if redis.call('EXISTS', RECORDS) == 1 then return {'conflict'} end
redis.call('HSET', META, 'starts', ARGV[3], 'generation', ARGV[4], 'digest', ARGV[5])
for i = 6, #ARGV, 2 do redis.call('HSET', RECORDS, ARGV[i], ARGV[i + 1]) end
return changed()
"""
)

# The newest transitions. ARGV: how many, whether of one route only ("1"), which.
READ_HISTORY: Final = (
    _COMMON
    + """
local wrong = refused()
if wrong then return wrong end
local answer, limit, start = {'done'}, tonumber(ARGV[3]), '+'
local at_once = ARGV[4] == '1' and 500 or math.min(limit, 500)
repeat
  local some = redis.call('XREVRANGE', HISTORY, start, '-', 'COUNT', at_once)
  for _, entry in ipairs(some) do
    start = '(' .. entry[1]
    local fields = {}
    for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
    if ARGV[4] ~= '1' or fields.route == ARGV[5] then
      answer[#answer + 1] = fields.transition or ''
    end
    if #answer > limit then return answer end
  end
until #some == 0
return answer
"""
)
