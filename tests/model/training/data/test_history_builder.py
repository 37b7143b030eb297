"""Histories built on disk, against those built in memory."""

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

from ingest.errors import DataError
from model.training.data.history_builder import HistoryBuilder
from model.training.data.interactions import read_interactions
from model.training.data.time_split import read_timeline
from tests.model.training.data.chunking import histories_by_user, histories_in_memory, random_events

ROOT = Path(__file__).parents[4]


@pytest.mark.usefixtures("chunk_size")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("known", [False, True], ids=["all items", "known items"])
def test_chunks_give_the_same_histories_as_the_whole_file(tmp_path: Path, suffix: str, known: bool) -> None:
    events = random_events(1000, seed=1)
    write = pyarrow.csv.write_csv if suffix == ".csv" else pyarrow.parquet.write_table
    write(events, tmp_path / f"e{suffix}")
    item_ids = [f"item {n}" for n in (5, 1, 3, 0)] if known else None
    data = read_interactions([tmp_path / f"e{suffix}"], item_ids=item_ids)
    expected = histories_in_memory(events, item_ids)
    assert histories_by_user(data) == expected
    assert list(data.user_ids) == list(expected)
    if not known:
        by_time = sorted(events.to_pylist(), key=lambda row: row["timestamp"])
        assert list(data.item_ids) == list(dict.fromkeys(row["item_id"] for row in by_time))
    for count in (1, 2, 30):
        shorter = {user: history[: max(0, len(history) - count)] for user, history in expected.items()}
        assert histories_by_user(data.without_last(count)) == shorter
    assert data.popularity().tolist() == np.bincount(data.rows, minlength=len(data.item_ids) + 1).tolist()


@pytest.mark.usefixtures("chunk_size")
def test_lines_of_sequences_are_read_in_chunks(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lines = {f"u{user}": [f"i{n}" for n in rng.integers(0, 50, rng.integers(1, 40))] for user in range(60)}
    (tmp_path / "e.txt").write_text("".join(f"{user} {' '.join(items)}\n" for user, items in lines.items()))
    data = read_interactions([tmp_path / "e.txt"])
    assert histories_by_user(data) == lines


@pytest.mark.usefixtures("chunk_size")
def test_timeline_read_in_chunks_equals_one_built_in_memory(tmp_path: Path) -> None:
    events = random_events(1000, seed=4).append_column(
        "sequence", pa.array(np.random.default_rng(4).permutation(1000))
    )
    times = pa.array(np.random.default_rng(5).integers(0, 500, 1000).astype(np.float64))
    events = events.set_column(2, "timestamp", times)
    pyarrow.parquet.write_table(events, tmp_path / "part.parquet")
    found = read_timeline(tmp_path)
    expected: dict[str, list[tuple[str, float]]] = {}
    for row in sorted(events.to_pylist(), key=lambda row: row["sequence"]):
        history = expected.setdefault(row["user_id"], [])
        history.append((row["item_id"], max([row["timestamp"], *(time for _, time in history)])))
    for n, user in enumerate(found.user_ids):
        own = slice(found.offsets[n], found.offsets[n + 1])
        items = [found.item_ids[item] for item in found.items[own]]
        assert list(zip(items, found.times[own].tolist(), strict=True)) == expected[user]
    assert len(found.user_ids) == len(expected)
    newest = sorted(time for history in expected.values() for _, time in history)
    assert found.cut(0.3, None) == newest[700]
    assert found.cut(0.3, 0.01) == newest[-1] - 36
    past = {user: [item for item, time in history if time < 400] for user, history in expected.items()}
    assert histories_by_user(found.before(400)) == {user: items for user, items in past.items() if items}


_READ = """
import json, re, sys
from pathlib import Path
from model.training.data.interactions import read_interactions
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
read_interactions([Path(sys.argv[1])])
before = peak()
data = read_interactions([Path(sys.argv[2])])
data.without_last(2).popularity()
print(json.dumps({"mib": peak() - before, "events": len(data.rows)}))
"""


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_six_times_the_events_need_at_most_100_mib_more(tmp_path: Path, suffix: str) -> None:
    """The larger file has three times that size as text."""
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


def test_timestamps_of_another_type_in_a_later_chunk_raise() -> None:
    builder = HistoryBuilder(None)
    ids = pa.array(["a"])
    builder.add(ids, ids, np.array([1]))
    with pytest.raises(DataError, match="type of the timestamps differs"):
        builder.add(ids, ids, np.array([1.5]))
