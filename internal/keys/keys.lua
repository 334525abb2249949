-- Key names, from the shard's prefix in KEYS[1]. The Go side is keys.go.
local P = KEYS[1]
local NS = string.match(P, '^gq:{(.-):%d+}:$')
local OPEN, OUTBOX = P .. 'open', P .. 'outbox'
local function k_record(id) return P .. 'r:' .. id end
local function k_tomb(id) return P .. 'z:' .. id end
local function k_holdings(worker) return P .. 'h:' .. worker end
local function k_revived(worker) return P .. 'u:' .. worker end
local function k_args(nonce, bucket) return P .. 'a:' .. nonce .. ':' .. string.format('%d', bucket) end
local function k_results(group, bucket) return P .. 'v:' .. group .. ':' .. string.format('%d', bucket) end
local function k_map(group, chunk) return P .. 'i:' .. group .. ':' .. string.format('%d', chunk) end
local function k_ranges(group) return P .. 'x:' .. group end
local function k_returned(group) return P .. 'y:' .. group end
local function k_line(group) return P .. 'p:' .. group end
local function k_flags(group) return P .. 'f:' .. group end
local function k_readers(group) return P .. 'm:' .. group end
local function c_inbox(inbox) return 'gq:{' .. NS .. '}:i:' .. inbox end
local C_DUE = 'gq:{' .. NS .. '}:due'
