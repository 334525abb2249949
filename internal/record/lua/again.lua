-- again makes what waits for a message that is gone wait for another one, under the next number, nothing charged.
-- KEYS  1 the shard's prefix; touches open and the records named
-- ARGV  {task, id, '', number, message | ticket, group, place, number, message}… flattened
-- ANSWER {task, id, number, queue, alone 0|1 | ticket, group, nonce, place, number, queue}…: enqueue these; of what does not wait for that
--        message any more there is none
local acts, now = {}, now_ms()
for i = 1, #ARGV, 5 do
  local kind, id, place, number, message = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if kind == 'task' then
    local t = waits_for(id, number, message)
    if t then
      local h = hand_over(id, t, now)
      acts[#acts + 1] = {'task', h[1], h[2], h[3], h[4]}
    end
  elseif ticket_waits_for(id, place, number, message) then
    acts[#acts + 1] = {'ticket', unpack(ticket_again(id, place, now))}
  end
end
return acts
