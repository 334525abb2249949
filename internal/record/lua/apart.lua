-- apart calls look for an entry of the open work, so that one that cannot be read (a key of another type, fields that are gone or are no numbers)
-- holds up no other of its shard. False: it could not be read. What is wrong with Redis itself ends the script as ever.
local function apart(look, id)
  local ok, read = pcall(look, id)
  if ok then return read ~= false end
  local text = type(read) == 'table' and read.err or tostring(read)
  for _, broken in ipairs({'WRONGTYPE', 'not an integer', 'attempt to ', 'bad argument'}) do
    if string.find(text, broken, 1, true) then return false end
  end
  return look(id) ~= false -- fails again, with the words that Redis gives an error that nobody caught
end
