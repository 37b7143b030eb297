"""Data larger than memory: what is read chunk by chunk is what is read at once, and memory is bounded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from model.training.data.interactions import Interactions, read_interactions
from model.training.data.time_split import read_timeline
from model.training.errors import DataError

ROOT = Path(__file__).parents[4]


def table(events: int, seed: int) -> pa.Table:
    """Random events out of order, many of them at the same time."""
    rng = np.random.default_rng(seed)
    users, items = rng.zipf(1.5, events) % 40, rng.zipf(1.3, events) % 70
    return pa.table(
        {
            "user_id": [f"user {n}" for n in users],
            "item_id": [f"item {n}" for n in items],
            "timestamp": rng.integers(0, events // 3, events),
        }
    )


def plainly(events: pa.Table, item_ids: list[str] | None = None) -> dict[str, list[str]]:
    """Histories by sorting everything at once, users in order of their first event."""
    histories: dict[str, list[str]] = {}
    for row in sorted(events.to_pylist(), key=lambda row: row["timestamp"]):
        history = histories.setdefault(row["user_id"], [])
        if item_ids is None or row["item_id"] in item_ids:
            history.append(row["item_id"])
    return histories


def named(data: Interactions) -> dict[str, list[str]]:
    return {
        user: [data.item_ids[row - 1] for row in data.rows[data.offsets[n] : data.offsets[n + 1]]]
        for n, user in enumerate(data.user_ids)
    }


@pytest.fixture(params=[7, 100, 1 << 18], ids=["tiny chunks", "chunks", "one chunk"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.data.readers._ROWS", request.param)
    monkeypatch.setattr("model.training.data.readers._BYTES", 32 * request.param)
    monkeypatch.setattr("model.training.data.history_builder._EVENTS", request.param)
    monkeypatch.setattr("model.training.data.history_builder._SMALL", request.param)
    monkeypatch.setattr("model.training.data.interactions._EVENTS", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("known", [False, True], ids=["all items", "known items"])
def test_chunks_give_what_the_whole_file_gives(tmp_path: Path, suffix: str, known: bool) -> None:
    events = table(1000, seed=1)
    write = pyarrow.csv.write_csv if suffix == ".csv" else pyarrow.parquet.write_table
    write(events, tmp_path / f"e{suffix}")
    item_ids = [f"item {n}" for n in (5, 1, 3, 0)] if known else None
    data = read_interactions(tmp_path / f"e{suffix}", item_ids)
    wanted = plainly(events, item_ids)
    assert named(data) == wanted
    assert list(data.user_ids) == list(wanted)
    if not known:
        by_time = sorted(events.to_pylist(), key=lambda row: row["timestamp"])
        assert list(data.item_ids) == list(dict.fromkeys(row["item_id"] for row in by_time))
    for count in (1, 2, 30):
        shorter = {user: history[: max(0, len(history) - count)] for user, history in wanted.items()}
        assert named(data.without_last(count)) == shorter
    assert data.popularity().tolist() == np.bincount(data.rows, minlength=len(data.item_ids) + 1).tolist()


@pytest.mark.usefixtures("chunk")
def test_sequences_in_chunks(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lines = {f"u{user}": [f"i{n}" for n in rng.integers(0, 50, rng.integers(1, 40))] for user in range(60)}
    (tmp_path / "e.txt").write_text("".join(f"{user} {' '.join(items)}\n" for user, items in lines.items()))
    data = read_interactions(tmp_path / "e.txt")
    assert named(data) == lines


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("1", "1.5"),
        ("2024-09-30T10:00:00Z", "2024-09-30T10:00:01.5Z"),
        ("2024-09-30 10:00:00", "2024-09-30 10:00:00.25"),
    ],
)
def test_later_times_may_be_finer_than_the_first(tmp_path: Path, early: str, late: str) -> None:
    rows = [f"u,i{n},{late if n == 0 else early}" for n in range(200, -1, -1)]
    (tmp_path / "e.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    data = read_interactions(tmp_path / "e.csv")
    assert data.item_ids[data.rows[-1] - 1] == "i0"
    assert data.item_ids[data.rows[0] - 1] == "i200"


@pytest.mark.parametrize("suffix", [".csv", ".inter"])
@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("u,i", "Expected 3 columns, got 2"),
        ("u,i,noon", "invalid value 'noon'"),
        ("u,,5", "no item_id"),
        ("u,i,nan", "NaN"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, suffix: str, row: str, says: str) -> None:
    path = tmp_path / f"e{suffix}"
    # Far enough into the file to be in another chunk than its beginning.
    text = "\n".join(["user_id,item_id,timestamp", *["u,i,5.5"] * 2_000_000, row, "u,i,6.5"]) + "\n"
    path.write_text(text if suffix == ".csv" else text.replace(",", "\t"))
    with pytest.raises(DataError, match=says) as refused:
        read_interactions(path)
    assert str(refused.value).startswith(f"{path}:2000002 ")


def test_text_that_is_not_utf8_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "e.txt").write_bytes(b"a 1 2\nb 3 \xff\n")
    with pytest.raises(DataError, match=r"e\.txt:2 "):
        read_interactions(tmp_path / "e.txt")


def test_no_room_for_the_arrays_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("model.training.data.history_builder._SMALL", 1)
    monkeypatch.setattr("os.posix_fallocate", full)
    (tmp_path / "e.txt").write_text("a 1 2\n")
    with pytest.raises(DataError, match="set TMPDIR"):
        read_interactions(tmp_path / "e.txt")


_READ = """
import json, re, sys
from pathlib import Path
from model.training.data.interactions import read_interactions
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
read_interactions(Path(sys.argv[1]))
before = peak()
data = read_interactions(Path(sys.argv[2]))
data.without_last(2).popularity()
print(json.dumps({"mib": peak() - before, "events": len(data.rows)}))
"""


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_memory_is_bounded_whatever_the_file(tmp_path: Path, suffix: str) -> None:
    """A file of six times the events takes no more than 100 MiB more: a third of its own size as text."""
    rng = np.random.default_rng(3)
    events = 3_000_000
    for name, count in (("small", events // 6), ("large", events)):
        ids = pa.array([f"an id that is as long as those of real shops {n:05d}" for n in range(20_000)])
        chosen = (pa.array(rng.integers(0, 20_000, count)) for _ in range(2))
        users, items = (ids.take(rows) for rows in chosen)
        found = pa.table({"user_id": users, "item_id": items, "timestamp": rng.integers(0, 10**9, count)})
        write = pyarrow.csv.write_csv if suffix == ".csv" else pyarrow.parquet.write_table
        write(found, tmp_path / f"{name}{suffix}")
    command = [sys.executable, "-c", _READ, *(str(tmp_path / f"{name}{suffix}") for name in ("small", "large"))]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    measured = json.loads(done.stdout)
    assert measured["events"] == events
    if suffix == ".csv":
        assert (tmp_path / "large.csv").stat().st_size > 300 << 20
    assert measured["mib"] < 100


@pytest.mark.usefixtures("chunk")
def test_a_log_in_time_is_the_same_in_chunks(tmp_path: Path) -> None:
    """Against the running maximum and the split done user by user."""
    events = table(1000, seed=4).append_column("sequence", pa.array(np.random.default_rng(4).permutation(1000)))
    times = pa.array(np.random.default_rng(5).integers(0, 500, 1000).astype(np.float64))
    events = events.set_column(2, "timestamp", times)
    pyarrow.parquet.write_table(events, tmp_path / "part.parquet")
    found = read_timeline(tmp_path)
    wanted: dict[str, list[tuple[str, float]]] = {}
    for row in sorted(events.to_pylist(), key=lambda row: row["sequence"]):
        history = wanted.setdefault(row["user_id"], [])
        history.append((row["item_id"], max([row["timestamp"], *(time for _, time in history)])))
    for n, user in enumerate(found.user_ids):
        mine = slice(found.offsets[n], found.offsets[n + 1])
        items = [found.item_ids[item] for item in found.items[mine]]
        assert list(zip(items, found.times[mine].tolist(), strict=True)) == wanted[user]
    assert len(found.user_ids) == len(wanted)
    newest = sorted(time for history in wanted.values() for _, time in history)
    assert found.cut(0.3, None) == newest[700]
    assert found.cut(0.3, 0.01) == newest[-1] - 36
    past = {user: [item for item, time in history if time < 400] for user, history in wanted.items()}
    assert named(found.before(400)) == {user: items for user, items in past.items() if items}
