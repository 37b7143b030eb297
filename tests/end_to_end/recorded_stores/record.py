"""Record a store of this release, which later releases must read.

    python -m tests.end_to_end.recorded_stores.record

Run it once for each release that is published. It writes VERSION.db.gz, VERSION.rdb and VERSION.json beside itself.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.end_to_end.service import RunningService
from tests.environment import ROOT
from tests.servers import RedisServer

FOLDER = Path(__file__).parent
BUNDLE = ROOT / "bundles" / "ml-1m-demo"
RELEASE = version("recblr-service")


def main() -> None:
    """Record SQLite and Redis; both must hold the same."""
    with tempfile.TemporaryDirectory() as name, RedisServer() as server:
        folder = Path(name)
        with RunningService(folder, f"sqlite:///{folder}/recblr.db", BUNDLE) as service:
            expected = use(service)
        with (
            closing(sqlite3.connect(folder / "recblr.db")) as source,
            closing(sqlite3.connect(folder / "copy.db")) as copy,
        ):
            source.backup(copy)
        (FOLDER / f"{RELEASE}.db.gz").write_bytes(gzip.compress((folder / "copy.db").read_bytes(), mtime=0))
        with RunningService(folder, server.url, BUNDLE) as service:
            assert use(service) == expected
        target = str(FOLDER / f"{RELEASE}.rdb")
        subprocess.run(["redis-cli", "-p", str(server.port), "--rdb", target], check=True)
    (FOLDER / f"{RELEASE}.json").write_text(json.dumps(expected, indent=1) + "\n")


def use(service: RunningService) -> dict[str, Any]:
    """Make every kind of stored value; return what a reader must find."""
    for user, length in {"ann": 5, "bob": 40, "visitor": 3, "account": 4, "gone": 2, "undone": 3}.items():
        for number in range(length):
            event = {"user_id": user, "item_id": str(1 + 7 * number), "event_id": f"{user}-{number}"}
            service.post("/events?k=3", event | {"timestamp": 1_000_000.5 + number})
    service.post("/events", {"user_id": "ann", "item_id": "260", "timestamp": 2_000_000.0})  # without an event_id
    service.post(
        "/events", {"user_id": "ann", "item_id": "of no model", "event_id": "unknown", "timestamp": 2_000_001.0}
    )
    service.post("/users/account/merge", {"from_user_id": "visitor"})
    service.delete("/users/gone")
    service.delete("/users/undone/events/undone-2")
    users = ("ann", "bob", "account", "undone")
    names = ("sequence", "item_id", "timestamp", "event_id")
    events = {}
    for user in users:
        service.get(f"/users/{user}/recommendations", k=3)
        found = service.get(f"/users/{user}/events", limit=1000)["events"]
        events[user] = [{name: event[name] for name in names} for event in found]
    return {
        "events": events,
        "known": [
            {"user_id": "ann", "item_id": "1", "event_id": "ann-0", "timestamp": 1_000_000.5},
            {"user_id": "account", "item_id": "8", "event_id": "visitor-1", "timestamp": 1_000_001.5},
        ],
        "next_sequence": {user: service.get(f"/users/{user}")["sequence"] + 1 for user in users},
    }


if __name__ == "__main__":
    main()
