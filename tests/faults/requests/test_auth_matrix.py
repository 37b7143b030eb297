"""Every route with each set of scopes, on the fast path too."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from service.api.middleware.request_path import query_path
from service.api_keys import KeyScope, digest_of
from tests.api.app_harness import AppHarness
from tests.faults.harness.modes import report

pytestmark = pytest.mark.faults

NO_SCOPE: frozenset[str] = frozenset()
HELD = [frozenset(held) for size in (1, 2) for held in combinations(map(str, KeyScope), size)]
KEYS = {held: f"key of the scopes {'+'.join(sorted(held))}" for held in HELD}
EVENT = {"user_id": "x", "item_id": "10"}
# What each request needs, written by hand: (scopes, method, path, body). An ordinary event and an ordinary read take
# the fast path, and around it with a media type or a parameter that it does not know.
NEEDED: list[tuple[str, str, str, Any]] = [
    ("append", "POST", "/v1/events", EVENT),
    ("append+read", "POST", "/v1/events?k=3", EVENT),
    ("append+read", "POST", "/v1/events?exclude_seen=false&k=3", EVENT),
    ("append+read", "POST", "/v1/events?%6b=3", EVENT),
    ("append+read", "POST", "/v1/events?k=", EVENT),
    ("append+read", "POST", "/v1/events?k=3&k=4", EVENT),
    ("append+read", "POST", "/v1/events?" + "x=1&" * 200 + "k=4", EVENT),
    ("append", "POST", "/v1/events?exclude_seen=false", EVENT),
    ("append", "POST", "/v1/events/batch", {"events": [EVENT]}),
    ("read", "GET", "/v1/users/{user_id}/recommendations", None),
    ("read", "GET", "/v1/users/{user_id}/recommendations?k=3", None),
    ("read", "GET", "/v1/users/{user_id}/recommendations?x=3", None),
    ("read", "HEAD", "/v1/users/{user_id}/recommendations", None),
    ("read", "POST", "/v1/users/{user_id}/recommendations", {}),
    ("read", "POST", "/v1/recommendations", {"history": []}),
    ("read", "POST", "/v1/users/{user_id}/rank", {"candidates": ["10"]}),
    ("read", "GET", "/v1/items/{item_id}/similar", None),
    ("read", "GET", "/v1/users/{user_id}", None),
    ("read", "GET", "/v1/users/{user_id}/events", None),
    ("read", "GET", "/v1/users/{user_id}/audit", None),
    ("read", "POST", "/v1/users/{user_id}/audit", {"answer": {"model_version": "v", "sequence": 0, "items": []}}),
    ("append+erase", "POST", "/v1/users/{user_id}/merge", {"from_user_id": "y"}),
    ("erase", "DELETE", "/v1/users/{user_id}", None),
    ("erase", "DELETE", "/v1/users/{user_id}/events/{event_id}", None),
    ("catalogue", "PUT", "/v1/items/{item_id}", {}),
    ("catalogue", "PATCH", "/v1/items/{item_id}", {}),
    ("read", "GET", "/v1/items/{item_id}", None),
    ("read", "GET", "/v1/items", None),
    ("read", "GET", "/v1/items?limit=3", None),
    ("catalogue", "POST", "/v1/items/batch", {"items": [{"item_id": "x"}]}),
    ("catalogue", "PUT", "/v1/attributes/{name}", {"type": "number"}),
    ("read", "GET", "/v1/attributes/{name}", None),
    ("read", "GET", "/v1/attributes", None),
    ("catalogue", "DELETE", "/v1/attributes/{name}", None),
    ("catalogue", "PUT", "/v1/filters/{name}", {"expression": "available"}),
    ("read", "GET", "/v1/filters/{name}", None),
    ("read", "GET", "/v1/filters", None),
    ("catalogue", "DELETE", "/v1/filters/{name}", None),
    ("catalogue", "DELETE", "/v1/items/{item_id}", None),
    ("read", "GET", "/v1/model", None),
    ("admin", "POST", "/v1/admin/reload", {}),
    ("admin", "POST", "/v1/admin/test", {}),
    ("admin", "POST", "/v1/admin/test/end", {}),
    ("admin", "GET", "/v1/admin/backfills", None),
    ("admin", "GET", "/v1/admin/experiments", None),
    ("admin", "GET", "/v1/admin/unknown", None),
    ("metrics", "GET", "/metrics", None),
    ("", "GET", "/healthz", None),
    ("", "GET", "/readyz", None),
]
# The same with the ids in the query.
NEEDED += [
    (scopes, method, f"{query_path(path)}?{'&'.join(f'{name}=x' for name in names)}", body)
    for scopes, method, path, body in NEEDED
    if "?" not in path and (names := re.findall(r"\{(\w+)\}", path))
]


@pytest.fixture(params=[True, False], ids=["fast path", "routes only"])
def harness(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AppHarness]:
    entries = tuple(f"{'+'.join(sorted(held))}:sha256:{digest_of(key.encode()).hex()}" for held, key in KEYS.items())
    harness = AppHarness(tmp_path, keys=entries, fast_path=request.param).start()
    yield harness
    harness.close()


def test_every_request_accepts_exactly_the_keys_with_its_scopes(harness: AppHarness) -> None:
    statuses: Counter[int] = Counter()
    for scopes, method, path, body in NEEDED:
        needed = frozenset(scopes.split("+")) - {""}
        for held, key in [(NO_SCOPE, None), (NO_SCOPE, "a wrong key"), *KEYS.items()]:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            answer = harness.call(method, re.sub(r"\{\w+\}", "x", path), headers=headers, json=body)
            statuses[answer.status_code] += 1
            refused = (401, 403) if needed <= held else (403 if held else 401,)
            # An allowed call may still be a 404 or 422, never a refusal of the key.
            assert (answer.status_code in refused) == (not needed <= held), (method, path, held, answer.text)
            if answer.status_code == 403 and method != "HEAD":
                assert all(scope in answer.json()["error"]["message"] for scope in needed - held)
    report("authentication matrix", requests=statuses.total(), statuses=dict(sorted(statuses.items())))


def test_matrix_has_every_operation_with_its_declared_scopes(harness: AppHarness) -> None:
    expected = {(method.lower(), path): scopes for scopes, method, path, _ in NEEDED if "?" not in path}
    expected |= {(method, query_path(path)): scopes for (method, path), scopes in expected.items()}
    operations = [
        (method, path, operation)
        for path, methods in harness.app.openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    for method, path, operation in operations:
        assert operation["x-scope"] == (expected[method, path] or "none"), (method, path)
    assert all((method, path) in expected for method, path, _ in operations)


def test_without_keys_all_routes_but_admin_are_open(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path).start()
    for scopes, method, path, body in NEEDED:
        answer = harness.call(method, re.sub(r"\{\w+\}", "x", path), json=body)
        assert (answer.status_code == 403) == (scopes == "admin"), (method, path)
        assert answer.status_code != 401
    harness.close()
