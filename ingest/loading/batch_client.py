"""HTTP requests of the loaders, with retries."""

from __future__ import annotations

import time
from typing import Any

import httpx

from ingest.errors import DataError

_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 30.0
_TIMEOUT_SECONDS = 60.0
_MAY_SUCCEED_LATER = ("store_unavailable", "overloaded", "deadline_exceeded", "internal_error")


class BatchClient:
    """Sends requests that may be repeated.

    Args:
        client: speaks to the service; its base URL and key are set.
        give_up_seconds: how long an answer 429 or 503, or no answer, is retried.
    """

    def __init__(self, client: httpx.Client, give_up_seconds: float) -> None:
        self._client = client
        self._give_up_seconds = give_up_seconds

    @property
    def url(self) -> str:
        """Address of the service."""
        return str(self._client.base_url)

    def request(
        self, method: str, path: str, *, body: object = None, query: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send a request and return the body of the answer.

        A batch is repeated as a whole while any of its entries may succeed later.

        Raises:
            DataError: the service does not answer, or refuses the request as such.
        """
        give_up_at = time.monotonic() + self._give_up_seconds
        pause = _RETRY_SECONDS
        while True:
            problem, wait = "", pause
            try:
                response = self._client.request(method, path, json=body, params=query, timeout=_TIMEOUT_SECONDS)
            except httpx.TransportError as error:
                problem = f"{self.url} does not answer ({error})"
            else:
                if response.status_code == httpx.codes.OK:
                    answer: dict[str, Any] = response.json()
                    if not any(map(_may_succeed_later, answer.get("results", ()))):
                        return answer
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
    return result.get("error", {}).get("code") in _MAY_SUCCEED_LATER


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(float(response.headers.get("retry-after", 0)), _MAX_RETRY_SECONDS)
    except ValueError:
        return 0.0
