"""The Redis log's reader on each deployment, with the rights of docs/redis.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from ingest.errors import DataError
from model.training.data.event_log import open_log
from model.training.data.event_log.redis_log import REDIS_SHARDS
from model.training.data.export import export_log
from service.store.redis import layout
from tests.deployments import ClusterServers, SentinelServers
from tests.model.training.logs import append, exported, logged, use
from tests.servers import RedisServer
from tests.store.backends import ClusterBackend, RedisBackend

DOCS = Path(__file__).parents[5] / "docs" / "redis.md"
PASSWORD = "made-up-password"
USERS = [f"user {n}" for n in range(20)]


def restrict(port: int, user: str) -> None:
    """Create the ACL user that docs/redis.md names, with its rights."""
    found = re.search(rf"^ACL SETUSER {user} on >PASSWORD (.+)$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    with Redis(port=port) as client:
        client.execute_command("ACL", "SETUSER", user, "reset", "on", f">{PASSWORD}", *found[1].split())


@pytest.fixture(scope="module", params=["one server", "sentinels", "cluster"])
def deployment(request: pytest.FixtureRequest) -> Iterator[tuple[RedisBackend, list[int]]]:
    """Provide each kind of deployment, and the ports of all its servers."""
    with ExitStack() as stack:
        if request.param == "cluster":
            cluster = stack.enter_context(ClusterServers())
            yield ClusterBackend(cluster), [node.port for node in cluster.nodes]
        elif request.param == "sentinels":
            sentinels = stack.enter_context(SentinelServers())
            yield RedisBackend(sentinels.primary, url=sentinels.url), [sentinels.primary.port, sentinels.replica.port]
        else:
            server = stack.enter_context(RedisServer())
            yield RedisBackend(server), [server.port]


@pytest.mark.parametrize("user", ["recblr", "reader"])
def test_documented_user_exports_the_log_and_its_changes(
    deployment: tuple[RedisBackend, list[int]], user: str, tmp_path: Path
) -> None:
    backend, ports = deployment
    with backend.client() as client:
        client.flushall()
    for port in ports:
        restrict(port, user)
    url = backend.url.replace("://", f"://{user}:{PASSWORD}@")
    append(backend, [(name, f"item of {user}", float(n)) for n, name in enumerate(USERS)])
    assert export_log(url, tmp_path / "out").events == len(logged(backend, USERS))
    append(backend, [(USERS[0], "another", 3.0)])
    use(backend, lambda store: store.delete_event(USERS[1], "seq-1"))
    result = export_log(url, tmp_path / "out")
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)
    assert result.reread == 1
    assert PASSWORD not in (tmp_path / "out" / "export.json").read_text()


def test_shards_are_those_of_the_store() -> None:
    assert REDIS_SHARDS == layout.SHARDS


def test_reading_a_cluster_follows_a_failover(tmp_path: Path) -> None:
    with ClusterServers() as cluster:
        backend = ClusterBackend(cluster)
        append(backend, [(name, "x", 1.0) for name in USERS])
        with open_log(cluster.url) as log:
            before = [log.newest(shard) for shard in range(log.shards)]
            cluster.fail_over(cluster.nodes[3])
            cluster.nodes[0].kill()
            assert [log.newest(shard) for shard in range(log.shards)] == before


def test_stream_entry_of_another_format_raises(log_redis: RedisServer) -> None:
    backend = RedisBackend(log_redis)
    with backend.client() as client:
        client.flushall()
        client.xadd("{0}:stream", {"format": "9", "user": "a", "seq": "1", "item": "x", "ts": "1", "event_id": ""})
    with open_log(backend.url) as log, pytest.raises(DataError, match="has format 9, but this release reads 1"):
        log.read(0, (), 1000)


def test_wrong_password_is_reported_at_once(log_redis: RedisServer) -> None:
    restrict(log_redis.port, "recblr")
    with pytest.raises(DataError, match="cannot be read") as raised:  # noqa: SIM117
        with open_log(f"redis+cluster://recblr:secret@127.0.0.1:{log_redis.port}") as log:
            log.newest(0)
    assert "secret" not in str(raised.value)
