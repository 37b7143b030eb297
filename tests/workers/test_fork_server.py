"""Workers forked from one process: memory, and the end of that process."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from service.demo import BUNDLE
from tests.deployments import wait_for
from tests.end_to_end.service import KEY, RunningService

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="workers are forked on Linux")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with RunningService(tmp_path, f"sqlite:///{tmp_path}/events.db", BUNDLE, RECBLR_WORKERS="2") as running:
        wait_for("two workers", lambda: running.log().count("service is ready") == 2)
        yield running


def own_bytes(process: int) -> int:
    """Return the bytes of memory that only this process has."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return 1024 * sum(int(kilobytes) for kilobytes in re.findall(r"^Private_\w+: +(\d+)", text, re.MULTILINE))


def answers(service: RunningService, count: int) -> None:
    """Send events over new connections, so that every worker gets some."""
    for number in range(count):
        body = {"user_id": f"u{number}", "item_id": "camping-1"}
        headers = {"x-api-key": KEY, "connection": "close"}
        assert httpx.post(f"{service.url}/v1/events?k=3", json=body, headers=headers, timeout=30).status_code == 200


def test_worker_of_several_has_half_the_memory_of_a_single_one(service: RunningService, tmp_path: Path) -> None:
    answers(service, 60)
    of_each = [own_bytes(worker) for worker in service.workers()]
    (tmp_path / "single").mkdir()
    with RunningService(tmp_path / "single", f"sqlite:///{tmp_path}/single.db", BUNDLE) as single:
        answers(single, 30)
        alone = own_bytes(single.pid)
    assert len(of_each) == 2
    assert max(of_each) < alone / 2


def test_fork_server_has_one_thread_and_no_connection(service: RunningService) -> None:
    [fork_server] = service.fork_servers()
    assert psutil.Process(fork_server).num_threads() == 1
    assert psutil.Process(fork_server).net_connections("inet") == []


def test_workers_are_replaced_when_their_fork_server_is_killed(service: RunningService) -> None:
    [fork_server], before = service.fork_servers(), set(service.workers())
    os.kill(fork_server, signal.SIGKILL)
    wait_for("the old workers' end", lambda: not any(map(psutil.pid_exists, before)))
    wait_for("new workers", lambda: len(service.workers()) == 2 and not before & set(service.workers()))
    wait_for("readiness", service.ready)
    answers(service, 10)
    assert service.fork_servers() != [fork_server]


def test_killed_worker_is_replaced_and_all_end_with_the_service(service: RunningService) -> None:
    first, second = service.workers()
    os.kill(first, signal.SIGKILL)
    wait_for("a new worker", lambda: len(service.workers()) == 2 and first not in service.workers())
    assert second in service.workers()
    everyone = [*service.workers(), *service.fork_servers()]
    assert service.stop() == 0
    wait_for("the end of all", lambda: not any(map(psutil.pid_exists, everyone)))
