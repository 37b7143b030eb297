"""The export holds what the log holds, whenever it is run, killed or run again."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from model.training.data import export
from model.training.data.export import export_log
from model.training.data.interactions import read_interactions
from model.training.errors import DataError
from service.core.ports import Store
from tests.model.training.logs import append, exported, logged, use
from tests.store.backends import Backend, RedisBackend, SqliteBackend

USERS = [f"user {n}" for n in range(9)]
PART = 4  # events in a part: small, so that there are several


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def events(number: int, seed: int = 0) -> list[tuple[str, str, float]]:
    """In another order than their timestamps."""
    return [(USERS[(n * n + seed) % 9], f"item {n * 7 % 13}", float(n * 31 % 17)) for n in range(number)]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def in_order_of_each_user(folder: Path) -> bool:
    newest: Counter[str] = Counter()
    for user, *_, sequence, _ in exported(folder):
        if sequence <= newest[user]:
            return False
        newest[user] = sequence
    return True


def test_the_export_is_the_log(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(20))
    append(backend, events(20, seed=3), named=True)
    done = export_log(backend.url, tmp_path / "out", PART)
    assert (done.events, done.added, done.reread) == (40, 40, 0)
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)
    assert in_order_of_each_user(tmp_path / "out")


def test_a_run_without_news_changes_nothing(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(30))
    export_log(backend.url, tmp_path / "out", PART)
    before = files(tmp_path / "out")
    assert export_log(backend.url, tmp_path / "out", PART).added == 0
    assert {**files(tmp_path / "out"), ".lock": ()} == {**before, ".lock": ()}


def test_a_run_adds_what_is_new(backend: Backend, tmp_path: Path) -> None:
    whole: list[tuple[str, str, float]] = []
    for step in range(5):
        append(backend, events(7, seed=step))
        whole += events(7, seed=step)
        assert export_log(backend.url, tmp_path / "out", PART).added == 7
        assert len(exported(tmp_path / "out")) == len(whole)
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)
    assert in_order_of_each_user(tmp_path / "out")
    sizes = Counter(path.name[:8] for path in (tmp_path / "out").glob("*.parquet"))
    rows = Counter(row[0] for row in exported(tmp_path / "out"))
    assert sum(sizes.values()) <= sum(-(-held // PART) for held in rows.values())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_at_any_step_goes_on(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """At each of its renames and removals, with news and a deletion to bring: nothing is lost, doubled or kept."""
    append(backend, events(14), named=True)
    export_log(backend.url, tmp_path / "base", PART)
    use(backend, partial(delete_event, USERS[0], logged(backend, USERS[:1])[0][4]))
    append(backend, events(6, seed=4))
    kill = Kill(monkeypatch, when)
    for step in count(1):
        trial = tmp_path / f"killed-{step}"
        shutil.copytree(tmp_path / "base", trial)
        kill.at = step
        try:
            export_log(backend.url, trial, PART)
        except Killed:
            rows = exported(trial)
            assert len({(user, sequence) for user, *_, sequence, _ in rows}) == len(rows)
            assert in_order_of_each_user(trial)
        else:
            break
        kill.at = 0
        export_log(backend.url, trial, PART)
        assert sorted(exported(trial)) == logged(backend, USERS)
        assert not list(trial.glob("*.aside"))
    assert step >= 5


class Kill:
    """Kills at the step `at`, counted in renames and removals, 0 for never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
        self.at = 0
        self._when = when
        for name in ("replace", "unlink"):
            monkeypatch.setattr(Path, name, self._step(getattr(Path, name)))

    def _step(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            self.at -= 1
            if self.at == 0 and self._when == "before":
                raise Killed
            result = real(*arguments)
            if self.at == 0:
                raise Killed
            return result

        return call


async def delete_event(user: str, event_id: str, store: Store) -> None:
    assert await store.delete_event(user, event_id)


def test_what_was_deleted_leaves_the_export(backend: Backend, tmp_path: Path) -> None:
    append(backend, [(user, f"item {n}", float(n)) for n in range(6) for user in (*USERS, "gone-user")])
    export_log(backend.url, tmp_path / "out", PART)

    async def delete(store: Store) -> None:
        await store.delete_user("gone-user")
        await store.delete_event(USERS[0], "seq-2")

    use(backend, delete)
    assert export_log(backend.url, tmp_path / "out", PART).reread >= 1
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)
    assert not any(b"gone-user" in content for _, content in files(tmp_path / "out").values())
    # Begun anew, with sequences that were used before.
    append(backend, [("gone-user", "new item", 1.0)])
    assert export_log(backend.url, tmp_path / "out", PART).reread == 0
    assert [row for row in exported(tmp_path / "out") if row[0] == "gone-user"] == logged(backend, ["gone-user"])


def test_a_merge_leaves_each_event_once(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(30), named=True)
    export_log(backend.url, tmp_path / "out", PART)
    use(backend, merge(USERS[0], USERS[1]))
    use(backend, merge("new", USERS[4]))
    assert export_log(backend.url, tmp_path / "out", PART).reread
    rows = exported(tmp_path / "out")
    assert len(rows) == len({row[4] for row in rows}) == len(set(events(30)))
    assert sorted(rows) == logged(backend, [*USERS, "new"])
    assert in_order_of_each_user(tmp_path / "out")
    assert export_log(backend.url, tmp_path / "out", PART).added == 0


