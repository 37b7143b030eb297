"""Exports that are killed and run again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from model.training.data.export import export_log
from service.core.ports import Store
from tests.model.training.data.export_checks import PART_EVENTS, USERS, events, in_order_of_each_user
from tests.model.training.logs import append, exported, logged, use
from tests.store.backends import Backend


class Killed(BaseException):
    """Stand-in for SIGKILL: no `except Exception` catches it."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_run_killed_at_any_step_resumes(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Kill at each rename and removal, with changes to export."""
    append(backend, events(14), named=True)
    export_log(backend.url, tmp_path / "base", PART_EVENTS)
    use(backend, partial(delete_event, USERS[0], logged(backend, USERS[:1])[0][4]))
    append(backend, events(6, seed=4))
    kill = Kill(monkeypatch, when)
    for step in count(1):
        copy = tmp_path / f"killed-{step}"
        shutil.copytree(tmp_path / "base", copy)
        kill.at = step
        try:
            export_log(backend.url, copy, PART_EVENTS)
        except Killed:
            rows = exported(copy)
            assert len({(user, sequence) for user, *_, sequence, _ in rows}) == len(rows)
            assert in_order_of_each_user(copy)
        else:
            break
        kill.at = 0
        export_log(backend.url, copy, PART_EVENTS)
        assert sorted(exported(copy)) == logged(backend, USERS)
        assert not list(copy.glob("*.temporary"))
    assert step >= 5


class Kill:
    """Raise `Killed` at rename or removal number `at`; 0 means never."""

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
