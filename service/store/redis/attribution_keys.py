"""Keys of the counters of attribution."""

from __future__ import annotations

from service.store.redis.layout import SHARDS, keys


def attribution_key(user_id: str) -> str:
    """Return the key of the counters in the user's shard."""
    return keys(user_id)[2].removesuffix("stream") + "attribution"


def attribution_keys() -> list[str]:
    """Return the keys of the counters of all shards."""
    return [f"{{{shard}}}:attribution" for shard in range(SHARDS)]
