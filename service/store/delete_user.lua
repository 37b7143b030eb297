-- Remove everything about a user. Returns the number of events removed.
-- KEYS  user hash, log list, shard stream
-- The stream stays even when empty: its last id keeps those who read it incrementally from missing what comes next.
local entries = redis.call('LRANGE', KEYS[2], 0, -1)
for _, entry in ipairs(entries) do
  local _, _, item_size, id_size, start = struct.unpack('<ddHH', entry)
  redis.call('XDEL', KEYS[3], string.sub(entry, start + item_size + id_size))
end
redis.call('DEL', KEYS[1], KEYS[2])
return #entries
