"""The measurement of what a user takes, on a few users of a tiny model."""

from __future__ import annotations

import pytest

from loadtests.micro.memory_per_user import Filling, in_redis, in_sqlite
from model.config import ModelConfig
from tests.model.builders import bundle_of


@pytest.mark.parametrize("ids", [False, True])
def test_more_events_take_more_and_a_memo_takes_its_own(ids: bool) -> None:
    bundle = bundle_of(ModelConfig(items=40, dim=4, expansion=1, conv_width=2, layers=1))
    few, many = Filling(bundle, 10, 3, ids), Filling(bundle, 10, 60, ids)
    for name, measure in (("redis_own_keys", in_redis), ("sqlite_log", in_sqlite)):
        small, large = measure(few), measure(many)
        # Each of the 57 events more holds a sequence and a timestamp at least, and an id if there are ids.
        assert large[name] > small[name] + 57 * (8 + 36 * ids)
        for kind in ("redis", "sqlite"):
            assert large.get(f"{kind}_log_and_memo", 0) >= large.get(f"{kind}_log", 0)
