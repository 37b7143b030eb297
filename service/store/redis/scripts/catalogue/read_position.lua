-- Read the newest position. KEYS: 1 changes. Returns revision, token. Needs lib/format, catalogue.
return { newest_position(KEYS[1]) }
