"""A stop under load keeps every acknowledged event exactly once."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import KEY, RunningService
from tests.model.builders import bundle_of

pytestmark = pytest.mark.alone

WRITERS, USERS, ITEMS = 16, 4, 40
ACKNOWLEDGED_BEFORE_STOP = 10  # acknowledgements of each writer
WAIT_SECONDS = 120.0


@dataclass
class Written:
    """Events of one writer, and the sequences of the acknowledged ones."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    refused: list[str] = field(default_factory=list)
    ended: Exception | None = None


def write(url: str, writer: int, started: threading.Event) -> Written:
    """Post events one after the other until the server stops answering."""
    written = Written()
    with httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=WAIT_SECONDS) as client:
        try:
            while not written.refused:
                event_id = f"{writer}-{written.sent}"
                item_id = f"i{1 + (7 * writer + written.sent) % ITEMS}"
                written.sent += 1
                event = {"user_id": f"user {writer % USERS}", "item_id": item_id, "event_id": event_id}
                answer = client.post("/v1/events", params={"k": 3, "exclude_seen": "false"}, json=event)
                if answer.status_code != 200:
                    written.refused.append(f"{answer.status_code} {answer.text}")
                    break
                body = answer.json()
                if len(body["recommendations"]["items"]) != 3:
                    written.refused.append(answer.text)
                written.acknowledged[event_id] = body["sequence"]
                if len(written.acknowledged) == ACKNOWLEDGED_BEFORE_STOP:
                    started.set()
        except httpx.TransportError as error:
            written.ended = error
        finally:
            started.set()
    return written


def log_of(service: RunningService, user_id: str) -> list[tuple[str, int]]:
    """Return (event_id, sequence) of every event in the user's log."""
    found: list[tuple[str, int]] = []
    page = service.get(f"/users/{user_id}/events", limit=100)
    while True:
        found = [(event["event_id"], event["sequence"]) for event in page["events"]] + found
        if page["next_before"] is None:
            return found
        page = service.get(f"/users/{user_id}/events", limit=100, before=page["next_before"])


def test_stop_loses_no_acknowledged_event_and_duplicates_none(tmp_path: Path, state_url: str) -> None:
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=8)))
    started = [threading.Event() for _ in range(WRITERS)]
    with (
        ThreadPoolExecutor(WRITERS) as threads,
        RunningService(tmp_path, state_url, tmp_path / "bundle") as service,
    ):
        futures = [threads.submit(write, service.url, writer, started[writer]) for writer in range(WRITERS)]
        assert all(event.wait(WAIT_SECONDS) for event in started)
        assert service.stop() == 0
        writers = [future.result(WAIT_SECONDS) for future in futures]

    for written in writers:
        assert written.refused == []
        # Connection refused, or closed before the response. A timeout would mean that a request was left hanging.
        assert isinstance(written.ended, httpx.NetworkError | httpx.RemoteProtocolError), written.ended
        assert len(written.acknowledged) >= ACKNOWLEDGED_BEFORE_STOP

    with RunningService(tmp_path, state_url, tmp_path / "bundle") as service:
        for user in range(USERS):
            log = log_of(service, f"user {user}")
            assert [sequence for _, sequence in log] == list(range(1, len(log) + 1))
            assert max(Counter(event_id for event_id, _ in log).values()) == 1
            kept, acknowledged = dict(log), {}
            for writer in range(user, WRITERS, USERS):
                acknowledged |= writers[writer].acknowledged
                assert f"{writer}-{writers[writer].sent}" not in kept  # the writer never sent it
            assert {event_id: kept.get(event_id) for event_id in acknowledged} == acknowledged
            audit = service.get(f"/users/user {user}/audit")
            assert (audit["sequence"], audit["kept_events"]) == (len(log), len(log))
        repeat = service.post("/events", {"user_id": "user 0", "item_id": "i1", "event_id": "0-0"})
        assert (repeat["duplicate"], repeat["sequence"]) == (True, writers[0].acknowledged["0-0"])
