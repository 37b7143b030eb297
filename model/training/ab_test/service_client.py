"""Client of a running service: A/B tests and the live accuracy."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple

import httpx

from ingest.errors import DataError
from model.sequential_test import HitCount

KEY_VARIABLE = "RECBLR_API_KEY"  # as for recblr-events; needs the scopes read, metrics and admin
_TIMEOUT_SECONDS = 180.0  # a rollout waits until all workers have loaded the version
_SAMPLE = re.compile(r"^recblr_accuracy_(events|hits)_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Serving(NamedTuple):
    """The live version, and the one of an A/B test."""

    live: str
    tested: str | None


class ServiceClient:
    """Context manager of a client. Its methods raise `DataError`."""

    def __init__(self, url: str, counters: Mapping[str, Any] | None = None) -> None:
        """Continue with the counters of an earlier client, if they are given."""
        key = os.environ.get(KEY_VARIABLE)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS)
        counters = counters or {}
        self._last: dict[tuple[str, ...], float] = {tuple(name): value for name, value in counters.get("last", ())}
        self._totals: dict[tuple[str, str], float] = {
            (version, name): value for (version, name), value in counters.get("totals", ())
        }

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def serving(self) -> Serving:
        """Return which versions answer."""
        model = self._request("GET", "/v1/model").json()
        return Serving(str(model["version"]), None if model["test"] is None else str(model["test"]["version"]))

    def counters(self) -> dict[str, Any]:
        """Return what another client needs to go on counting, ready for JSON."""
        return {
            "last": [[list(name), value] for name, value in self._last.items()],
            "totals": [[list(name), value] for name, value in self._totals.items()],
        }

    def begin_test(self, version: str, share: float) -> None:
        """Start an A/B test."""
        self._request("POST", "/v1/admin/test", {"version": version, "share": share})

    def end_test(self, winner: str) -> None:
        """Let one version answer all users."""
        self._request("POST", "/v1/admin/test/end", {"winner": winner})

    def hit_counts(self) -> Mapping[str, HitCount]:
        """Return the evaluated events of each version since the first call.

        The service's counters begin at 0 again when it restarts. That is noticed if they are then lower.
        """
        first = not self._last
        for name, text, value in _SAMPLE.findall(self._request("GET", "/metrics").text):
            labels = dict(_LABEL.findall(text))
            if labels.get("seen", "kept") != "kept":
                continue
            sample = (name, labels["version"], labels["history"])
            before = self._last.get(sample, 0.0)
            self._last[sample] = float(value)
            grown = float(value) - before if float(value) >= before else float(value)
            total = (labels["version"], name)
            self._totals[total] = self._totals.get(total, 0.0) + (0.0 if first else grown)
        self._last.setdefault(("first call",), 0.0)
        versions = {version for version, _ in self._totals}
        return {
            version: HitCount(self._totals.get((version, "events"), 0.0), self._totals.get((version, "hits"), 0.0))
            for version in versions
        }

    def _request(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise DataError(f"the service at {self._client.base_url} does not answer: {error}") from None
        if not response.is_success:
            raise DataError(f"the service refuses {method} {path} ({response.status_code}): {response.text[:300]}")
        return response
