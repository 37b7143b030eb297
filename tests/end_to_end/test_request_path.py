"""Functions that one request enters, from the socket to Redis and back.

A newcomer clicks through exactly these functions, so their number is bounded. Print the path with
`pytest -s tests/end_to_end/test_request_path.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

import httpx
import uvicorn
from pydantic import SecretStr

from model.bundle.bundle import write_bundle
from service.api.uvicorn_protocol import HttpProtocol
from service.main import create_app
from service.settings import Settings
from tests.model.builders import CONFIGS, bundle_of
from tests.servers import RedisServer, free_port

ROOT = Path(__file__).parents[2]
# It was 79 in 27. The replay of event types (decision 0123), appended items (0126) and their vectors (0127) are new.
MAX_FUNCTIONS = 82
MAX_FILES = 32
SNAPSHOT_WRITE_SECONDS = 0.5  # the snapshot of an event is written some 50 ms after its answer


@contextmanager
def entered_functions() -> Iterator[set[tuple[str, str]]]:
    """Collect (file, function) of every function of ours that this thread enters."""
    codes: set[CodeType] = set()
    found: set[tuple[str, str]] = set()

    background = asyncio.all_tasks()  # the rollout's polling, maintenance, and the task of the test itself

    def on_call(frame: FrameType, kind: str, _: object) -> None:
        if kind == "call" and asyncio.current_task() not in background:
            codes.add(frame.f_code)

    sys.setprofile(on_call)
    try:
        yield found
    finally:
        sys.setprofile(None)
    for code in codes:
        path = Path(code.co_filename)
        if not path.is_relative_to(ROOT) or code.co_name.startswith("<"):  # a comprehension is part of its function
            continue
        path = path.relative_to(ROOT)
        if path.parts[0] in ("service", "model"):
            found.add((str(path), code.co_qualname))


async def functions_of_one_event(settings: Settings, known_items: Sequence[str]) -> set[tuple[str, str]]:
    """Functions of one `POST /v1/events?k=10`, up to the write of the snapshot."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(settings), port=settings.port, http=HttpProtocol, log_config=None)
    )
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.port}") as client:

        async def post(item_id: str) -> None:
            answer = await client.post("/v1/events?k=10", json={"user_id": "u", "item_id": item_id})
            assert len(answer.json()["recommendations"]["items"]) == 10
            await asyncio.sleep(SNAPSHOT_WRITE_SECONDS)

        await post(known_items[0])  # Redis learns the scripts, and the user gets a first snapshot
        await post(known_items[1])
        with entered_functions() as found:
            await post(known_items[2])  # the second event since the last snapshot, so that another one is written
    server.should_exit = True
    await running
    return found


def test_one_event_enters_a_bounded_number_of_functions(tmp_path: Path) -> None:
    bundle = bundle_of(CONFIGS["default"])
    write_bundle(tmp_path / "bundle", bundle)
    with RedisServer() as redis:
        settings = Settings(
            port=free_port(),
            state_url=SecretStr(redis.url),
            bundle=tmp_path / "bundle",
            accuracy_sample=1e-9,  # events are sampled, but none of these: evaluation is not on an ordinary path
        )
        found = asyncio.run(functions_of_one_event(settings, [item.item_id for item in bundle.items]))
    files = Counter(file for file, _ in found)
    for file, count in sorted(files.items()):
        print(f"{count:3} {file}: {', '.join(sorted(name for where, name in found if where == file))}")
    print(f"{len(found)} functions in {len(files)} Python files")
    assert ("service/core/recommending/recommender.py", "Recommender.record") in found
    assert ("service/store/redis/store.py", "RedisStore.put_snapshots") in found
    assert len(found) <= MAX_FUNCTIONS
    assert len(files) <= MAX_FILES
