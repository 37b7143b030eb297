"""Memory per user, with a few users of a small model."""

from __future__ import annotations

import pytest

from loadtests.micro.memory_per_user import SeededUsers, measure_redis, measure_sqlite
from model.config import ModelConfig
from tests.model.builders import bundle_of


@pytest.mark.parametrize("with_event_ids", [False, True])
def test_more_events_take_more_memory_and_a_snapshot_adds_its_own(with_event_ids: bool) -> None:
    bundle = bundle_of(ModelConfig(items=40, dim=64, expansion=1, conv_width=2, layers=1))
    few, many = SeededUsers(bundle, 10, 3, with_event_ids), SeededUsers(bundle, 10, 60, with_event_ids)
    for name, measure in (("redis_own_keys", measure_redis), ("sqlite_log", measure_sqlite)):
        small, large = measure(few), measure(many)
        # Each of the 57 further events holds a sequence and a timestamp at least, and its id if there are ids.
        assert large[name] > small[name] + 57 * (8 + 36 * with_event_ids)
        if name == "sqlite_log":  # Redis counts buffers too, which come and go
            assert large["sqlite_log_and_snapshot"] > large["sqlite_log"]
