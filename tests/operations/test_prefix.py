"""A prefix behind real proxies, as docs/operations/https.md configures them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.demo import BUNDLE
from tests.docs.pages import text_under
from tests.end_to_end.service import KEY, RunningService
from tests.operations.proxies import PAGE, prefixed

PREFIX = "/recommender"
BLOCKS = ("nginx leaves it", "nginx removes it", "HAProxy removes it")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    with RunningService(folder, f"sqlite:///{folder}/events.db", BUNDLE, RECBLR_ROOT_PATH=PREFIX) as running:
        yield running


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=BLOCKS)
def test_api_docs_and_console_are_served_under_the_prefix(
    number: int, service: RunningService, tmp_path: Path
) -> None:
    with (
        prefixed(number, tmp_path, service.url.removeprefix("http://")) as url,
        httpx.Client(base_url=url + PREFIX, headers={"X-API-Key": KEY}, timeout=20.0) as client,
    ):
        user = f"user/{number} of 50%"
        event = {"user_id": user, "item_id": "camping-1"}
        answer = client.post("/v1/events?k=3", json=event)
        assert (answer.status_code, len(answer.json()["recommendations"]["items"])) == (200, 3)
        assert client.get("/openapi.json").json()["servers"] == [{"url": PREFIX}]
        for path, text in (("/", "recblr-service"), ("/docs", "swagger-ui"), ("/docs/swagger-ui.css", "swagger")):
            page = client.get(path)
            assert (page.status_code, text in page.text) == (200, True), path
        by_query = client.get("/v1/user/events", params={"user_id": user})
        assert [found["item_id"] for found in by_query.json()["events"]] == ["camping-1"]


def test_every_block_about_a_prefix_is_run() -> None:
    with pytest.raises(IndexError):
        text_under(PAGE, "A prefix", len(BLOCKS))
