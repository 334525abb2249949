-- outbox reads what the shard still has to tell.
-- KEYS  1 the shard's prefix; touches outbox
-- ARGV  cursor ('0' from the beginning), age (only what is at least so many ms old)
-- ANSWER {cursor to go on from ('0': that was all), {field, entry}… flattened}
local now, out, cursor, rounds = now_ms(), {0}, ARGV[1], 0
repeat
  local page = redis.call('HSCAN', OUTBOX, cursor, 'COUNT', 100)
  cursor, rounds = page[1], rounds + 1
  for i = 1, #page[2], 2 do
    local n, from = string.match(page[2][i + 1], '^(%d+):()') -- the time comes first; what has none is old enough
    local at = n and string.sub(page[2][i + 1], from, from + n - 1)
    if now - num(at) >= num(ARGV[2]) then
      out[#out + 1] = page[2][i]
      out[#out + 1] = page[2][i + 1]
    end
  end
until cursor == '0' or #out > 200 or rounds >= 20
out[1] = cursor
return out
