"""Workers are killed while they rebuild memos, over and over; in the end there is one for all, and it is the fold."""

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
from tests.faults.form import LONG, report, times
from tests.model.builders import bundle_of
from tests.servers import empty_log

pytestmark = pytest.mark.faults

# Each start looks at some 256 users before it is killed.
USERS, EVENTS, ITEMS = times(256, 3200), 20, 40
SEED = 20261128
# So slow that no kill comes too late: a batch of some milliseconds, and then a second or so of rest.
SLOW, FAST = "0.01", "1"


@pytest.fixture(params=["redis", "sqlite"] if LONG else ["redis"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty_log(request.param, tmp_path) as url:
        yield url


def test_a_rebuild_survives_kill_9(tmp_path: Path, state_url: str) -> None:
    kills, dice = times(1, 10), random.Random(SEED)
    bundles = tmp_path / "bundles"
    for n, version in enumerate(("v1", "v2")):
        write_bundle(bundles / version, bundle_of(ModelConfig(items=ITEMS, dim=8), n, version, f"2026-01-0{n + 1}"))
    with RunningService(tmp_path, state_url, bundles / "v1", RECBLR_BACKFILL_SHARE="0") as service:
        for start in range(0, USERS, 32):
            users = [f"u{start + n % 32}" for n in range(32 * EVENTS)]
            events = [{"user_id": user, "item_id": f"i{1 + dice.randrange(ITEMS)}"} for user in users]
            service.post("/events/batch", {"events": events})
    snapshots: list[int] = []
    for _ in range(kills):
        snapshots.append(
            _killed(tmp_path, state_url, bundles / "v2", snapshots[-1] if snapshots else 0, dice.uniform(0.0, 0.3))
        )
    fast = {"RECBLR_WORKERS": "2", "RECBLR_BACKFILL_SHARE": FAST}
    with RunningService(tmp_path, state_url, bundles / "v2", **fast) as service:
        began = time.monotonic()
        wait_for("the rebuild's end", lambda: not _stands(service)["running"])
        seconds, found = time.monotonic() - began, _stands(service)
        audits = [service.get(f"/users/u{user}/audit") for user in range(USERS)]
    missing = sum((audit["snapshot"], audit["applied"]) != ("found", EVENTS) for audit in audits)
    wrong = sum(audit["max_relative_error"] > 1e-5 for audit in audits)
    report(
        "kill -9 of two workers while they rebuild memos",
        store=state_url.partition(":")[0],
        seed=SEED,
        kills=kills,
        users=USERS,
        snapshots_told_of_at_the_kills=snapshots,
        walks=found["walk"],
        missing=missing,
        wrong=wrong,
        end_after_last_start_seconds=round(seconds, 2),
    )
    assert {audit["model_version"] for audit in audits} == {"v2"}
    assert (missing, wrong) == (0, 0)


def _killed(folder: Path, state_url: str, bundle: Path, before: int, pause: float) -> int:
    """Start two slow workers, and kill them a little after their first memos; how many there were in all by then."""
    service = RunningService(folder, state_url, bundle, RECBLR_WORKERS="2", RECBLR_BACKFILL_SHARE=SLOW)
    with service:
        wait_for("memos of this start", lambda: _stands(service).get("snapshots", 0) > before)
        time.sleep(pause)
        found = _stands(service)
        assert found["running"], "it was too fast to be killed in the middle"
        service.kill()
        return int(found["snapshots"])


def _stands(service: RunningService) -> dict[str, Any]:
    rebuilds = service.get("/admin/backfills")["backfills"]
    return next((each for each in rebuilds if each["model_version"] == "v2"), {})
