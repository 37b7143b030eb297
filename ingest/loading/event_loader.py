"""Send a history of events to the service, in order of time.

Every event gets an id that follows from its content, so an event that is sent twice counts once. A small file beside
the history keeps the progress, so that an interrupted load can resume.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ingest.errors import DataError
from ingest.loading.sorted_events import SortedEvents, StoredEvent

BATCH_EVENTS = 1000  # the most that the service takes at once
_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 30.0
_TIMEOUT_SECONDS = 60.0


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
        self._client = client
        self._progress_file = progress_file
        self._give_up_seconds = give_up_seconds
        self._report = report

    def load(self, events: SortedEvents, source: str) -> LoadResult:
        """Send all events that earlier runs have not sent.

        Args:
            events: all events of the history, in order of time.
            source: identity of the history; a progress file of another one is refused.

        Raises:
            DataError: the service does not answer, or refuses the request as such.
        """
        identity = {"source": source, "url": str(self._client.base_url), "events": len(events)}
        result = LoadResult(resumed=self._resume(identity))
        for batch in _batches(events.read(result.resumed)):
            self._send(batch, result)
            done = result.resumed + result.sent + result.refused
            self._save(identity | {"done": done})
            self._report(done)
        return result

    def _resume(self, identity: dict[str, Any]) -> int:
        if not self._progress_file.exists():
            return 0
        try:
            found = json.loads(self._progress_file.read_text("utf-8"))
            done = int(found.pop("done"))
        except (ValueError, KeyError, AttributeError):
            raise DataError(f"{self._progress_file} is damaged; remove it to begin anew") from None
        if found != identity:
            raise DataError(
                f"{self._progress_file} is of another load ({found.get('source')} to {found.get('url')}); remove it, "
                "or name another file with --progress"
            )
        return done

    def _save(self, content: dict[str, Any]) -> None:
        part = self._progress_file.with_name(self._progress_file.name + ".part")
        part.write_text(json.dumps(content), "utf-8")
        part.replace(self._progress_file)

    def _send(self, batch: Sequence[StoredEvent], result: LoadResult) -> None:
        body = {"events": [_event_body(event) for event in batch]}
        answers = self._post(body)
        for answer in answers:
            if "error" in answer:
                result.refused += 1
                result.first_refusal = result.first_refusal or str(answer["error"].get("message"))
            else:
                result.sent += 1
                result.duplicates += bool(answer["duplicate"])

    def _post(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Post a batch; retry while the service is overloaded or unreachable."""
        give_up_at = time.monotonic() + self._give_up_seconds
        pause = _RETRY_SECONDS
        while True:
            problem, wait = "", pause
            try:
                response = self._client.post("/v1/events/batch", json=body, timeout=_TIMEOUT_SECONDS)
            except httpx.TransportError as error:
                problem = f"{self._client.base_url} does not answer ({error})"
            else:
                if response.status_code == httpx.codes.OK:
                    results: list[dict[str, Any]] = response.json()["results"]
                    if not any(_may_succeed_later(found) for found in results):
                        return results
                    problem = "the service's event log is unavailable"
                elif response.status_code in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
                    problem = f"the service answers {response.status_code}"
                    wait = max(wait, _retry_after(response))
                else:
                    raise DataError(f"the service refuses the load: {response.status_code} {response.text[:300]}")
            if time.monotonic() + wait > give_up_at:
                raise DataError(f"{problem}; run the same command again to go on")
            time.sleep(wait)
            pause = min(2 * pause, _MAX_RETRY_SECONDS)


def _may_succeed_later(result: dict[str, Any]) -> bool:
    """Return whether a retry may succeed."""
    code = result.get("error", {}).get("code")
    return code in ("store_unavailable", "overloaded", "deadline_exceeded", "internal_error")


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(float(response.headers.get("retry-after", 0)), _MAX_RETRY_SECONDS)
    except ValueError:
        return 0.0


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
    digest = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
    body: dict[str, Any] = {"user_id": event.user_id, "item_id": event.item_id, "event_id": f"load-{digest}"}
    if event.nanoseconds is not None:
        body["timestamp"] = event.nanoseconds / 1e9
    return body
