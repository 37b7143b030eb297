"""Send a history of events to the service, in order of time.

Every event gets an id that follows from its content, so an event that is sent twice counts once. A small file beside
the history keeps the progress, so that an interrupted load can resume.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ingest.loading.batch_client import BatchClient
from ingest.loading.progress_file import ProgressFile
from ingest.loading.sorted_events import SortedEvents, StoredEvent

BATCH_EVENTS = 1000  # the most that the service takes at once


@dataclass(slots=True)
class LoadResult:
    """Counts of a load.

    Attributes:
        sent: events that the service has acknowledged in this run, `duplicates` of which it had before.
        resumed: events that earlier runs had sent.
        refused: events that the service has refused, with `first_refusal`.
    """

    sent: int = 0
    duplicates: int = 0
    resumed: int = 0
    refused: int = 0
    first_refusal: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, ready for JSON."""
        return {"sent": self.sent, "duplicates": self.duplicates, "resumed": self.resumed, "refused": self.refused}


class EventLoader:
    """Loads events over HTTP.

    Args:
        client: speaks to the service; its base URL and key are set.
        progress_file: remembers how many events were acknowledged.
        give_up_seconds: how long an answer 429 or 503, or no answer, is retried.
        report: called with the number of events done after each batch.
    """

    def __init__(
        self,
        client: httpx.Client,
        progress_file: Path,
        give_up_seconds: float,
        report: Callable[[int], None],
    ) -> None:
        self._client = BatchClient(client, give_up_seconds)
        self._progress_file = progress_file
        self._report = report

    def load(self, events: SortedEvents, source: str) -> LoadResult:
        """Send all events that earlier runs have not sent.

        Args:
            events: all events of the history, in order of time.
            source: identity of the history; a progress file of another one is refused.

        Raises:
            DataError: the service does not answer, or refuses the request as such.
        """
        identity = {"source": source, "url": self._client.url, "events": len(events)}
        progress = ProgressFile(self._progress_file, identity)
        result = LoadResult(resumed=progress.read())
        for batch in _batches(events.read(result.resumed)):
            self._send(batch, result)
            done = result.resumed + result.sent + result.refused
            progress.write(done)
            self._report(done)
        return result

    def _send(self, batch: Sequence[StoredEvent], result: LoadResult) -> None:
        body = {"events": [_event_body(event) for event in batch]}
        for answer in self._client.request("POST", "/v1/events/batch", body=body)["results"]:
            if "error" in answer:
                result.refused += 1
                result.first_refusal = result.first_refusal or str(answer["error"].get("message"))
            else:
                result.sent += 1
                result.duplicates += bool(answer["duplicate"])


def _batches(events: Iterator[StoredEvent]) -> Iterator[list[StoredEvent]]:
    batch: list[StoredEvent] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH_EVENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def _event_body(event: StoredEvent) -> dict[str, Any]:
    content = f"{event.user_id}\0{event.item_id}\0{event.nanoseconds}\0{event.occurrence}"
    if event.type or event.value is not None:  # the id of a plain event is that of releases without types
        content += f"\0{event.type or ''}\0{event.value!r}"
    digest = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
    body: dict[str, Any] = {"user_id": event.user_id, "item_id": event.item_id, "event_id": f"load-{digest}"}
    if event.nanoseconds is not None:
        body["timestamp"] = event.nanoseconds / 1e9
    if event.type:
        body["type"] = event.type
    if event.value is not None:
        body["value"] = event.value
    return body
