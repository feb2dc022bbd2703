"""What runs inside Redis: each script is one step that no other client can come between. Times are the server's own."""

from typing import Final

# A place in the flow of every rate, or in none (generic cell rate algorithm, as core.limits.reserve). ARGV: the longest
# wait, then of each key: seconds between two pieces, pieces at once, pieces (below none: given back). Gives the wait,
# then what each owes, in seconds.
RESERVE: Final = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local wait, owed, after = 0, {}, {}
for i, key in ipairs(KEYS) do
  local interval = tonumber(ARGV[3 * i - 1])
  local at_once = tonumber(ARGV[3 * i])
  local pieces = tonumber(ARGV[3 * i + 1])
  local from = math.max(tonumber(redis.call('GET', key) or '0'), now)
  owed[i] = from - now
  after[i] = math.max(0, owed[i] + pieces * interval)
  wait = math.max(wait, after[i] - math.max(at_once, pieces) * interval)
end
if wait < 0.000001 then wait = 0 end
if wait <= tonumber(ARGV[1]) then
  for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.6f', now + after[i]), 'PX', math.ceil(after[i] * 1000) + 1000)
  end
  owed = after
end
local told = {string.format('%.6f', wait)}
for i = 1, #KEYS do told[i + 1] = string.format('%.6f', owed[i]) end
return told
"""

# A place in a room, for as long as it is renewed. ARGV: the lease in ms, places, the place's token, tokens given back.
ENTER: Final = """
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
for i = 4, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[3])
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[1]))
return 1
"""

# Places that are still held. ARGV: the lease in ms, the tokens.
RENEW: Final = """
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[1]))
return 1
"""

# A probe that is over, if it is still the one that was claimed. ARGV: its token.
RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

SCRIPTS: Final = (RESERVE, ENTER, RENEW, RELEASE)
