"""User tokens: which are accepted, and for which requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from service.api.user_tokens import CLOCK_TOLERANCE_SECONDS, MAX_SECONDS, UserTokens
from service.core.errors import Unauthorized
from tests.api.app_harness import AppHarness
from tests.docs.pages import ROOT

CURRENT, PREVIOUS = "current-key-" * 4, "previous-key-" * 4
NOW = 1_800_000_000.0
HEADER = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"aud": "recblr", "sub": "ann", "exp": NOW + 600}


def part(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def sign(claims: Any, key: str = CURRENT, header: Any = HEADER, digest: Callable[..., Any] = hashlib.sha256) -> str:
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{part(hmac.new(key.encode(), signed.encode(), digest).digest())}"


def tokens() -> UserTokens:
    return UserTokens([CURRENT.encode(), PREVIOUS.encode()], lambda: NOW)


@pytest.mark.parametrize("key", [CURRENT, PREVIOUS])
@pytest.mark.parametrize("user", ["ann", "ü/x", "日" * 256, "\U0001f600" * 256, "."])
def test_token_of_either_key_names_its_user(key: str, user: str) -> None:
    assert tokens().user_of(sign({**CLAIMS, "sub": user}, key).encode()) == user


@pytest.mark.parametrize("seconds", [0.001, 1, MAX_SECONDS, MAX_SECONDS + CLOCK_TOLERANCE_SECONDS])
def test_token_is_valid_for_up_to_an_hour(seconds: float) -> None:
    assert tokens().user_of(sign({**CLAIMS, "exp": NOW + seconds}).encode()) == "ann"


GOOD = sign(CLAIMS)
FORGED = {
    "expired": sign({**CLAIMS, "exp": NOW}),
    "far future": sign({**CLAIMS, "exp": NOW + MAX_SECONDS + CLOCK_TOLERANCE_SECONDS + 1}),
    "milliseconds": sign({**CLAIMS, "exp": NOW * 1000}),
    "infinite": sign(b'{"aud": "recblr", "sub": "ann", "exp": Infinity}'),
    "not a number": sign(b'{"aud": "recblr", "sub": "ann", "exp": NaN}'),
    "huge": sign(b'{"aud": "recblr", "sub": "ann", "exp": 1' + b"0" * 400 + b"}"),
    "no expiry": sign({"aud": "recblr", "sub": "ann"}),
    "expiry of text": sign({**CLAIMS, "exp": str(NOW + 600)}),
    "expiry true": sign({**CLAIMS, "exp": True}),
    "no user": sign({"aud": "recblr", "exp": NOW + 600}),
    "empty user": sign({**CLAIMS, "sub": ""}),
    "long user": sign({**CLAIMS, "sub": "x" * 257}),
    "number as user": sign({**CLAIMS, "sub": 7}),
    "control character": sign({**CLAIMS, "sub": "a\n"}),
    "no audience": sign({"sub": "ann", "exp": NOW + 600}),
    "other audience": sign({**CLAIMS, "aud": "shop"}),
    "not yet valid": sign({**CLAIMS, "nbf": NOW + 60}),
    "other key": sign(CLAIMS, "another-key-" * 4),
    "no algorithm": sign(CLAIMS, header={"alg": "none"}),
    "other algorithm": sign(CLAIMS, header={"alg": "HS512"}, digest=hashlib.sha512),
    "unsigned": GOOD.rpartition(".")[0] + ".",
    "truncated": GOOD[:-1],
    "truncated claims": GOOD.replace(GOOD.split(".")[1], GOOD.split(".")[1][:-2]),
    "other claims": GOOD.replace(GOOD.split(".")[1], part({**CLAIMS, "sub": "bob"})),
    "padded": GOOD + "=",
    "four parts": GOOD + ".x",
    "two parts": GOOD.rpartition(".")[0],
    "list": sign([1]),
    "not JSON": sign(b"x"),
    "deep": sign(b"[" * 5000),
    "long": sign({**CLAIMS, "more": "x" * 9000}),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_expired_and_damaged_tokens_are_refused(name: str) -> None:
    assert tokens().user_of(GOOD.encode()) == "ann"
    with pytest.raises(Unauthorized):
        tokens().user_of(FORGED[name].encode())


def test_every_truncation_and_changed_character_is_refused() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(Unauthorized):
            tokens().user_of(GOOD[:end].encode())
    for at, character in enumerate(GOOD):
        changed = GOOD[:at] + ("A" if character != "A" else "B") + GOOD[at + 1 :]
        with pytest.raises(Unauthorized):
            tokens().user_of(changed.encode())


@pytest.fixture(params=[True, False], ids=["fast path", "routes only"])
def harness(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, token_keys=(CURRENT, PREVIOUS), fast_path=request.param).start()
    yield harness
    harness.close()


def bearer(user: str, seconds: float = 600.0, key: str = CURRENT) -> dict[str, str]:
    return {"authorization": f"Bearer {sign({**CLAIMS, 'sub': user, 'exp': time.time() + seconds}, key)}"}


EVENT = {"user_id": "{user}", "item_id": "10"}
ALLOWED: list[tuple[str, str, Any]] = [
    ("POST", "/v1/events", EVENT),
    ("POST", "/v1/events?k=3", EVENT),
    ("GET", "/v1/users/{user}/recommendations", None),
    ("GET", "/v1/users/{user}/recommendations?k=3&exclude_seen=false", None),
    ("POST", "/v1/users/{user}/recommendations", {"k": 3}),
    ("POST", "/v1/users/{user}/rank", {"candidates": ["10"]}),
    ("GET", "/v1/users/{user}", None),
    ("GET", "/v1/users/{user}/events", None),
    ("GET", "/v1/users/{user}/audit", None),
    ("POST", "/v1/users/{user}/audit", {"answer": {"model_version": "v1", "sequence": 0, "items": []}}),
]
NEVER: list[tuple[str, str, Any]] = [
    ("POST", "/v1/events/batch", {"events": [EVENT]}),
    ("POST", "/v1/users/{user}/merge", {"from_user_id": "bob"}),
    ("DELETE", "/v1/users/{user}", None),
    ("DELETE", "/v1/users/{user}/events/e", None),
    ("POST", "/v1/recommendations", {"history": []}),
    ("GET", "/v1/items/10/similar", None),
    ("GET", "/v1/model", None),
    ("GET", "/metrics", None),
    ("POST", "/v1/admin/reload", {}),
    ("GET", "/v1/admin/backfills", None),
    ("GET", "/v1/admin/experiments", None),
    ("GET", "/v1/users/{user}/unknown", None),
]
# The same with the user in the query.
for requests in (ALLOWED, NEVER):
    requests += [
        (method, re.sub(r"/users/\{user\}([^?]*)\??", r"/user\1?user_id={user}&", path), body)
        for method, path, body in requests
        if path.startswith("/v1/users/{user}") and "/events/e" not in path
    ]


def send(harness: AppHarness, request: tuple[str, str, Any], user: str, headers: dict[str, str]) -> int:
    method, path, body = request
    filled = json.loads(json.dumps(body).replace("{user}", user)) if body else None
    path = path.replace("{user}", quote(user, safe=""))
    return harness.call(method, path, json=filled, headers=headers).status_code


@pytest.mark.parametrize("user", ["ann", "ü/x y", "%41nn"])
def test_token_gives_its_own_users_requests_and_no_others(harness: AppHarness, user: str) -> None:
    for request in ALLOWED:
        assert send(harness, request, user, bearer(user)) == 200, request
        for other in ("bob", f"{user}x", user.upper()):
            assert send(harness, request, other, bearer(user)) == 403, (request, other)
        assert send(harness, request, user, bearer(user, -1)) == 401
        assert send(harness, request, user, bearer(user, key="another-key-" * 4)) == 401
        assert send(harness, request, user, {}) == 401


def test_matrix_of_user_tokens_covers_every_operation(harness: AppHarness) -> None:
    for request in NEVER:
        assert send(harness, request, "ann", bearer("ann")) == 403, request
    tried = {(method, re.sub(r"\?.*", "", path)) for method, path, _ in ALLOWED}
    for path, operations in harness.app.openapi()["paths"].items():
        for method, operation in operations.items():
            allowed = (method.upper(), path.replace("{user_id}", "{user}")) in tried
            assert ("x-user-token" in operation) == allowed, (method, path)


def test_two_segments_do_not_lead_around_the_user(harness: AppHarness) -> None:
    for path in (
        "/v1/users/ann/../bob/events",
        "/v1/users/ann%2F..%2Fbob",
        "/v1//users/bob",
        "/v1/users//bob/events",
    ):
        assert harness.get(path, headers=bearer("ann")).status_code in (401, 403, 404)


def test_api_key_beside_a_token_is_used_first(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path, keys=("the-key-of-the-server",), token_keys=(CURRENT,)).start()
    both = {**bearer("ann"), "x-api-key": "the-key-of-the-server"}
    assert harness.get("/v1/users/bob/recommendations", headers=both).status_code == 200
    assert harness.get("/v1/users/bob/recommendations", headers=bearer("ann")).status_code == 403
    assert harness.get("/v1/users/ann/recommendations", headers=bearer("ann")).status_code == 200
    harness.close()


def test_rate_limit_counts_each_user_of_a_token(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path, token_keys=(CURRENT,), rate_limit=2).start()
    statuses = [send(harness, ALLOWED[2], "ann", bearer("ann")) for _ in range(10)]
    assert 429 in statuses
    assert send(harness, ALLOWED[2], "bob", bearer("bob")) == 200
    harness.close()


def documented(language: str) -> str:
    page = (ROOT / "docs" / "api.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page.partition("## User tokens")[2], re.DOTALL)[0]


def test_documented_python_example_signs_a_valid_token(harness: AppHarness) -> None:
    code = documented("python")
    assert code.count("\n") <= 10
    names: dict[str, Any] = {}
    exec(code, names)
    token = names["user_token"](CURRENT, "ü/x")
    assert send(harness, ALLOWED[1], "ü/x", {"authorization": f"Bearer {token}"}) == 200
