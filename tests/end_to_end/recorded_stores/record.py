"""Record a store of this release, which later releases must read.

    python -m tests.end_to_end.recorded_stores.record events catalogue

Run it once for each release that is published. It writes VERSION.db.gz, VERSION.rdb and VERSION.json beside itself,
and VERSION-catalogue.* for the catalogue.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
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


def main(names: list[str]) -> None:
    """Make the recordings of these names."""
    for name in names:
        record(*RECORDINGS[name])


def record(file: str, use: Callable[[RunningService], dict[str, Any]]) -> None:
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
        (FOLDER / f"{file}.db.gz").write_bytes(gzip.compress((folder / "copy.db").read_bytes(), mtime=0))
        with RunningService(folder, server.url, BUNDLE) as service:
            assert use(service) == expected
        target = str(FOLDER / f"{file}.rdb")
        subprocess.run(["redis-cli", "-p", str(server.port), "--rdb", target], check=True)
    (FOLDER / f"{file}.json").write_text(json.dumps(expected, indent=1) + "\n")


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


def use_catalogue(service: RunningService) -> dict[str, Any]:
    """Make every kind of stored value of the catalogue."""
    service.put("/attributes/until", {"type": "time"})
    values = {
        "price": 9.5,
        "new": True,
        "brand": "Ünited",
        "sizes": ["L", "S"],
        "until": "2030-01-01T00:00:00.000001Z",
    }
    service.put("/items/1", {"title": "Étoiles", "categories": ["a", "b"], "attributes": values, "vector": [0.5, -1]})
    service.put("/items/260", {"available": False, "attributes": {"price": 3}})
    service.put("/items/of no model", {})
    service.put("/items/2", {"attributes": {"price": 1}})
    service.delete("/items/2")
    service.delete("/items/3")
    service.put("/attributes/gone", {"type": "string"})
    service.delete("/attributes/gone")
    service.put("/filters/cheap", {"expression": "price < :most"})
    service.put("/filters/gone", {"expression": "new"})
    service.delete("/filters/gone")
    return catalogue_of(service)


def catalogue_of(service: RunningService) -> dict[str, Any]:
    """Return the catalogue, and the items that it hides."""
    items = service.get("/items")["items"]
    shown = {item["item_id"] for item in service.post("/recommendations", {"history": [], "k": 4000})["items"]}
    return {
        "items": items,
        "item": service.get("/items/1"),  # with its vector
        "attributes": service.get("/attributes"),
        "filters": service.get("/filters"),
        "hidden": sorted({"1", "2", "3", "260", "1196"} - shown),
        "cheap": service.get("/items", filter="price < 5")["items"],
    }


RECORDINGS = {"events": (RELEASE, use), "catalogue": (f"{RELEASE}-catalogue", use_catalogue)}


if __name__ == "__main__":
    main(sys.argv[1:])
