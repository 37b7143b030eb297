"""The event log and the state memos: one contract (`service.core.ports.Store`), a backend for each URL scheme."""

from __future__ import annotations

from service.core.ports import Store
from service.store.redis import open_redis
from service.store.refused import StoreRefused
from service.store.sqlite import open_sqlite
from service.store.stream import open_stream

__all__ = ["StoreRefused", "open_store", "open_stream"]


async def open_store(url: str, keep: int) -> Store:
    """Open the store at `url`, which keeps the newest `keep` events of each user.

    `sqlite:///relative/path`, `sqlite:////absolute/path`, `redis://…` or `rediss://…`. Raises `StoreRefused`.
    """
    if keep < 1:
        raise StoreRefused(f"keep at least 1 event per user instead of {keep}.")
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return await open_sqlite(url, keep)
    if scheme in ("redis", "rediss"):
        return await open_redis(url, keep)
    if scheme == "redis+cluster":
        raise StoreRefused("redis+cluster:// is not supported yet; use redis:// with a single Redis.")
    # The rest of the URL may hold a password, so no part of it is repeated.
    raise StoreRefused("the state URL must begin with sqlite:///, redis:// or rediss://.")
