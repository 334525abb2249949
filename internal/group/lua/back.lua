-- What goes back to its group: members of a range that was drained or whose worker died, and tickets.

-- ticket_back takes a ticket from its holder: to the tail of its queue, or away (nil) when nothing is unclaimed.
local function ticket_back(gid, g, place, holder, now)
  redis.call('SREM', k_holdings(holder), 't|' .. gid .. '|' .. place)
  if not g.bd and exhausted(gid) then
    close_ticket(gid, place)
    return nil
  end
  return ticket_again(gid, place, now)
end

-- range_back takes members of an open range from its holder: they are taken again before the cursor, under the next number and
-- with the crashes that p[4] says; of a group whose end was requested, or whose deadline has passed, they end. runs nil: all
-- that are open. Answers 0|1 outbox, and a ticket for who enqueues where none was left.
local function range_back(gid, g, rid, p, runs, now)
  local whole = runs == nil
  local from, to = tonumber(p[1]), tonumber(p[2])
  if whole then runs = {{from, to - from}} end
  local state, err = stopped(g, now)
  if state then -- nobody will run them any more: they end here
    local map = open_members(gid, from, to, p[9])
    local entries, all = {}, {}
    for _, r in ipairs(runs) do
      for i = r[1], r[1] + r[2] - 1 do
        if string.sub(map, (i - from) * 4 + 1, (i - from) * 4 + 4) == OPEN4 then
          entries[#entries + 1] = entry(i, state, 'e', 1, num(p[3]), 1, '', err)
          local last = all[#all]
          if last and last[1] + last[2] == i then last[2] = last[2] + 1 else all[#all + 1] = {i, 1} end
        end
      end
    end
    shrink(gid, g, rid, p, whole and tonumber(p[8]) or #entries, now)
    if #entries == 0 then return 0 end -- this very call again
    return record_members(gid, g, all, {[state] = #entries}, range_head(p[5], now, g.qa) .. table.concat(entries), {all[1][1], state, err}, now)
  end
  local function back(first, after, except)
    redis.call('RPUSH', k_returned(gid), S(first) .. ';' .. S(after) .. ';' .. S(tonumber(p[3]) + 1) .. ';' .. p[4] .. ';' .. p[7] .. ';' .. except)
  end
  local n, gone = 0, p[9]
  if whole then
    back(from, to, p[9])
    n = tonumber(p[8])
  else
    for _, r in ipairs(runs) do
      for _, e in ipairs(parse_runs(p[9])) do
        if r[1] == e[1] then return 0 end -- this very call again
      end
      back(r[1], r[1] + r[2], '')
      gone = gone .. (gone == '' and '' or ',') .. S(r[1]) .. ',' .. S(r[2])
      n = n + r[2]
    end
  end
  p[9] = gone
  shrink(gid, g, rid, p, n, now)
  local gk = k_record(gid)
  if num(redis.call('HGET', gk, 'lt')) > 0 then return 0 end
  redis.call('HSET', gk, 'lt', '1', 'T', S(math.max(1, num(redis.call('HGET', gk, 'T')))))
  return 0, ticket_again(gid, '0', now)
end
