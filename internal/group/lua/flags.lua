-- flags says of open ranges whether they are still this worker's, and which members were asked to end: the answer to its beat.
-- KEYS  1 the shard's prefix; touches r:<group> x:<group> f:<group>
-- ARGV  worker, then {group, range, number}…
-- ANSWER for each range {fenced 0|1, failure of the group's cancel, {index, failure}…}
local out = {}
for i = 2, #ARGV, 3 do
  local gid, p = ARGV[i], held(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[1])
  if not p then
    out[#out + 1] = {1, ''}
  else
    local a = {0, redis.call('HGET', k_record(gid), 'c') or ''}
    if redis.call('EXISTS', k_flags(gid)) == 1 then
      for m = tonumber(p[1]), tonumber(p[2]) - 1 do
        local c = redis.call('HGET', k_flags(gid), S(m))
        if c then
          a[#a + 1] = S(m)
          a[#a + 1] = c
        end
      end
    end
    out[#out + 1] = a
  end
end
return out
