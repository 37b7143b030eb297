"""Backups under load restore all events acknowledged before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.deployments import wait_for
from tests.end_to_end.backups import Backup, redis_append_only, redis_cluster, redis_file, redis_sentinel, sqlite
from tests.end_to_end.event_writer import USERS, EventWriter
from tests.end_to_end.service import RunningService
from tests.environment import ROOT

BUNDLE = ROOT / "bundles" / "ml-1m-demo"
BACKENDS = (sqlite, redis_file, redis_append_only, redis_sentinel, redis_cluster)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.__name__)
def test_backup_under_load_restores_every_acknowledged_event(
    tmp_path: Path, backend: Callable[[Path], AbstractContextManager[tuple[str, Backup]]]
) -> None:
    with backend(tmp_path) as (url, backup):
        with RunningService(tmp_path, url, BUNDLE) as service:
            for number in range(40):
                service.put(f"/items/i{number}", {"attributes": {"price": number}})
            service.put("/filters/cheap", {"expression": "price < 5"})
            service.delete("/items/i39")
            service.put("/items/260", {"title": "Étoiles", "available": False, "attributes": {"tags": ["a", "b"]}})
            writer = EventWriter(service.url)
            writer.start()
            wait_for("events", lambda: writer.number > 10 * USERS)
            before = writer.acknowledged_now()
            copy = backup()
            at_the_end = writer.number
            wait_for("more events", lambda: writer.number > at_the_end + USERS)
            writer.stop()
        with RunningService(tmp_path, copy, BUNDLE) as restored:
            assert sum(map(len, before.values())) > 9 * USERS
            for user, events in before.items():
                assert restored.event_ids(user)[: len(events)] == events
                assert_audit_agrees(restored, user)
            found = restored.get("/items", filter="price >= 10")["items"]
            assert [item["item_id"] for item in found] == [f"i{number}" for number in range(10, 39)]
            assert restored.get("/filters")["filters"] == [{"name": "cheap", "expression": "price < 5"}]
            types = {each["name"]: each["type"] for each in restored.get("/attributes")["attributes"]}
            assert types == {"price": "number", "tags": "strings"}
            [hidden] = restored.get("/items", filter="'a' IN tags")["items"]
            assert (hidden["item_id"], hidden["title"], hidden["available"]) == ("260", "Étoiles", False)
            answer = restored.post("/recommendations", {"history": ["1"], "k": 4000})
            assert "260" not in {item["item_id"] for item in answer["items"]}
            assert len(answer["items"]) > 3000
            again = {"user_id": "u0", "item_id": "1", "event_id": "e0"}
            assert restored.post("/events", again)["duplicate"]
            assert not restored.post("/events", again | {"event_id": "new"})["duplicate"]


def assert_audit_agrees(service: RunningService, user: str) -> None:
    """Assert that a user's snapshot is the replay of the log."""
    audit = service.get(f"/users/{user}/audit")
    assert audit["snapshot"] != "damaged"
    assert audit["max_relative_error"] <= 1e-5
