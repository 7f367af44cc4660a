"""What Redis does in one step for the packed store, in Lua."""

from typing import Final

from features.packing import SEEN_AT
from features.redis_link import Script

MARK: Final = "opp:mark"  # the space in use and how often a key was erased in it: "SPACE.3"
LEFTOVERS: Final = "opp:leftovers"  # cleared spaces whose rows may not all be removed yet

# The mark, made when there is none.
PIN: Final = Script("""
local mark = redis.call('GET', KEYS[1])
if not mark then
  mark = ARGV[1]
  redis.call('SET', KEYS[1], mark)
end
return mark
""")

# Rows that have seen at least as much as those stored; how many, or nothing under another mark.
# As long as keys are new, as in a bulk load, nothing is read before it is written.
# A row that has seen more lives a whole life again; one written once more goes on with its own.
PUT: Final = Script(f"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local call, number = redis.call, struct.unpack
local life, stored, are_new = tonumber(ARGV[2]), 0, true
for i = 2, #KEYS do
  local key, blob = KEYS[i], ARGV[i + 1]
  if are_new then
    if life == 0 then
      are_new = call('SET', key, blob, 'NX')
    else
      are_new = call('SET', key, blob, 'NX', 'PX', ARGV[2])
    end
  end
  local known = are_new and '' or call('GETRANGE', key, {SEEN_AT}, {SEEN_AT + 7})
  local before = #known == 8 and number('<i8', known) or -1
  local seen = #blob >= {SEEN_AT + 8} and number('<i8', blob, {SEEN_AT + 1}) or -1
  if are_new then
    stored = stored + 1
  elseif seen >= before then
    if life == 0 then
      call('SET', key, blob)
    elseif seen == before then
      call('SET', key, blob, 'KEEPTTL')
    else
      call('SET', key, blob, 'PX', ARGV[2])
    end
    stored = stored + 1
  end
end
return stored
""")

# Nothing under another mark.
SET_PROGRESS: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local known = redis.call('GET', KEYS[2])
if not known or tonumber(ARGV[2]) > tonumber(known) then
  redis.call('SET', KEYS[2], ARGV[2])
end
return 1
""")

# Another space comes into use, unless the mark has moved meanwhile.
PUBLISH: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
for i = 3, #ARGV do redis.call('SADD', KEYS[2], ARGV[i]) end
return 1
""")

# One key gone from its space and from cleared ones; the mark moves, so that nobody who has read
# the state before writes it again.
ERASE: Final = Script("""
local mark = redis.call('GET', KEYS[1])
if not mark then return false end
local space, times = string.match(mark, '^(.*)%.(%d+)$')
local gone = redis.call('DEL', ARGV[1])
gone = gone + redis.call('DEL', 'opp:' .. space .. ARGV[2])
for _, left in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  redis.call('DEL', 'opp:' .. left .. ARGV[2])
end
mark = space .. '.' .. (times + 1)
redis.call('SET', KEYS[1], mark)
return {gone, mark}
""")
