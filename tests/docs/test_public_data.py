"""Commands of docs/public-data.md on small made files of the published forms."""

from __future__ import annotations

import gzip
import json
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model.training.__main__ import main
from model.training.data.interactions import Interactions, read_interactions
from tests.docs.pages import ROOT, blocks_of
from tests.model.training.data.chunking import histories_by_user

COMMANDS = [block.text.strip() for block in blocks_of(ROOT / "docs" / "public-data.md") if block.language == "sh"]
BEGIN = 1_396_868_000
# (user, item, seconds); three users' histories interleave, and no line is in order of time.
ROWS = [(f"{n % 3 + 1}", f"{(7 * n) % 11 + 100}", BEGIN + 86_400 * ((5 * n) % 36)) for n in range(36)]


def text(form: Callable[[str, str, int], str], header: str = "") -> bytes:
    return (header + "".join(form(*row) + "\n" for row in ROWS)).encode()


def review(user: str, item: str, time: int) -> str:
    """A line of the 5-core files of 2014."""
    return json.dumps(
        {
            "reviewerID": user,
            "asin": item,
            "reviewerName": 'Ann "A", of X',
            "helpful": [0, 0],
            "reviewText": "So,\nso.",
            "overall": 5.0,
            "summary": "So",
            "unixReviewTime": time,
            "reviewTime": "09 1, 2013",
        }
    )


def review_2023(user: str, item: str, time: int) -> str:
    """A line of the files of 2023."""
    return json.dumps(
        {
            "rating": 5.0,
            "title": "So",
            "text": "so",
            "images": [],
            "asin": "a variant",
            "parent_asin": item,
            "user_id": user,
            "timestamp": time * 1000,
            "helpful_vote": 0,
            "verified_purchase": True,
        }
    )


def iso(time: int, form: str) -> str:
    return datetime.fromtimestamp(time, UTC).strftime(form)


FILES = {
    "ml-100k/u.data": text(lambda u, i, t: f"{u}\t{i}\t3\t{t}"),
    "ml-1m/ratings.dat": text(lambda u, i, t: f"{u}::{i}::5::{t}"),
    "ml-10M100K/ratings.dat": text(lambda u, i, t: f"{u}::{i}::3.5::{t}"),
    "ml-25m/ratings.csv": text(lambda u, i, t: f"{u},{i},3.5,{t}", "userId,movieId,rating,timestamp\n"),
    "ratings_Beauty.csv": text(lambda u, i, t: f"{u},{i},5.0,{t}"),
    "All_Beauty.csv": text(lambda u, i, t: f"{i},{u},5.0,{t}"),
    "reviews_Beauty_5.json.gz": gzip.compress(text(review)),
    "All_Beauty.jsonl.gz": gzip.compress(text(review_2023)),
    "events.csv": text(
        lambda u, i, t: f"{t * 1000 + 123},{u},view,{i},", "timestamp,visitorid,event,itemid,transactionid\n"
    ),
    "transactions_train.csv": text(
        lambda u, i, t: f"{iso(t, '%Y-%m-%d')},{u},{i},0.0508,2",
        "t_dat,customer_id,article_id,price,sales_channel_id\n",
    )
    + text(lambda u, i, t: f"{iso(t, '%Y-%m-%d')},{u},{i},0.0508,2"),
    "yoochoose-clicks.dat": text(lambda u, i, t: f"{u},{iso(t, '%Y-%m-%dT%H:%M:%S.277Z')},{i},0"),
}


def test_every_command_of_the_page_has_a_made_file() -> None:
    assert [shlex.split(command)[2] for command in COMMANDS] == list(FILES)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: shlex.split(command)[2])
def test_command_reads_the_published_form(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = shlex.split(command)
    assert program == ".venv/bin/recblr-train"
    path = tmp_path / arguments[1]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(FILES[arguments[1]])
    read: list[Interactions] = []

    def spy(*inputs: object, **options: object) -> Interactions:
        read.append(read_interactions(*inputs, **options))  # type: ignore[arg-type]
        return read[-1]

    monkeypatch.setattr("model.training.pipelines.train.read_interactions", spy)
    monkeypatch.chdir(tmp_path)
    small = "--dim 8 --layers 1 --epochs 1 --window 8 --batch 16 --device cpu"
    assert main([*arguments, *small.split()]) == 0
    assert (tmp_path / json.loads(capsys.readouterr().out)["bundle"] / "manifest.json").is_file()
    expected: dict[str, list[str]] = {}
    for user, item, _ in sorted(ROWS, key=lambda row: row[2]):
        expected.setdefault(user, []).append(item)
    assert histories_by_user(read[0]) == expected
