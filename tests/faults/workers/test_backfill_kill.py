"""Workers killed repeatedly during a backfill: every user gets a correct snapshot."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import wait_for
from tests.end_to_end.service import RunningService
from tests.faults.harness.modes import LONG, report, short_or_long
from tests.model.builders import bundle_of
from tests.servers import empty_log

pytestmark = pytest.mark.faults

# Each start reaches about 256 users before it is killed.
USERS, EVENTS, ITEMS = short_or_long(256, 3200), 20, 40
SEED = 20261128
# A slow share lets no kill come too late: a batch of milliseconds, then a pause of about a second.
SLOW_SHARE, FAST_SHARE = "0.01", "1"


@pytest.fixture(params=["redis", "sqlite"] if LONG else ["redis"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty_log(request.param, tmp_path) as url:
        yield url


def test_backfill_completes_after_repeated_kills(tmp_path: Path, state_url: str) -> None:
    kills, rng = short_or_long(1, 10), random.Random(SEED)
    bundles = tmp_path / "bundles"
    for n, version in enumerate(("v1", "v2")):
        write_bundle(bundles / version, bundle_of(ModelConfig(items=ITEMS, dim=8), n, version, f"2026-01-0{n + 1}"))
    with RunningService(tmp_path, state_url, bundles / "v1", RECBLR_BACKFILL_SHARE="0") as service:
        for start in range(0, USERS, 32):
            users = [f"u{start + n % 32}" for n in range(32 * EVENTS)]
            events = [{"user_id": user, "item_id": f"i{1 + rng.randrange(ITEMS)}"} for user in users]
            service.post("/events/batch", {"events": events})
    snapshots: list[int] = []
    for _ in range(kills):
        before = snapshots[-1] if snapshots else 0
        snapshots.append(_start_and_kill(tmp_path, state_url, bundles / "v2", before, rng.uniform(0.0, 0.3)))
    fast = {"RECBLR_WORKERS": "2", "RECBLR_BACKFILL_SHARE": FAST_SHARE}
    with RunningService(tmp_path, state_url, bundles / "v2", **fast) as service:
        started_at = time.monotonic()
        wait_for("the end of the backfill", lambda: not _progress(service)["running"])
        seconds, progress = time.monotonic() - started_at, _progress(service)
        audits = [service.get(f"/users/u{user}/audit") for user in range(USERS)]
    missing = sum((audit["snapshot"], audit["applied"]) != ("found", EVENTS) for audit in audits)
    wrong = sum(audit["max_relative_error"] > 1e-5 for audit in audits)
    report(
        "kill -9 of two workers during a backfill",
        store=state_url.partition(":")[0],
        seed=SEED,
        kills=kills,
        users=USERS,
        snapshots_at_the_kills=snapshots,
        passes=progress["pass"],
        missing=missing,
        wrong=wrong,
        completed_after_last_start_seconds=round(seconds, 2),
    )
    assert {audit["model_version"] for audit in audits} == {"v2"}
    assert (missing, wrong) == (0, 0)


def _start_and_kill(folder: Path, state_url: str, bundle: Path, before: int, pause: float) -> int:
    """Kill two slow workers soon after their first snapshots.

    Args:
        folder: folder of the service's log.
        state_url: the store.
        bundle: the bundle to serve.
        before: snapshots of earlier starts.
        pause: seconds between the first snapshots and the kill.

    Returns:
        Snapshots written so far, by all starts.
    """
    service = RunningService(folder, state_url, bundle, RECBLR_WORKERS="2", RECBLR_BACKFILL_SHARE=SLOW_SHARE)
    with service:
        wait_for("snapshots of this start", lambda: _progress(service).get("snapshots", 0) > before)
        time.sleep(pause)
        progress = _progress(service)
        assert progress["running"], "the backfill ended before the kill"
        service.kill()
        return int(progress["snapshots"])


def _progress(service: RunningService) -> dict[str, Any]:
    backfills = service.get("/admin/backfills")["backfills"]
    return next((each for each in backfills if each["model_version"] == "v2"), {})
