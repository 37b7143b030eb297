"""Open the event log that a state URL names."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from ingest.errors import DataError
from model.training.data.event_log.logged_event import EventLog
from model.training.data.event_log.redis_log import open_redis_log
from model.training.data.event_log.sqlite_log import open_sqlite_log
from service.store.errors import StoreRefusedError
from service.store.redis.deployments.url import SCHEMES, parse_url


def open_log(url: str) -> AbstractContextManager[EventLog]:
    """Open the event log at `url`, any RECBLR_STATE_URL, for reading.

    Raises:
        DataError: the URL is malformed, there is no log, or reading it fails, also later while it is open.
    """
    if url.startswith("sqlite:///") and url != "sqlite:///":
        return open_sqlite_log(Path(url.removeprefix("sqlite:///")).absolute())
    if url.partition("://")[0] in SCHEMES:
        try:
            return open_redis_log(parse_url(url))
        except StoreRefusedError as error:
            raise DataError(str(error).removesuffix(".")) from None
    # The message repeats no part of the URL, which may hold a password.
    raise DataError(f"the state URL must begin with sqlite:/// or with {', '.join(SCHEMES)} and ://")
