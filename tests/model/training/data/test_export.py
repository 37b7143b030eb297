"""The export against the log: new events, deletions, merges and retention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import pyarrow.parquet
import pytest

from ingest.errors import DataError
from model.training.data import export
from model.training.data.event_log import LoggedEvent, Position
from model.training.data.export import export_log
from model.training.data.interactions import read_interactions
from service.core.events import AppendAndRead, NewEvent
from service.core.ports import Store
from tests.model.training.data.export_checks import PART_EVENTS, USERS, events, file_contents, in_order_of_each_user
from tests.model.training.logs import append, exported, logged, use
from tests.store.backends import Backend, RedisBackend, SqliteBackend


def test_export_holds_the_events_of_the_log(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(20))
    append(backend, events(20, seed=3), named=True)
    done = export_log(backend.url, tmp_path / "out", PART_EVENTS)
    assert (done.events, done.added, done.reread) == (40, 40, 0)
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)
    assert in_order_of_each_user(tmp_path / "out")


def test_export_holds_type_value_and_recommendation_id(backend: Backend, tmp_path: Path) -> None:
    extras = [("", None, ""), ("purchase", 49.9, "r1.abc"), ("", -2.0, ""), ("dislike", None, ""), ("", None, "@日")]
    new = [NewEvent.create(f"i{n}", 1.0, None, 0.0, *extra) for n, extra in enumerate(extras)]

    async def work(store: Store) -> None:
        await store.append_and_read([AppendAndRead("u", None, tuple(new))])

    use(backend, work)
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    rows: list[tuple[object, ...]] = []
    for part in sorted((tmp_path / "out").glob("*.parquet")):
        columns = ["type", "value", "recommendation_id"]
        rows += [tuple(row.values()) for row in pyarrow.parquet.read_table(part, columns=columns).to_pylist()]
    assert rows == [tuple(each or None for each in extra) for extra in extras]


def test_export_holds_version_and_position_of_verified_answers(backend: Backend, tmp_path: Path) -> None:
    plain = NewEvent.create("i", 1.0, None, 0.0, recommendation_id="r1")
    credits = ["c1 p:0:2026:x:12", "c1o1v500 p:0:2026:x:3 x:0a0b0c0d:2026:x", ""]

    async def work(store: Store) -> None:
        await store.append_and_read(
            [AppendAndRead("u", None, tuple(plain._replace(credit=credit) for credit in credits))]
        )

    use(backend, work)
    export_log(backend.url, tmp_path / "out")
    rows: list[tuple[object, ...]] = []
    for part in sorted((tmp_path / "out").glob("*.parquet")):
        columns = ["recommendation_id", "answer_version", "answer_position"]
        rows += [tuple(row.values()) for row in pyarrow.parquet.read_table(part, columns=columns).to_pylist()]
    assert rows == [("r1", "2026:x", 12), ("r1", "2026:x", 3), ("r1", None, None)]


def test_part_of_an_earlier_release_grows_by_events_with_types(backend: Backend, tmp_path: Path) -> None:
    append(backend, [("u", "old", 1.0)])
    export_log(backend.url, tmp_path / "out")
    [part] = (tmp_path / "out").glob("*.parquet")
    table = pyarrow.parquet.read_table(part).drop_columns(
        ["type", "value", "recommendation_id", "answer_version", "answer_position"]
    )
    pyarrow.parquet.write_table(table, part)

    async def work(store: Store) -> None:
        await store.append_and_read(
            [AppendAndRead("u", None, (NewEvent.create("new", 2.0, None, 0.0, "cart", 1.5),))]
        )

    use(backend, work)
    assert export_log(backend.url, tmp_path / "out").added == 1
    found = pyarrow.parquet.read_table(part, columns=["item_id", "type", "value"]).to_pylist()
    assert found == [
        {"item_id": "old", "type": None, "value": None},
        {"item_id": "new", "type": "cart", "value": 1.5},
    ]


def test_run_without_new_events_changes_no_file(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(30))
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    before = file_contents(tmp_path / "out")
    assert export_log(backend.url, tmp_path / "out", PART_EVENTS).added == 0
    assert {**file_contents(tmp_path / "out"), ".lock": ()} == {**before, ".lock": ()}


def test_run_adds_only_new_events(backend: Backend, tmp_path: Path) -> None:
    whole: list[tuple[str, str, float]] = []
    for step in range(5):
        append(backend, events(7, seed=step))
        whole += events(7, seed=step)
        assert export_log(backend.url, tmp_path / "out", PART_EVENTS).added == 7
        assert len(exported(tmp_path / "out")) == len(whole)
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)
    assert in_order_of_each_user(tmp_path / "out")
    sizes = Counter(path.name[:8] for path in (tmp_path / "out").glob("*.parquet"))
    rows = Counter(row[0] for row in exported(tmp_path / "out"))
    assert sum(sizes.values()) <= sum(-(-held // PART_EVENTS) for held in rows.values())


def test_deleted_events_and_users_leave_the_export(backend: Backend, tmp_path: Path) -> None:
    append(backend, [(user, f"item {n}", float(n)) for n in range(6) for user in (*USERS, "gone-user")])
    export_log(backend.url, tmp_path / "out", PART_EVENTS)

    async def delete(store: Store) -> None:
        await store.delete_user("gone-user")
        await store.delete_event(USERS[0], "seq-2")

    use(backend, delete)
    assert export_log(backend.url, tmp_path / "out", PART_EVENTS).reread >= 1
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)
    assert not any(b"gone-user" in content for _, content in file_contents(tmp_path / "out").values())
    # The user begins again, with sequences that were used before.
    append(backend, [("gone-user", "new item", 1.0)])
    assert export_log(backend.url, tmp_path / "out", PART_EVENTS).reread == 0
    assert [row for row in exported(tmp_path / "out") if row[0] == "gone-user"] == logged(backend, ["gone-user"])


def test_user_merge_leaves_each_event_once(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(30), named=True)
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    use(backend, merge_users(USERS[0], USERS[1]))
    use(backend, merge_users("new", USERS[4]))
    assert export_log(backend.url, tmp_path / "out", PART_EVENTS).reread
    rows = exported(tmp_path / "out")
    assert len(rows) == len({row[4] for row in rows}) == len(set(events(30)))
    assert sorted(rows) == logged(backend, [*USERS, "new"])
    assert in_order_of_each_user(tmp_path / "out")
    assert export_log(backend.url, tmp_path / "out", PART_EVENTS).added == 0


@pytest.mark.parametrize("written", [1, 2, 3])
def test_user_merge_during_an_export_leaves_each_event_once(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    append(backend, events(30), named=True)
    append_to_part, parts = export.append_to_part, count(1)

    def append_and_merge(*arguments: object) -> None:
        append_to_part(*arguments)  # type: ignore[arg-type]
        if next(parts) == written:
            for target, source in ((0, 1), (4, 0), (7, 4)):
                use(backend, merge_users(USERS[target], USERS[source]))

    monkeypatch.setattr(export, "append_to_part", append_and_merge)
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)
    assert in_order_of_each_user(tmp_path / "out")


def merge_users(user: str, source: str) -> Callable[[Store], Awaitable[object]]:
    async def work(store: Store) -> object:
        return await store.merge(user, source)

    return work


def test_events_removed_by_retention_stay_until_their_user_is_deleted(backend: Backend, tmp_path: Path) -> None:
    append(backend, [("u", f"old {n}", float(n)) for n in range(3)], keep=3)
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    append(backend, [("u", f"new {n}", float(n)) for n in range(3)], keep=3)
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    assert [row[1] for row in exported(tmp_path / "out")] == ["old 0", "old 1", "old 2", "new 0", "new 1", "new 2"]

    async def delete(store: Store) -> None:
        for sequence in (4, 5, 6):
            assert await store.delete_event("u", f"seq-{sequence}")
        assert await store.delete_user("u") == 0

    use(backend, delete)
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    assert exported(tmp_path / "out") == []


def test_new_log_at_the_same_url_is_read_from_its_start(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(30))
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    if isinstance(backend, SqliteBackend):
        for path in backend.path.parent.glob("events.db*"):
            path.unlink()
        use(backend, lambda store: store.ping())
    elif isinstance(backend, RedisBackend):
        with backend.client() as client:
            client.flushall()
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    assert exported(tmp_path / "out") == []
    append(backend, events(5, seed=1))
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)


def test_histories_are_read_in_order_of_sequence(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(40))
    export_log(backend.url, tmp_path / "out", PART_EVENTS)
    data = read_interactions([tmp_path / "out"])
    expected: dict[str, list[str]] = {}
    for user, item, *_ in sorted(logged(backend, USERS), key=lambda row: row[3]):
        expected.setdefault(user, []).append(item)
    found = {
        user: [data.item_ids[row - 1] for row in data.rows[data.offsets[n] : data.offsets[n + 1]]]
        for n, user in enumerate(data.user_ids)
    }
    assert found == expected


def test_at_most_one_part_is_held_in_memory(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(backend, [("u", f"item {n}", float(n)) for n in range(50)])
    written = []
    append_to_part = export.append_to_part

    def spy(path: Path, events: list[LoggedEvent], position: Position) -> None:
        written.append(len(events))
        append_to_part(path, events, position)

    monkeypatch.setattr(export, "append_to_part", spy)
    monkeypatch.setattr(export, "_READ_BATCH_EVENTS", 3)
    export_log(backend.url, tmp_path / "out", 8)
    assert written == [8, 8, 8, 8, 8, 8, 2]


def test_empty_log_gives_an_empty_export(backend: Backend, tmp_path: Path) -> None:
    use(backend, lambda store: store.ping())
    assert export_log(backend.url, tmp_path / "out").events == 0
    with pytest.raises(DataError, match="holds no Parquet files"):
        read_interactions([tmp_path / "out"])
