-- What every script needs: time, numbers, packing.
--
-- Times are milliseconds of Redis' own clock. Numbers above 2^31 must go through S, since Lua prints them as 1.7e+12.
local FAR = 9000000000000000
local HANDOVER = 2000 -- ms after which a hand-over that nobody marked is done again
local SMALL = 4096    -- bytes of a value that still travels in a notice

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Writing a number costs more than finding it written, and a script meets the same ones again: small ones, its time, and one in turn
-- with it. (Only small ones in a table: the embedded Redis' Lua makes it as long as its largest key.)
local small, last, last_text, before, before_text = {}, nil, nil, nil, nil
local function S(n)
  if n == last then return last_text end
  if n == before then return before_text end
  local s = small[n]
  if s then return s end
  s = string.format('%.0f', n)
  if n >= 1 and n <= 256 then
    small[n] = s
  else
    before, before_text, last, last_text = last, last_text, n, s
  end
  return s
end

local function num(s) return tonumber(s or '') or 0 end

-- pack writes each string as <length>:<bytes>; unpack_all reads them back. Four at a time, since a concatenation of many costs Lua little
-- more than one of two, and a table of them much.
local pack
pack = function(a, b, c, d, ...)
  if b == nil then return S(#a) .. ':' .. a end
  if c == nil then return S(#a) .. ':' .. a .. S(#b) .. ':' .. b end
  if d == nil then return S(#a) .. ':' .. a .. S(#b) .. ':' .. b .. S(#c) .. ':' .. c end
  local s = S(#a) .. ':' .. a .. S(#b) .. ':' .. b .. S(#c) .. ':' .. c .. S(#d) .. ':' .. d
  if (...) ~= nil then return s .. pack(...) end
  return s
end

local function unpack_all(s)
  local out, at = {}, 1
  while s and at <= #s do
    local colon = string.find(s, ':', at, true)
    local n = tonumber(string.sub(s, at, colon - 1))
    out[#out + 1] = string.sub(s, colon + 1, colon + n)
    at = colon + n + 1
  end
  return out
end

-- split cuts at single characters; it keeps empty parts.
local function split(s, sep)
  local out, at = {}, 1
  while true do
    local i = string.find(s, sep, at, true)
    if not i then
      out[#out + 1] = string.sub(s, at)
      return out
    end
    out[#out + 1] = string.sub(s, at, i - 1)
    at = i + 1
  end
end

-- look sets when the shard's open work is looked at again. A new earliest time is told, so that timers can be set anew.
local function look(id, at)
  redis.call('ZADD', OPEN, S(at), id)
  if at < FAR then
    local head = redis.call('ZRANGE', OPEN, 0, 0)
    if head[1] == id then redis.call('PUBLISH', C_DUE, S(at)) end
  end
end

-- uv writes a number as a varint, lp a string behind its length: settled ranges are made of these (range.go).
local function uv(n)
  local s = ''
  while n >= 128 do
    s = s .. string.char(n % 128 + 128)
    n = math.floor(n / 128)
  end
  return s .. string.char(n)
end

local function lp(s) return uv(#s) .. s end

-- entry is one member's outcome inside a settled range; the Go side is range.go.
-- kind: v value, e failure, o the outcome of another group, b the items of another group (its ID stands as the value). Started is relative
-- to the base and not positive; a positive one means never.
local STATES = {succeeded = 0, failed = 1, cancelled = 2, timed_out = 3, crash_loop = 4, lost = 5, expired = 6}
local KINDS = {v = 0, e = 8, o = 16, b = 24}
local function entry(index, state, kind, attempt, delivery, started, value, err)
  local never = started > 0
  return string.char(STATES[state] + KINDS[kind] + (never and 128 or 0)) .. uv(index) .. uv(attempt) .. uv(math.max(delivery, 0)) .. uv(0) ..
    (never and '' or uv(-started)) .. lp(kind == 'e' and err or value)
end

-- range_head begins a settled range that a script writes.
local function range_head(worker, now, queued) return '\2' .. lp(worker) .. uv(now) .. uv(num(queued)) end

local FAILURES = {failed = true, cancelled = true, timed_out = true, crash_loop = true, lost = true, expired = true}
