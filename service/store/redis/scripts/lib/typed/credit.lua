-- Counters of what recommendations earned; core/attribution/credits.py describes credits.

-- Add the amounts of an event's credit to the shard's counters, or subtract them with `sign` -1.
-- `recommendation` is the credit, which may be empty, a zero byte, and the event's recommendation id.
local function add_credit(counters, recommendation, sign)
  local amounts, targets = string.match(recommendation, '^([^%s%z]+) (%Z*)%z')
  if not amounts then
    return
  end
  local names, added, changed = {}, {}, {}
  for target in string.gmatch(targets, '%S+') do
    for letter, amount in string.gmatch(amounts, '(%l)(%-?%d+)') do
      names[#names + 1] = target .. ':' .. letter
      added[#added + 1] = sign * tonumber(amount)
    end
  end
  -- Not HINCRBY, which fails at the limit of 64 bits, and would leave half of the script's work behind.
  for i, value in ipairs(redis.call('HMGET', counters, unpack(names))) do
    changed[#changed + 1] = names[i]
    changed[#changed + 1] = string.format('%.0f', tonumber(value or 0) + added[i])
  end
  redis.call('HSET', counters, unpack(changed))
end
