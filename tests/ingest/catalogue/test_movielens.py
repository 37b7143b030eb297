"""MovieLens' table of titles, loaded into a service with the demo model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployments import wait_for
from tests.end_to_end.service import KEY, ROOT, RunningService
from tests.ingest.catalogue.test_recblr_items import items, result_of

BUNDLE = ROOT / "bundles" / "ml-1m-demo"
MADE_UP = """\
1210::Star Wars: Episode VI - Return of the Jedi (1983)::Action|Adventure|Romance|Sci-Fi|War
73::Misérables, Les (1995)::Drama|Musical
260::Star Wars: Episode IV - A New Hope (1977)::Action|Adventure|Fantasy|Sci-Fi
99999::A Film that the Model does not Know (2026)::Comedy
"""
REAL = os.environ.get("MOVIELENS_MOVIES", "")  # path of the real movies.dat, which cannot be given away


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with RunningService(tmp_path, f"sqlite:///{tmp_path}/log.db", BUNDLE) as running:
        yield running


def answered(service: RunningService) -> dict[str, dict[str, Any]]:
    """The items that a user is answered after an event, by id."""
    found = service.post("/recommendations", {"history": ["1210"], "k": 1000, "exclude_seen": False})["items"]
    return {item["item_id"]: item for item in found}


def test_one_command_gives_the_films_their_titles(service: RunningService, tmp_path: Path) -> None:
    path = tmp_path / "movies.dat"
    path.write_bytes(MADE_UP.encode("latin-1"))
    assert not any("title" in item for item in answered(service).values())
    assert result_of(items("load", path, "--encoding", "latin-1", url=service.url))["changed"] == 4
    wait_for("the titles", lambda: "title" in answered(service)["260"], 20.0)
    found = answered(service)
    assert found["260"]["title"] == "Star Wars: Episode IV - A New Hope (1977)"
    assert found["1210"]["categories"] == ["Action", "Adventure", "Romance", "Sci-Fi", "War"]
    assert service.get("/items/73")["title"] == "Misérables, Les (1995)"
    assert "99999" not in found


@pytest.mark.skipif(not REAL, reason="MOVIELENS_MOVIES does not name MovieLens' movies.dat")
def test_movielens_own_file_gives_every_film_a_title(service: RunningService, tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    ran = items("load", REAL, "--encoding", "latin-1", "--progress", progress, url=service.url)
    loaded = result_of(ran)
    assert (loaded["refused"], loaded["changed"]) == (0, loaded["sent"]) and loaded["sent"] > 3000
    wait_for("the titles", lambda: all("title" in item for item in answered(service).values()), 30.0)
    with httpx.Client(base_url=service.url, headers={"x-api-key": KEY}) as client:
        listed = client.get("/v1/items", params={"limit": 1000}).json()
    assert listed["total"] == loaded["sent"]
