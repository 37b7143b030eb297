"""Open the store that a URL names."""

from __future__ import annotations

from service.core.ports import Store
from service.store.errors import StoreRefusedError
from service.store.redis.store import open_redis
from service.store.redis.url import SCHEMES
from service.store.sqlite.store import open_sqlite


async def open_store(url: str, keep: int, wait: int = 0, days: int | None = None) -> Store:
    """Open the store at `url`, which keeps the newest `keep` events of each user, those of the last `days` if given.

    `sqlite:///relative/path`, `sqlite:////absolute/path`, or one of `redis_url.SCHEMES`. `wait` is how many replicas
    of Redis must have what is acknowledged. Raises `StoreRefusedError`.
    """
    if keep < 1:
        raise StoreRefusedError(f"keep at least 1 event per user instead of {keep}.")
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        if wait:
            raise StoreRefusedError("SQLite has no replicas to wait for; unset RECBLR_REDIS_WAIT or name a Redis.")
        return await open_sqlite(url, keep, days)
    if scheme in SCHEMES:
        return await open_redis(url, keep, wait=wait, days=days)
    # The rest of the URL may hold a password, so no part of it is repeated.
    raise StoreRefusedError(f"the state URL must begin with sqlite:/// or with {', '.join(SCHEMES)} and ://.")
