"""Questions of users with tastes, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.environment.synthetic_catalogue import write_catalogue
from loadtests.scenarios.filtered_questions import questions
from loadtests.scenarios.filtered_questions.questions import FILTERS, USERS, Questions


def test_answers_are_checked_against_an_exact_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Questions(tmp_path / "bundle", write_catalogue(tmp_path / "bundle", DEMO_BUNDLE, 3000, 1), 1)
    asked: list[str] = []

    def answer(port: int, method: str, path: str) -> dict[str, object]:
        asked.append(path)
        user = int(path.split("/")[3][1:])
        chosen = made._items.chosen("liked", 0.1, made._vectors[user], user)
        rows = made._items.allowed(chosen).nonzero()[0]
        scores = made._engine._search._table[rows] @ made._vectors[user]  # type: ignore[attr-defined]
        best = [row for row in rows[(-scores).argsort()].tolist() if made._ids[row - 1] not in made._histories[user]]
        wrong = 1 if user else next(row for row in range(1, 3000) if row not in rows)
        return {"items": [{"item_id": made._ids[row - 1]} for row in (*best[:9], wrong if not user else best[9])]}

    monkeypatch.setattr(questions, "request_json", answer)
    checked = made.check(0, "liked", 0.1)
    assert checked["forbidden"] == 1
    assert checked["recall@10"] == pytest.approx(1 - 1 / (10 * FILTERS), abs=0.001)
    assert len(asked) == FILTERS


def test_each_user_asks_with_the_filter_of_the_own_taste(tmp_path: Path) -> None:
    made = Questions(tmp_path / "bundle", write_catalogue(tmp_path / "bundle", DEMO_BUNDLE, 300, 1), 1)
    plain, filtered = made.requests(), made.requests("random", 0.01)
    assert len(plain) == len(filtered) == USERS
    assert b"filter" not in plain[3].raw
    assert b"/v1/users/u43/recommendations?k=10&filter_name=random_100_3" in filtered[43].raw
