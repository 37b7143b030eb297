-- Counters of what recommendations earned; core/attribution/credits.py describes credits.

-- Add the amounts of an event's credit to the shard's counters, or subtract them with `sign` -1.
-- `recommendation` is the event's recommendation id, and perhaps a zero byte and the credit.
local function add_credit(counters, recommendation, sign)
  local amounts, names = string.match(recommendation, '%z(%S+) (.*)$')
  for name in string.gmatch(names or '', '%S+') do
    for letter, amount in string.gmatch(amounts, '(%l)(%-?%d+)') do
      -- A counter at the limit of 64 bits stays there: an error would leave half of the script's work behind.
      redis.pcall('HINCRBY', counters, name .. ':' .. letter, string.format('%.0f', sign * tonumber(amount)))
    end
  end
end
