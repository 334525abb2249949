-- next settles what a worker has of an open range, if it names one, and goes on with its ticket: one round trip from range to range.
-- KEYS  1 the shard's prefix; touches what settle touches, and a:<nonce>:<bucket> y:<group> f:<group>
-- ARGV  of an item: group nonce place number worker pull-nonce want share (at most such a part of what is unclaimed, 0 none)
--       have (the segment that the caller holds, -1 none), then as settle has
--       them: range ('' none) number runs blob counts failed-index failed-state failure
-- ANSWER {'' nothing to settle | ok | fenced | gone, 0|1 outbox, then as pull answers, then hand-overs of those that it made room for}
--
-- What nearly every call is (a whole range has succeeded, the next one comes from the cursor) is done here, with few commands and one
-- write to the group's record. Anything else is left to the fragments range and pull. They stand in a function, which Redis enters only then:
-- to define all that they need would take longer than this does.
local MEMBERS, FIELDS = 65536, 1000 -- CHUNK and BUCKET of the fragment members
local ZEROS = string.rep('\0', 256)
local full -- of both fragments, once it is needed

-- one_chunk returns key and offset of the part of the map that holds [from, to), nil where it is not one part.
local function one_chunk(gid, from, to)
  local c = math.floor(from / MEMBERS)
  if math.floor((to - 1) / MEMBERS) == c then return k_map(gid, c), (from - c * MEMBERS) * 4 end
end

-- settle_whole settles a range that nothing was settled of before, all of whose members have succeeded, and is false for all others. What it
-- changes of the record is in f and, to be written, in set.
local function settle_whole(gid, f, set, rid, number, worker, runs, blob, counts)
  local n = tonumber(string.match(counts, '^succeeded,(%d+)$'))
  if not n or not f.n or f.bs or f.mr or f.mw or f.w and string.find(f.w, ',p,', 1, true) or f.dn + n >= tonumber(f.n) then return false end
  local x = redis.call('HGET', k_ranges(gid), rid)
  if not x then return false end
  local from, to, no, holder, left = string.match(x, '^(%d+);(%d+);(%d+);[^;]*;([^;]*);[^;]*;%d+;(%d+);')
  if no ~= number or holder ~= worker or tonumber(left) ~= n or to - from ~= n or runs ~= from .. ',' .. n then return false end
  local map, at = one_chunk(gid, tonumber(from), tonumber(to))
  if not map then return false end
  local seq = f.sq + 1
  redis.call('HSET', k_results(gid, math.floor((seq - 1) / FIELDS)), seq, f.dn .. '\n' .. blob)
  local four = string.char(math.floor(seq / 16777216) % 256, math.floor(seq / 65536) % 256, math.floor(seq / 256) % 256, seq % 256)
  redis.call('SETRANGE', map, at, string.rep(four, n))
  redis.call('HDEL', k_ranges(gid), rid)
  redis.call('SREM', k_holdings(worker), 'x|' .. gid .. '|' .. rid)
  f.sq, f.dn = seq, f.dn + n
  set[1], set[2], set[3], set[4], set[5], set[6] = 'sq', seq, 'dn', f.dn, 'n:succeeded', (f.ok or 0) + n
  return true
end

-- pull_plain takes members from the cursor for a ticket that the worker holds, where nothing stands in the way; else it is nil.
local function pull_plain(gid, f, set, nonce, place, number, worker, call, want, share, have)
  if f.no ~= nonce or f.mr or f.bs or f.bd or f.c or f.dl or not f.sa or f.cs >= tonumber(f.sn) then return nil end
  local no, holder, last = string.match(f.t or '', '^(%d+);([^;]*);([^;]*);')
  if no ~= number or holder ~= worker or last == call then return nil end
  if redis.call('EXISTS', k_returned(gid), k_flags(gid)) ~= 0 then return nil end
  local args = redis.call('HGET', k_args(nonce, math.floor(f.cs / FIELDS)), f.cs)
  if not args then return nil end
  local first, count = string.match(args, '^1;(%d+);(%d+)\n')
  local from, after = f.ci, first + count
  if from < tonumber(first) then return nil end -- the arguments of what lies between are gone
  if share ~= '0' then want = math.min(want, math.ceil((f.n - f.ci) / share)) end
  local to = math.min(from + want, after)
  local map, at = one_chunk(gid, from, to)
  if from >= to or not map then return nil end
  local there = redis.call('GETRANGE', map, at, at + (to - from) * 4 - 1)
  if there ~= string.sub(ZEROS, 1, #there) then return nil end
  local rid, seg = f.rn + 1, f.cs
  redis.call('HSET', k_ranges(gid), rid, from .. ';' .. to .. ';1;;' .. worker .. ';' .. call .. ';' .. seg .. ';' .. to - from .. ';')
  redis.call('SADD', k_holdings(worker), 'x|' .. gid .. '|' .. rid)
  local n = #set
  set[n + 1], set[n + 2], set[n + 3], set[n + 4] = 'ci', to, 'rn', rid
  set[n + 5], set[n + 6] = 't' .. place, number .. ';' .. worker .. ';' .. call .. ';' .. rid .. ';1'
  if to == after then set[n + 7], set[n + 8] = 'cs', seg + 1 end
  return {'range', rid, from, to, 1, 0, seg, '', tostring(seg) == have and '' or args, f.q, f.qa, '0', ''}
end

local function item(gid, nonce, place, number, worker, call, want, share, have, rid, rnumber, runs, blob, counts, findex, fstate, ferr)
  local v = redis.call('HMGET', k_record(gid), 'no', 'n', 'bs', 'bd', 'c', 'dl', 'sa', 'mw', 'w', 'cs', 'ci', 'sn', 'sq', 'dn', 'rn', 'n:succeeded',
    'q', 'qa', 't' .. place, 'mr')
  local f = {no = v[1], n = v[2], bs = v[3], bd = v[4], c = v[5], dl = v[6], sa = v[7], mw = v[8], w = v[9], cs = tonumber(v[10] or 0),
    ci = tonumber(v[11] or 0), sn = v[12], sq = tonumber(v[13] or 0), dn = tonumber(v[14] or 0), rn = tonumber(v[15] or 0), ok = v[16], q = v[17],
    qa = v[18], t = v[19], mr = v[20]}
  local set, settled, outbox, answer = {}, '', 0, nil
  if rid == '' or settle_whole(gid, f, set, rid, rnumber, worker, runs, blob, counts) then
    if rid ~= '' then settled = 'ok' end
    answer = pull_plain(gid, f, set, nonce, place, number, worker, call, want, share, have)
    if set[1] then redis.call('HSET', k_record(gid), unpack(set)) end
  else
    full = full or fragments()
    full.room.pulling = f.mr
    settled, outbox = full.settle(gid, rid, rnumber, worker, runs, blob, counts, findex, fstate, ferr)
  end
  if not answer then
    full = full or fragments()
    answer = full.pull(gid, nonce, place, number, worker, call, want, share, have)
  end
  if f.mr then
    full.room.pulling = false
    full.make_room(gid, full.now_ms()) -- what this pull has left is for another ticket
  end
  if full then full.with_issued(answer) end
  table.insert(answer, 1, outbox)
  table.insert(answer, 1, settled)
  return answer
end
