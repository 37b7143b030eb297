"""Every route without a key, with a wrong one, with each scope."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.api_keys import KeyScope
from tests.api.app_harness import AppHarness
from tests.faults.modes import report

pytestmark = pytest.mark.faults

KEYS = {scope.value: f"key of the scope {scope.value}" for scope in KeyScope}
DECLARED = {
    "POST /v1/events": "write",
    "POST /v1/events/batch": "write",
    "GET /v1/users/{user_id}/recommendations": "read",
    "POST /v1/recommendations": "read",
    "POST /v1/users/{user_id}/rank": "read",
    "GET /v1/items/{item_id}/similar": "read",
    "GET /v1/users/{user_id}": "read",
    "GET /v1/users/{user_id}/events": "read",
    "GET /v1/users/{user_id}/audit": "read",
    "POST /v1/users/{user_id}/merge": "write",
    "DELETE /v1/users/{user_id}": "write",
    "DELETE /v1/users/{user_id}/events/{event_id}": "write",
    "GET /v1/model": "read",
    "GET /metrics": "read",
    "GET /healthz": "none",
    "GET /readyz": "none",
}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[AppHarness]:
    entries = tuple(f"{scope}:sha256:{hashlib.sha256(key.encode()).hexdigest()}" for scope, key in KEYS.items())
    harness = AppHarness(tmp_path, keys=entries).start()
    yield harness
    harness.close()


def test_every_route_accepts_its_scope_alone(harness: AppHarness) -> None:
    statuses: Counter[int] = Counter()
    seen = {}
    for path, operations in harness.app.openapi()["paths"].items():
        for method, operation in operations.items():
            scope = seen[f"{method.upper()} {path}"] = operation["x-scope"]
            concrete = re.sub(r"\{\w+\}", "x", path)
            for key in (None, "a wrong key", *KEYS.values()):
                headers = {} if key is None else {"authorization": f"Bearer {key}"}
                answer = harness.call(method.upper(), concrete, headers=headers, json={})
                statuses[answer.status_code] += 1
                allowed = scope == "none" or key == KEYS.get(scope)
                refused = 401 if key not in KEYS.values() else 403
                # An allowed call may still be a 422: an empty body is not valid everywhere.
                assert (answer.status_code == refused) == (not allowed), (method, path, key, answer.text)
                assert not allowed or answer.status_code not in (401, 403)
    report(
        "authentication matrix", routes=len(seen), requests=statuses.total(), statuses=dict(sorted(statuses.items()))
    )
    assert DECLARED.items() <= seen.items()
    for route, scope in seen.items():
        assert (scope == "admin") == ("/v1/admin/" in route), route


def test_without_keys_all_routes_but_admin_are_open(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path).start()
    for path, operations in harness.app.openapi()["paths"].items():
        for method, operation in operations.items():
            answer = harness.call(method.upper(), re.sub(r"\{\w+\}", "x", path), json={})
            assert (answer.status_code == 403) == (operation["x-scope"] == "admin"), (method, path)
            assert answer.status_code != 401
    harness.close()