@pytest.mark.parametrize("written", [1, 2, 3])
def test_a_merge_while_the_log_is_read(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    append(backend, events(30), named=True)
    write, parts = export._write_part, count(1)

    def write_and_merge(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        if next(parts) == written:
            for target, source in ((0, 1), (4, 0), (7, 4)):
                use(backend, merge(USERS[target], USERS[source]))

    monkeypatch.setattr(export, "_write_part", write_and_merge)
    export_log(backend.url, tmp_path / "out", PART)
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)
    assert in_order_of_each_user(tmp_path / "out")


def merge(user: str, source: str) -> Callable[[Store], Awaitable[object]]:
    async def work(store: Store) -> object:
        return await store.merge(user, source)

    return work


def test_what_retention_removed_stays_until_its_user_is_deleted(backend: Backend, tmp_path: Path) -> None:
    append(backend, [("u", f"old {n}", float(n)) for n in range(3)], keep=3)
    export_log(backend.url, tmp_path / "out", PART)
    append(backend, [("u", f"new {n}", float(n)) for n in range(3)], keep=3)
    export_log(backend.url, tmp_path / "out", PART)
    assert [row[1] for row in exported(tmp_path / "out")] == ["old 0", "old 1", "old 2", "new 0", "new 1", "new 2"]

    async def delete(store: Store) -> None:
        for sequence in (4, 5, 6):
            assert await store.delete_event("u", f"seq-{sequence}")
        assert await store.delete_user("u") == 0

    use(backend, delete)
    export_log(backend.url, tmp_path / "out", PART)
    assert exported(tmp_path / "out") == []


def test_a_log_that_begins_again_is_read_again(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(30))
    export_log(backend.url, tmp_path / "out", PART)
    if isinstance(backend, SqliteBackend):
        for path in backend.path.parent.glob("events.db*"):
            path.unlink()
        use(backend, lambda store: store.ping())
    elif isinstance(backend, RedisBackend):
        with backend.client() as client:
            client.flushall()
    export_log(backend.url, tmp_path / "out", PART)
    assert exported(tmp_path / "out") == []
    append(backend, events(5, seed=1))
    export_log(backend.url, tmp_path / "out", PART)
    assert sorted(exported(tmp_path / "out")) == logged(backend, USERS)


def test_histories_are_read_in_order_of_sequence(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(40))
    export_log(backend.url, tmp_path / "out", PART)
    data = read_interactions(tmp_path / "out")
    wanted: dict[str, list[str]] = {}
    for user, item, *_ in sorted(logged(backend, USERS), key=lambda row: row[3]):
        wanted.setdefault(user, []).append(item)
    found = {
        user: [data.item_ids[row - 1] for row in data.rows[data.offsets[n] : data.offsets[n + 1]]]
        for n, user in enumerate(data.user_ids)
    }
    assert found == wanted


def test_memory_is_bounded_by_a_part(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(backend, [("u", f"item {n}", float(n)) for n in range(50)])
    written = []
    real = export._write_part

    def spy(path: Path, table: object, position: tuple[int, ...]) -> None:
        written.append(table.num_rows)  # type: ignore[attr-defined]
        real(path, table, position)

    monkeypatch.setattr(export, "_write_part", spy)
    monkeypatch.setattr(export, "_BATCH", 3)
    export_log(backend.url, tmp_path / "out", 8)
    assert written == [8, 8, 8, 8, 8, 8, 2]


def test_an_empty_log_gives_an_empty_folder(backend: Backend, tmp_path: Path) -> None:
    use(backend, lambda store: store.ping())
    assert export_log(backend.url, tmp_path / "out").events == 0
    with pytest.raises(DataError, match="holds no Parquet files"):
        read_interactions(tmp_path / "out")


def test_one_folder_is_for_one_log(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(3))
    export_log(backend.url, tmp_path / "out")
    other = SqliteBackend(tmp_path / "other.db")
    append(other, events(3))
    with pytest.raises(DataError, match="holds the export of"):
        export_log(other.url, tmp_path / "out")


def test_what_is_not_an_export_is_refused(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(5))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match="holds other Parquet files"):
        export_log(backend.url, tmp_path / "mine")
    export_log(backend.url, tmp_path / "out")
    sorted((tmp_path / "out").glob("*.parquet"))[-1].write_bytes(b"PAR1 damaged")
    with pytest.raises(DataError, match="not a part of an export"):
        export_log(backend.url, tmp_path / "out")
    (tmp_path / "out" / "export.json").write_text("[]")
    with pytest.raises(DataError, match="not the state of an export"):
        export_log(backend.url, tmp_path / "out")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////nonexistent/events.db", "there is no event log"),
        ("sqlite:///", "must begin with"),
        ("postgres://me:secret@host/db", "must begin with"),
        ("redis://me:secret@127.0.0.1:1/0", "redis://127.0.0.1:1/0 cannot be read"),
        ("redis://me:secret@host:port/0", "malformed"),
    ],
)
def test_a_log_that_cannot_be_read_is_named_without_its_password(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as refused:
        export_log(url, tmp_path / "out")
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_event_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("my notes " * 200)
    with pytest.raises(DataError, match="cannot be read"):
        export_log(f"sqlite:///{tmp_path}/notes.db", tmp_path / "out")
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(DataError, match="not an event log of format 2"):
        export_log(f"sqlite:///{tmp_path}/theirs.db", tmp_path / "out")
