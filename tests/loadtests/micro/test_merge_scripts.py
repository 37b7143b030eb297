"""Calls of the scripts of a merge."""

from __future__ import annotations

from loadtests.environment.servers import RedisSettings, redis_server
from loadtests.micro.merge_scripts import measure, summarize
from service.store.redis.lua_scripts import PIECE


def test_every_step_of_a_merge_is_found() -> None:
    with redis_server(RedisSettings("no")) as server:
        found = summarize([measure(server, 2 * PIECE + 1) for _ in range(2)])
    assert found["apply"]["calls"] == found["detach"]["calls"] == found["delete_event"]["calls"] == 1
    assert found["read_detached"]["calls"] == found["read_target"]["calls"] == 3
    assert found["stream_moved"]["calls"] >= 4
    assert all(0 < each["median_ms"] <= each["longest_ms"] for each in found.values())


def test_figures_are_the_least_of_the_repetitions() -> None:
    assert summarize([{"apply": [1.0, 2.0, 9.0]}, {"apply": [2.0, 3.0, 4.0]}]) == {
        "apply": {"calls": 3, "median_ms": 2.0, "longest_ms": 4.0}
    }
