-- Crashes: the deaths of workers that a task is charged with, "worker@beat@second,…"; an open range carries those of its members.
-- One does not count any more when it is a day old, or when its worker has beaten again (u:<worker> is its beat then).
local SUSPECT = 2      -- with so many a task runs alone
local MAX_CRASHES = 3  -- as a suspect this one ends it, unless its options say another
local DAY = 86400

-- crashes returns those that count.
local function crashes(list, now)
  local out = {}
  for one in string.gmatch(list or '', '[^,]+') do
    local worker, beat, second = string.match(one, '^(.+)@(%d+)@(%d+)$')
    if worker and math.floor(now / 1000) - tonumber(second) < DAY then
      local revived = redis.call('GET', k_revived(worker))
      if not revived or tonumber(revived) < tonumber(beat) then out[#out + 1] = one end
    end
  end
  return out
end

local function crash_count(list, now)
  if not list or list == '' then return 0 end
  return #crashes(list, now)
end
