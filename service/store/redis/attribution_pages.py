"""Keys and pages of the counters of attribution."""

from __future__ import annotations

from typing import Any

from service.core.attribution.credits import COUNTERS_ON_A_PAGE, CounterPage
from service.store.redis.deployments.deployment import Call
from service.store.redis.layout import keys


def attribution_key(user_id: str) -> str:
    """Return the key of the counters in the user's shard."""
    return keys(user_id)[2].removesuffix("stream") + "attribution"


def shard_key(shard: int) -> str:
    """Return the key of a shard's counters."""
    return f"{{{shard}}}:attribution"


def page_call(page: CounterPage) -> Call:
    """Return the call of read_attribution.lua for a page."""
    return Call((shard_key(page.shard),), (page.cursor, COUNTERS_ON_A_PAGE))


def decode_page(reply: Any) -> tuple[dict[str, int], str]:  # noqa: ANN401 - the script decides
    """Return a page's counters and the next cursor."""
    cursor, found = reply
    return dict(zip(map(bytes.decode, found[::2]), map(int, found[1::2]), strict=True)), cursor.decode()
