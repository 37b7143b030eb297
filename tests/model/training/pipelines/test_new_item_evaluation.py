"""The command `evaluate --hold-out-items`, from files to the report."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from model.training.__main__ import main
from model.training.content.held_out_items import is_held_out

OPTIONS = "--dim 8 --layers 1 --epochs 30 --evaluate-every 30 --window 8 --batch 16 --learning-rate 0.02 --device cpu"
KINDS, ITEMS = 4, 80


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Users who stay with one kind of item, which its content names."""
    draw = random.Random(3)
    lines = ["user_id,item_id,timestamp"]
    for user in range(120):
        for event in range(10):
            item = KINDS * draw.randrange(ITEMS // KINDS) + user % KINDS
            lines.append(f"u{user},i{item},{1_700_000_000 + 1000 * event + user}")
    (tmp_path / "events.csv").write_text("\n".join(lines) + "\n")
    items = [{"item_id": f"i{item}", "categories": [f"kind {item % KINDS}"]} for item in range(ITEMS)]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    return tmp_path / "events.csv", tmp_path / "items.jsonl"


def evaluate(files: tuple[Path, Path], out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    events, items = files
    command = ["evaluate", str(events), "--items", str(items), "--hold-out-items", "0.2", "--out", str(out)]
    code = main([*command, *OPTIONS.split(), *more])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    result: dict[str, Any] = json.loads(captured.out)
    return result


def test_new_items_are_predicted_by_their_content_only(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(files, tmp_path / "out", capsys)
    last, by_time = result["evaluations"]
    assert (last["protocol"], by_time["protocol"]) == ("last events", "by time")
    for evaluation in (last, by_time):
        (seed,) = evaluation["seeds"]
        assert seed["new_items"] >= sum(is_held_out(f"i{item}", 0.2) for item in range(ITEMS))
        models = seed["models"]
        assert {*models} == {"content", "id_only", "content_knn", "popularity"}
        assert models["id_only"]["new"]["hr@10"]["mean"] == 0.0
        assert models["popularity"]["new"]["hr@10"]["mean"] == 0.0
        assert models["content_knn"]["new"]["hr@10"]["mean"] > 0.2
        assert models["id_only"]["other"]["hr@10"]["mean"] > 0.2
        assert models["content"]["all"]["ndcg@10"]["ci95"][0] < models["content"]["all"]["ndcg@10"]["ci95"][1]
    page = Path(result["report"]).read_text()
    assert "<svg" in page
    assert "content_knn, seed 1" in page
    assert "Protocol: by time" in page


def test_no_event_of_a_held_out_item_is_trained_on(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(files, tmp_path / "out", capsys)
    for checkpoint in (tmp_path / "out").rglob("checkpoint.safetensors"):
        header = checkpoint.read_bytes()[: 1 << 16].decode("utf-8", "replace")
        trained = ITEMS - sum(is_held_out(f"i{item}", 0.2) for item in range(ITEMS))
        assert f'\\"items\\": {trained}' in header


def test_seeds_are_averaged(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluate(files, tmp_path / "out", capsys, "--seeds", "2")
    last = result["evaluations"][0]
    values = [seed["models"]["content"]["other"]["ndcg@10"]["mean"] for seed in last["seeds"]]
    assert values[0] != values[1]
    assert last["mean"]["models"]["content"]["other"]["ndcg@10"] == pytest.approx(sum(values) / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hold-out-items", "0.2"], "needs --items and --out"),
        ([], "name the bundle and the events"),
    ],
)
def test_missing_options_are_refused(
    files: tuple[Path, Path], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(files[0]), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_items_of_another_catalogue_are_refused(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_text('{"item_id": "x", "title": "y"}')
    command = ["evaluate", str(files[0]), "--items", str(files[1]), "--hold-out-items", "0.2"]
    assert main([*command, "--out", str(tmp_path / "out"), *OPTIONS.split()]) == 2
    assert "has none of the items of the events" in capsys.readouterr().err
