from __future__ import annotations

import pytest

from service.core.catalogue.filter_bitmaps import changed_rows
from service.core.catalogue.filter_bitmaps.changed_rows import ChangedRows


def test_rows_are_known_since_each_kept_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed_rows, "_KEPT", 10)
    log, appended = ChangedRows(), []
    for start in range(60):
        rows = [start * 7 % 13, start % 5] * (start % 8)
        log.append(rows)
        appended += rows
        assert log.position == len(appended)
        for position in range(log.position + 1):
            known = log.since(position)
            if known is None:
                assert log.position - position > 10
            else:
                assert known.tolist() == sorted(set(appended[position:]))


def test_more_rows_at_once_than_are_kept_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed_rows, "_KEPT", 10)
    log = ChangedRows()
    log.append(list(range(11)))
    assert log.since(0) is None
    assert log.since(1) is not None
    log.append([])
    assert log.since(11) is not None
