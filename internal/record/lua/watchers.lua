-- Who waits for a record: its field w, entries "inbox,view,after,since;". Each is told once.

-- say tells an inbox something. Where a script has made a bag first, what it says to one inbox waits there, and say_all sends it as one
-- message: each costs Redis and who listens a few microseconds.
local bag = nil

local function say(inbox, message)
  if not bag then
    redis.call('PUBLISH', c_inbox(inbox), message)
    return
  end
  local said = bag[inbox]
  if not said then
    said = {}
    bag[inbox] = said
  end
  local n = #said
  said[n + 1], said[n + 2], said[n + 3] = S(#message), ':', message
end

-- say_all packs them as pack does.
local function say_all()
  for inbox, said in pairs(bag) do
    redis.call('PUBLISH', c_inbox(inbox), said[4] and '1:m' .. table.concat(said) or said[3])
  end
end

-- notify tells those entries for which fires(view, after) holds, and returns what is left of w.
local function notify(w, fires, message)
  local keep = {}
  for e in string.gmatch(w or '', '[^;]+') do
    local inbox, view, after = string.match(e, '^([^,]*),([^,]*),([^,]*),')
    if inbox and fires(view, tonumber(after)) then
      say(inbox, message(view))
    else
      keep[#keep + 1] = e .. ';'
    end
  end
  return table.concat(keep)
end

-- register adds or renews an entry and drops those that nobody renewed for two minutes; nil where nothing changes.
local function register(w, inbox, view, after, now)
  local keep, sec, found = {}, math.floor(now / 1000), false
  if w then -- as it mostly is: registered, and not long ago
    local at, last = string.find(w, inbox .. ',' .. view .. ',' .. S(after) .. ',', 1, true)
    if at == 1 or at and string.sub(w, at - 1, at - 1) == ';' then
      if sec - num(string.match(w, '^%d+', last + 1)) < 30 then return nil end
    end
  end
  for e in string.gmatch(w or '', '[^;]+') do
    local i, v, a, since = string.match(e, '^([^,]*),([^,]*),([^,]*),(.*)$')
    if i == inbox and v == view then
      if a == S(after) and sec - num(since) < 30 then return nil end
      found = true
    elseif i and sec - num(since) < 120 then
      keep[#keep + 1] = e .. ';'
    end
  end
  keep[#keep + 1] = inbox .. ',' .. view .. ',' .. S(after) .. ',' .. S(sec) .. ';'
  return table.concat(keep)
end
