"""The pool of permits in Redis: one script, one round trip for any number of limits.

A limit's state is one value, in MessagePack: ``{amount, version, resting, holders, settle}``. ``resting``: ``{at, n}``, permits that are
usable again at a moment. ``holders``: boot id -> ``{units, expires, demand, used, short, number, given}``. All moments are Redis' clock,
in milliseconds; what comes from and goes to proxies are spans, so no two clocks are ever compared. The pool's rested permits are what is
left over.

A holder that does not come back within its time is dead or cut off: its permits rest from the end of that time, because nobody knows
when it used them; if it comes back after all, it knows. Where others are short, nobody is given more than its fair part (max-min over
what everybody asks for). A holder that claims more than is written here tells that Redis has lost its memory: for a few seconds nobody is
given more than an equal part, until all have told what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from apps.contracts.limits import KEY_PREFIX, Ask, Shares

TIMEOUT_SECONDS = 1.0
MEMBERS_KEY = f"{KEY_PREFIX}proxies"

SCRIPT = """
local now = tonumber(ARGV[4])
if now == 0 then local t = redis.call('TIME'); now = t[1] * 1000 + math.floor(t[2] / 1000) end
local boot, ttl, asks, number = ARGV[1], tonumber(ARGV[2]), cmsgpack.unpack(ARGV[3]), tonumber(ARGV[5])
local function read(key) local raw = redis.call('GET', key); return raw and cmsgpack.unpack(raw) end
local members, live = read(KEYS[1]) or {}, 0
local late = members[boot] and members[boot][1] > now and members[boot][2] >= number
if not late then members[boot] = ttl > 0 and {now + ttl, number} or nil end
for b, m in pairs(members) do if m[1] <= now then members[b] = nil else live = live + 1 end end
if late then return cmsgpack.pack({live, {}}) end
redis.call('SET', KEYS[1], cmsgpack.pack(members), 'PX', 60000)
local answers = {}
for i, ask in ipairs(asks) do
  local amount, version, window, held, used, demand, back, known = ask[2], ask[3], ask[4], ask[5], ask[6], ask[7], ask[8], ask[9]
  local s = read(KEYS[1 + i]) or {amount, version, {}, {}, 0}
  if version >= s[2] then s[1], s[2] = amount, version end
  amount = s[1]
  local holders, resting, aged = s[4], {}, 0
  local function rest(at, n) if at > now and n > 0 then resting[#resting + 1] = {at, n}; aged = aged + n end end
  for _, r in ipairs(s[3]) do rest(r[1], r[2]) end
  for _, r in ipairs(back) do rest(now + r[1], r[2]) end
  local me = holders[boot]
  if me and me[6] ~= ask[10] then for _, r in ipairs(me[7]) do rest(r[1], r[2]) end end
  local out, others, idle, wanted, demands = 0, 0, 0, false, {demand}
  for b, h in pairs(holders) do
    if b == boot then
    elseif h[2] + window <= now then holders[b] = nil
    elseif h[2] <= now then aged = aged + h[1]
    else
      out = out + h[1]; others = others + h[4]; idle = idle + math.max(0, h[1] - h[4])
      wanted = wanted or h[5] > now
      demands[#demands + 1] = h[3]
    end
  end
  if held > (holders[boot] and holders[boot][1] or 0) then s[5] = now + 3000 end
  table.sort(demands)
  local left, target = amount, demand
  for k, d in ipairs(demands) do
    local part = left / (#demands - k + 1)
    if d > part then target = math.min(demand, math.ceil(part)); break end
    left = left - d
  end
  local top = math.min(wanted and target or demand, amount)
  if now < s[5] then top = math.min(top, math.max(1, math.floor(amount / math.max(live, known)))) end
  local free, want = amount - out - held - aged, math.max(0, top - held)
  local granted, given = math.max(0, math.min(want, free)), {}
  want = want - granted
  table.sort(resting, function(a, b) return a[1] < b[1] end)
  local kept, got, first, gave = {}, 0, 0, {}
  for _, r in ipairs(resting) do
    local n = (free >= 0 and ttl > 0) and math.min(want, r[2]) or 0
    if n > 0 then want = want - n; got = got + n; given[#given + 1] = {r[1] - now, n}; gave[#gave + 1] = {r[1], n} end
    if r[2] > n then
      if first == 0 then first = r[1] - now end
      local last = kept[#kept]
      if last and #kept >= 200 then last[1] = r[1]; last[2] = last[2] + r[2] - n else kept[#kept + 1] = {r[1], r[2] - n} end
    end
  end
  local units = held + granted + got
  local short = demand > units
  if ttl > 0 and (units > 0 or demand > 0) then
    holders[boot] = {units, now + ttl, demand, math.min(used + got, units), short and now + 2000 or 0, number, gave}
  else
    holders[boot] = nil
  end
  s[3] = kept
  redis.call('SET', KEYS[1 + i], cmsgpack.pack(s), 'PX', window + 2 * ttl + 60000)
  answers[i] = {granted, given, target, others + aged - got, idle, wanted or free < 0, first}
end
return cmsgpack.pack({live, answers})
"""

_encode = msgspec.msgpack.Encoder().encode


class RedisPool:
    """``limits_shares.Pool`` on Redis. Raises ConnectionError where Redis does not answer in time, or not sensibly."""

    def __init__(self, url: str, boot_id: str) -> None:
        self._boot = boot_id
        self._redis: redis.Redis = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, retry=Retry(NoBackoff(), 0)
        )
        self._decode = msgspec.msgpack.Decoder(Shares).decode

    async def sync(self, asks: Sequence[Ask], ttl_ms: int, number: int) -> Shares:
        return await self.sync_at(asks, ttl_ms, number, 0)

    async def sync_at(self, asks: Sequence[Ask], ttl_ms: int, number: int, now_ms: int) -> Shares:
        """``sync`` at a moment of the caller's choice, for tests; 0: Redis' own clock."""
        keys = [MEMBERS_KEY, *(KEY_PREFIX + ask.id for ask in asks)]
        try:
            answer = await self._redis.eval(SCRIPT, len(keys), *keys, self._boot, ttl_ms, _encode(list(asks)), now_ms, number)
            return self._decode(answer)
        except (RedisError, msgspec.MsgspecError, OSError) as error:
            raise ConnectionError(f"Redis: {error}") from error

    async def close(self) -> None:
        await self._redis.aclose()
