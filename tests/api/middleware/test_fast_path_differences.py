"""Raw messages have the same outcome with and without the fast path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from tests.api.app_harness import AppHarness
from tests.core.memory_store import MemoryStore

Headers = list[tuple[bytes, bytes]]
Outcome = tuple[int | None, Headers, bytes]
BODY = b'{"user_id": "u", "item_id": "10"}'
TYPE, PLAIN = (b"content-type", b"application/json"), (b"content-type", b"text/plain")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AppHarness, AppHarness]]:
    folder = tmp_path_factory.mktemp("logs")
    harnesses = [AppHarness(folder, store=MemoryStore(), fast_path=enabled).start() for enabled in (True, False)]
    for harness in harnesses:
        harness.recommender.eligibility.catalogue._filters.clock = lambda: 5_000_000  # type: ignore[attr-defined]
    yield harnesses[0], harnesses[1]
    for harness in harnesses:
        harness.close()


def outcome(
    harness: AppHarness, method: str, path: str, query: bytes, headers: Headers, messages: list[Message]
) -> Outcome:
    """Return status, headers and body of the response, if any."""
    left = [dict(message) for message in messages]
    sent: list[Message] = []

    async def receive() -> Message:
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method}
    scope |= {"scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query, "root_path": ""}
    scope |= {"headers": list(headers), "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}
    harness.run(harness.app(scope, receive, send))
    if not sent:
        return None, [], b""
    kept = sorted(header for header in sent[0]["headers"] if header[0] != b"x-request-id")
    return sent[0]["status"], kept, b"".join(message.get("body", b"") for message in sent[1:])


def compare(pair: tuple[AppHarness, AppHarness], *request: Any) -> Outcome:
    fast, plain = (outcome(harness, *request) for harness in pair)
    assert fast == plain
    logs = [harness.get("/v1/users/u/events").json().get("events", []) for harness in pair]
    assert len({str([(event["item_id"], event["event_id"]) for event in log]) for log in logs}) == 1
    return fast


def parts(*bodies: bytes, cut: bool = False) -> list[Message]:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": True} for body in bodies]
    if cut:
        return [*messages, {"type": "http.disconnect"}]
    messages[-1]["more_body"] = False
    return messages


def test_body_cut_off_after_complete_json_is_not_stored(pair: tuple[AppHarness, AppHarness]) -> None:
    cut = BODY.replace(b'"u"', b'"cut-off"')
    headers = [TYPE, (b"content-length", b"%d" % (len(cut) + 5))]
    for harness in pair:
        outcome(harness, "POST", "/v1/events", b"", headers, parts(cut, cut=True))
        assert harness.get("/v1/users/cut-off").status_code == 404


@pytest.mark.parametrize("types", [[TYPE, PLAIN], [PLAIN, TYPE], [TYPE, TYPE], [PLAIN]])
def test_first_of_several_content_types_counts(pair: tuple[AppHarness, AppHarness], types: Headers) -> None:
    headers = [*types, (b"content-length", b"%d" % len(BODY))]
    status, _, _ = compare(pair, "POST", "/v1/events", b"", headers, parts(BODY))
    assert (status == 200) == (types[0] == TYPE)


TEXT = st.sampled_from(
    [
        '"u"',
        '"10"',
        '"\\ud800"',
        '"\\u0000"',
        "null",
        "1",
        "1e400",
        "NaN",
        "-0.0",
        "[]",
        "{}",
        "0.1",
        '"x',
        '["10"]',
        "\"item_id > '2'\"",
    ]
)
NAMES = st.sampled_from(["user_id", "item_id", "event_id", "timestamp", "extra", "filter", "exclude", "fields"])
BODIES = st.lists(st.tuples(NAMES, TEXT), max_size=5).map(
    lambda fields: ("{" + ", ".join(f'"{name}": {value}' for name, value in fields) + "}").encode()
)
ENCODED = st.one_of(
    BODIES, BODIES.map(lambda b: b"\xef\xbb\xbf" + b), BODIES.map(lambda b: b.decode().encode("utf-16"))
)
HEADERS = st.lists(
    st.sampled_from([TYPE, PLAIN, (b"content-type", b"application/json; charset=latin-1"), (b"x-request-id", b"r")]),
    max_size=3,
)
QUERY = st.sampled_from(
    [
        *(b"", b"k=3", b"k=3&k=4", b"k=%33", b"k=+3", b"k=3&", b"&k=3", b"K=3", b"k", b"exclude_seen=no&k=2"),
        *(b"k=3&exclude=10&exclude=11", b"k=3&exclude=", b"k=3&filter=item_id%20<%20'3'", b"k=3&filter=price%20<"),
        *(b"k=3&filter=item_id+=+:a&param.a=12", b"k=3&filter=item_id+IN+(:a)&param.a=12&param.a=13"),
        *(b"param.a=1&k=2", b"k=3&filter_name=none", b"k=3&fields=title", b"k=3&fields=prise", b"exclude=3"),
    ]
)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(query=QUERY, body=ENCODED, headers=HEADERS, at=st.integers(0, 60), declared=st.booleans())
@example(query=b"k=3&k=4", body=BODY, headers=[TYPE], at=3, declared=True)
def test_generated_messages_have_the_same_outcome(
    pair: tuple[AppHarness, AppHarness], query: bytes, body: bytes, headers: Headers, at: int, declared: bool
) -> None:
    length = [(b"content-length", b"%d" % len(body))] if declared else [(b"transfer-encoding", b"chunked")]
    messages = parts(body[:at], body[at:])
    compare(pair, "POST", "/v1/events", query, [*headers, *length], messages)
    compare(pair, "GET", "/v1/users/u/recommendations", query, headers, parts(b""))
