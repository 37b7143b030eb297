"""The ACL rule of docs/redis.md is enough, and narrow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis import Redis

from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from tests.deployments import ClusterServers
from tests.servers import RedisServer
from tests.store.backends import LONG_TIMEOUT_SECONDS, ClusterBackend
from tests.store.contract import StoreContract

pytestmark = pytest.mark.anyio

DOCS = Path(__file__).parents[3] / "docs" / "redis.md"
USER, PASSWORD = "recblr", "made-up-password"


def acl_rule() -> list[str]:
    """The words of the documented rule after the password."""
    found = re.search(r"^ACL SETUSER recblr on >PASSWORD (.+)$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return found[1].split()


def restrict(port: int) -> None:
    """Create the ACL user on the server."""
    with Redis(port=port) as client:
        client.execute_command("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", *acl_rule())


class TestRedisClusterAsAclUser(StoreContract):
    """A cluster with WAIT needs more of the rule than others."""

    @pytest.fixture
    def backend(self, shared_cluster: ClusterServers) -> ClusterBackend:
        shared_cluster.clear()
        for node in shared_cluster.nodes:
            restrict(node.port)
        backend = ClusterBackend(shared_cluster, LONG_TIMEOUT_SECONDS, min_replicas=1)
        backend.url = shared_cluster.url.replace("://", f"://{USER}:{PASSWORD}@")
        return backend


@pytest.mark.parametrize(
    "command",
    [["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["GET", "other"], ["EVAL", "return 1", "0"]],
    ids=lambda command: command[0].lower(),
)
def test_acl_rule_refuses_other_commands_and_keys(shared_redis: RedisServer, command: list[str]) -> None:
    restrict(shared_redis.port)
    with Redis(port=shared_redis.port) as client:
        assert b"no permissions" in client.execute_command("ACL", "DRYRUN", USER, *command)


async def test_user_without_script_load_is_refused(shared_redis: RedisServer) -> None:
    restrict(shared_redis.port)
    with Redis(port=shared_redis.port) as client:
        client.execute_command("ACL", "SETUSER", USER, "-script|load")
    with pytest.raises(StoreRefusedError, match="refuses INFO or SCRIPT LOAD"):
        await open_store(f"redis://{USER}:{PASSWORD}@127.0.0.1:{shared_redis.port}/0", 10)
