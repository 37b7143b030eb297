"""New items in a service of several workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.deployments import wait_for
from tests.end_to_end.new_item_models import KNOWN_LATER, TRIPS, write_first_model, write_models
from tests.end_to_end.service import KEY, RunningService

CONNECTIONS = 12  # that all of them lead to one worker is unlikely
NEW_ITEMS = 40
MAX_ERROR = 1e-5


@contextmanager
def connections(service: RunningService) -> Iterator[list[httpx.Client]]:
    """Yield clients, each of which stays with one worker."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(httpx.Client(base_url=f"{service.url}/v1", headers={"x-api-key": KEY}, timeout=10.0))
            for _ in range(CONNECTIONS)
        ]


def shown(client: httpx.Client, trip: str) -> set[str]:
    """Return the items that are recommended to someone on a trip."""
    body = {"history": [f"{trip}-2", f"{trip}-3"], "k": 100}
    answer = client.post("/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    return {item["item_id"] for item in answer.json()["items"]}


def test_new_item_is_recommended_by_every_worker_within_a_second(
    tmp_path: Path, state_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_first_model(tmp_path / "bundles")
    delays = []
    with (
        RunningService(tmp_path, state_url, tmp_path / "bundles", RECBLR_WORKERS="2") as service,
        connections(service) as clients,
    ):
        for number in range(NEW_ITEMS):
            trip = TRIPS[number % len(TRIPS)]
            put_at = time.monotonic()
            service.put(f"/items/item-{number}", {"categories": [trip]})
            for client in clients:
                is_shown = partial(lambda client, item_id, trip: item_id in shown(client, trip), client)
                wait_for("the item to be recommended", partial(is_shown, f"item-{number}", trip), 30)
            delays.append(time.monotonic() - put_at)
        assert f'recblr_item_vectors{{version="20990101T000000Z-00000001"}} {NEW_ITEMS}.0' in service.metrics()
        service.kill()
        service.start()
        assert all(f"item-{n}" in shown(clients[0], TRIPS[n % len(TRIPS)]) for n in range(NEW_ITEMS))
    with capsys.disabled():
        kind = state_url.partition(":")[0]
        print(
            f"\n{kind}: PUT to all workers: median {np.median(delays):.3f} s, p99 {np.quantile(delays, 0.99):.3f} s"
        )
    assert np.median(delays) < 1.0


def test_event_on_a_new_item_counts_also_before_its_put(tmp_path: Path, state_url: str) -> None:
    write_first_model(tmp_path / "bundles")
    with RunningService(tmp_path, state_url, tmp_path / "bundles", RECBLR_WORKERS="2") as service:
        early = service.post("/events?k=5", {"user_id": "early", "item_id": "new-water"})
        assert not early["known_item"] and early["recommendations"]["source"] == "cold_start"
        service.post("/events?k=5", {"user_id": "early", "item_id": "hiking-2"})
        before = top(service, "early")
        service.put("/items/new-water", {"categories": ["water"]})
        service.post("/events?k=5", {"user_id": "late", "item_id": "new-water"})
        service.post("/events?k=5", {"user_id": "late", "item_id": "hiking-2"})
        wait_for("both workers to have the vector", lambda: service.metric("recblr_item_vectors") == 1, 30)
        assert top(service, "early") == top(service, "late") != before
        for user in ("early", "late"):
            assert_right(service, user)
        # Neither an edit nor the deletion of the item changes what its events mean.
        expected = top(service, "early")
        service.put("/items/new-water", {"categories": ["cycling"], "title": "another"})
        service.delete("/items/new-water")
        assert top(service, "early") == expected
        service.kill()
        service.start()
        assert top(service, "early") == expected
        assert_right(service, "early")


def test_state_is_right_across_a_swap_a_rollback_and_a_test_of_a_model_that_knows_the_item(
    tmp_path: Path, state_url: str
) -> None:
    first, second = write_models(tmp_path / "bundles")
    settings = {"RECBLR_WORKERS": "2", "RECBLR_BACKFILL_SHARE": "0.5"}
    with RunningService(tmp_path, state_url, tmp_path / "bundles", **settings) as service:
        service.post("/admin/reload", {"version": first})
        put_new_items(service)
        send_events(service, "a")
        everybody_is_right(service, "a")
        service.post("/admin/reload", {"version": second})
        assert service.get("/model")["version"] == second
        send_events(service, "b")
        everybody_is_right(service, "ab")
        service.post("/admin/reload", {"version": first})  # a rollback
        send_events(service, "c")
        everybody_is_right(service, "abc")
        service.post("/admin/test", {"version": second, "share": 0.5})
        send_events(service, "d")
        models = everybody_is_right(service, "abcd")
        assert models == {first, second}
        service.put("/items/another", {"categories": ["winter"]})
        send_events(service, "e", "another")
        assert everybody_is_right(service, "abcde") == {first, second}


def test_audit_of_an_answer_decides_what_does_not_depend_on_late_vectors(tmp_path: Path) -> None:
    write_first_model(tmp_path / "bundles")
    question = {"k": 8, "exclude_seen": False}

    def audit(user: str, answer: Any, **changes: object) -> Any:
        return service.post(f"/users/{user}/audit", {"question": question, "answer": {**answer, **changes}})

    with RunningService(tmp_path, f"sqlite:///{tmp_path}/log.db", tmp_path / "bundles") as service:
        for item_id in ("hiking-2", "new-hiking"):
            service.post("/events", {"user_id": "early", "item_id": item_id})
        service.post("/events", {"user_id": "trained", "item_id": "hiking-2"})
        before = {user: service.post(f"/users/{user}/recommendations", question) for user in ("early", "trained")}
        assert audit("early", before["early"])["outcome"] == "confirmed"
        put_new_items(service)
        wait_for("the vectors", lambda: service.metric("recblr_item_vectors") == len(KNOWN_LATER), 30)
        after = {user: service.post(f"/users/{user}/recommendations", question) for user in before}
        for user, answer in after.items():
            assert audit(user, answer)["outcome"] == "confirmed"
            assert "new-hiking" in [item["item_id"] for item in answer["items"]]
        # The item's vector was late for the events of one user, and for the answer to the other.
        found = audit("early", before["early"])
        assert (found["outcome"], "vectors since" in found["reason"]) == ("unknown", True)
        assert audit("trained", before["trained"])["outcome"] == "confirmed"
        items = after["trained"]["items"]
        forged = [
            {**item, "score": item["score"] + 1.0} if item["item_id"] == "new-hiking" else item for item in items
        ]
        assert audit("trained", after["trained"], items=forged)["outcome"] == "refuted"
        trained = [item for item in items if item["item_id"] not in KNOWN_LATER]
        found = audit("trained", after["trained"], items=[item for item in items if item != trained[0]])
        assert (found["outcome"], found["missing_items"]) == ("refuted", [trained[0]["item_id"]])
        unknown = [*items[:-1], {"item_id": "of no model", "score": items[-1]["score"]}]
        for user in after:  # also if the user's own events are on new items
            assert audit(user, after[user], items=unknown)["forbidden_items"] == ["of no model"]


def test_what_a_recommended_new_item_earned_is_counted(tmp_path: Path) -> None:
    write_first_model(tmp_path / "bundles")
    url, keys = f"sqlite:///{tmp_path}/log.db", {"RECBLR_ID_KEYS": "key-of-the-ids-of-the-new-items-test"}
    with RunningService(tmp_path, url, tmp_path / "bundles", **keys) as service:
        put_new_items(service)
        wait_for("the vectors", lambda: service.metric("recblr_item_vectors") == len(KNOWN_LATER), 30)
        service.post("/events", {"user_id": "u", "item_id": "hiking-2"})
        answer = service.get("/users/u/recommendations", k=50, exclude_seen="false")
        position = 1 + [item["item_id"] for item in answer["items"]].index("new-hiking")
        event = {"user_id": "u", "item_id": "new-hiking", "recommendation_id": answer["recommendation_id"]}
        for more in ({"type": "impression"}, {}, {"type": "purchase", "value": 7.5}, {"type": "dislike"}):
            service.post("/events", event | more)
        expected = {"impressions": 1, "clicks": 2, "conversions": 1, "value": 7.5}
        wait_for("the counts", lambda: earned(service) == expected)  # they are read once a second
        [version] = service.get("/admin/experiments")["versions"]
        assert version["positions"] == [{"position": position, **expected}]
        assert "new-hiking" not in str(service.get("/users/u/recommendations", k=50, exclude_seen="false")["items"])


def earned(service: RunningService) -> Any:
    """Return the counts of the only version, if anything was counted."""
    versions = service.get("/admin/experiments")["versions"]
    return versions[0]["counts"] if versions else None


def put_new_items(service: RunningService) -> None:
    items = [{"item_id": item_id, "categories": [item_id.removeprefix("new-")]} for item_id in KNOWN_LATER]
    service.post("/items/batch", {"items": items, "mode": "put"})


def send_events(service: RunningService, group: str, item_id: str | None = None) -> None:
    """Let users of a group view items; some of them are new."""
    for user in range(8):
        trip = TRIPS[user]
        for item in (f"{trip}-2", item_id or f"new-{trip}", f"{trip}-3", f"new-{TRIPS[user - 1]}"):
            service.post("/events?k=5", {"user_id": f"{group}{user}", "item_id": item})


def everybody_is_right(service: RunningService, groups: str) -> set[str]:
    """Fail unless every user's snapshot is right; return the models."""
    return {assert_right(service, f"{group}{user}") for group in groups for user in range(8)}


def assert_right(service: RunningService, user: str) -> str:
    """Fail unless the user's snapshot is; return its model."""
    service.get(f"/users/{user}/recommendations", k=5)
    found: dict[str, Any] = {}

    def is_found() -> bool:
        found.update(service.get(f"/users/{user}/audit"))
        return bool(found["snapshot"] == "found")

    wait_for(f"the snapshot of {user}", is_found, 30)
    assert found["exact"] and found["max_relative_error"] <= MAX_ERROR, found
    return str(found["model_version"])


def top(service: RunningService, user: str) -> list[tuple[str, float]]:
    items = service.get(f"/users/{user}/recommendations", k=8, exclude_seen=False)["items"]
    return [(item["item_id"], round(item["score"], 3)) for item in items]
