"""Loading a history: once, in order of time, resumable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest.errors import DataError
from ingest.loading.event_loader import EventLoader, LoadResult
from ingest.loading.sorted_events import SortedEvents
from ingest.read_options import ReadOptions
from ingest.reading.event_cleaner import ReadSummary

ROWS = [(f"u{n % 3}", f"i{n}", 1000 + (n * 7) % 50) for n in range(2500)]


class Service:
    """Answers batches as the service does, and fails on demand."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.failures: Iterator[httpx.Response | Exception] = iter(())
        self.requests = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if (failure := next(self.failures, None)) is not None:
            if isinstance(failure, Exception):
                raise failure
            return failure
        results = []
        for event in json.loads(request.content)["events"]:
            if event["item_id"] == "refused":
                results.append({"error": {"code": "event_conflict", "message": "another payload"}})
                continue
            results.append({"duplicate": event["event_id"] in self.events})
            self.events.setdefault(event["event_id"], event)
        return httpx.Response(200, json={"results": results})


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "history.csv"
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in ROWS))
    return path


def load(
    path: Path,
    service: Service,
    give_up_seconds: float = 0.0,
    source: str = "history",
    options: ReadOptions | None = None,
) -> LoadResult:
    client = httpx.Client(base_url="http://service", transport=httpx.MockTransport(service))
    with SortedEvents(path, options or ReadOptions(), ReadSummary(str(path))) as events:
        loader = EventLoader(client, path.with_name("progress"), give_up_seconds, lambda done: None)
        return loader.load(events, source)


def test_types_and_values_of_named_columns_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    rows = ["u,i,view,1,", "u,j,addtocart,2,", "u,k,buy,3,49.90", "u,k,,3,", "u,l,5,4,0"]
    path.write_text("user_id,item_id,event,timestamp,price\n" + "\n".join(rows))
    plain, typed = Service(), Service()
    load(path, plain)
    path.with_name("progress").unlink()
    names = (("addtocart", "cart"), ("buy", "purchase"), ("5", "like"))
    options = ReadOptions(type_column="event", value_column="price", type_names=names)
    assert load(path, typed, options=options).sent == 5
    extras = [(event["item_id"], event.get("type"), event.get("value")) for event in typed.events.values()]
    found = [("k", "purchase", 49.9), ("k", None, None)]
    assert extras == [("i", None, None), ("j", "cart", None), *found, ("l", "like", 0)]
    shared = set(plain.events) & set(typed.events)  # a view counts once, loaded with the column or without
    assert {typed.events[event_id]["item_id"] for event_id in shared} == {"i", "k"}


def test_row_without_a_valid_type_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id,event,timestamp\nu,i,view,1\nu,j,Add To Cart,2\n")
    with pytest.raises(DataError, match=r"events\.csv:3: event 'Add To Cart' is no type; .*--map-types"):
        load(path, Service(), options=ReadOptions(type_column="event"))
    with pytest.raises(DataError, match="has no column 'evnt'; did you mean 'event'"):
        load(path, Service(), options=ReadOptions(type_column="evnt"))
    with pytest.raises(DataError, match="cannot be used twice"):
        load(path, Service(), options=ReadOptions(type_column="event", value_column="event"))


def test_events_arrive_once_in_order_of_time_and_of_the_file(history: Path) -> None:
    service = Service()
    result = load(history, service)
    expected = sorted(ROWS, key=lambda row: row[2])
    assert [(e["user_id"], e["item_id"], e["timestamp"]) for e in service.events.values()] == expected
    assert (result.sent, result.duplicates, result.refused) == (2500, 0, 0)


def test_interrupted_load_resumes_after_acknowledged_events(history: Path) -> None:
    service = Service()
    service.failures = iter([None, httpx.ConnectError("gone")])  # type: ignore[list-item]
    with pytest.raises(DataError, match="run the same command again"):
        load(history, service)
    assert len(service.events) == 1000
    service.requests = 0
    result = load(history, service)
    assert (result.resumed, result.sent, result.duplicates) == (1000, 1500, 0)
    assert (len(service.events), service.requests) == (2500, 2)


def test_repeated_load_sends_nothing(history: Path) -> None:
    service = Service()
    load(history, service)
    service.requests = 0
    assert load(history, service).resumed == 2500
    assert service.requests == 0


def test_load_without_its_progress_file_counts_nothing_twice(history: Path) -> None:
    service = Service()
    load(history, service)
    history.with_name("progress").unlink()
    result = load(history, service)
    assert (result.sent, result.duplicates, len(service.events)) == (2500, 2500, 2500)


def test_equal_rows_are_events_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("user_id,item_id,timestamp\n" + "u,i,1\n" * 3)
    service = Service()
    load(tmp_path / "h.csv", service)
    assert len(service.events) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_overload_is_retried_after_the_stated_time(
    status: int, history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("ingest.loading.batch_client.time.sleep", waits.append)
    service = Service()
    service.failures = iter([httpx.Response(status, headers={"retry-after": "7"})])
    assert load(history, service, give_up_seconds=60).sent == 2500
    assert waits == [7.0]


def test_refused_events_are_counted_and_the_others_sent(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("user_id,item_id\nu,a\nu,refused\nu,b\n")
    result = load(tmp_path / "h.csv", Service())
    assert (result.sent, result.refused, result.first_refusal) == (2, 1, "another payload")


def test_refused_request_ends_the_load(history: Path) -> None:
    service = Service()
    service.failures = iter([httpx.Response(401, json={"error": {"code": "unauthorized"}})])
    with pytest.raises(DataError, match="401"):
        load(history, service)


def test_progress_of_another_load_is_refused(history: Path) -> None:
    load(history, Service())
    with pytest.raises(DataError, match="another load"):
        load(history, Service(), source="another")


def test_damaged_progress_is_refused(history: Path) -> None:
    history.with_name("progress").write_text("{")
    with pytest.raises(DataError, match="remove it to begin anew"):
        load(history, Service())
