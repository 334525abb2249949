-- settle_range writes outcomes of members of an open range: all that this worker has, at once. runs are "from,count,from,count…", counts
-- "state,how many,…", failed the index ('' none), state and failure of the first in the blob that did not succeed.
-- Answers ok and 0|1 outbox, fenced (the range is not this worker's any more) or gone.
local function settle_range(gid, rid, number, worker, runs, blob, counts, failed, state, err)
  local g = group_read(gid)
  if not g.n or g.bs then return 'gone', 0 end
  local p = held(gid, rid, number, worker)
  if not p then return 'fenced', 0 end
  local n = 0
  runs = parse_runs(runs)
  for _, r in ipairs(runs) do
    n = n + r[2]
    -- written already: this very call again, or members that are not the caller's
    if map_get(gid, r[1], r[2]) ~= string.rep(OPEN4, r[2]) then return 'fenced', 0 end
  end
  local by, parts = {}, split(counts, ',')
  for i = 1, #parts - 1, 2 do by[parts[i]] = num(parts[i + 1]) end
  local now = now_ms()
  shrink(gid, g, rid, p, n, now)
  return 'ok', record_members(gid, g, runs, by, blob, failed ~= '' and {tonumber(failed), state, err} or nil, now)
end
