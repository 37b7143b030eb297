-- Shared by the scripts that remove a user; redis_layout.py puts it before them.
-- Users that were merged into this one, whose events may still be parked (see merge.lua): source, generation, source, …
-- What the hash knows of them must outlive that, or they would come in a second time.
local function unsettled(user)
  local merged = redis.call('HGET', user, 'merged')
  local found = {}
  for _, record in ipairs(merged and cmsgpack.unpack(merged) or {}) do
    if record[8] == 1 then
      found[#found + 1] = record[1]
      found[#found + 1] = record[2]
    end
  end
  return found
end
