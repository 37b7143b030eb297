-- Number of events, or of their fields, that one command takes. Lua cannot pass more than some 8,000 arguments.
local PIECE = 250
