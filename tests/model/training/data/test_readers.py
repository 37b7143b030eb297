"""Readers of event files: formats, timestamps and damaged rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.training.data.interactions import read_interactions
from model.training.errors import DataError


@pytest.mark.usefixtures("chunk_size")
@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("1", "1.5"),
        ("2024-09-30T10:00:00Z", "2024-09-30T10:00:01.5Z"),
        ("2024-09-30 10:00:00", "2024-09-30 10:00:00.25"),
    ],
)
def test_later_timestamps_may_have_fractions(tmp_path: Path, early: str, late: str) -> None:
    rows = [f"u,i{n},{late if n == 0 else early}" for n in range(200, -1, -1)]
    (tmp_path / "e.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    data = read_interactions(tmp_path / "e.csv")
    assert data.item_ids[data.rows[-1] - 1] == "i0"
    assert data.item_ids[data.rows[0] - 1] == "i200"


@pytest.mark.parametrize("suffix", [".csv", ".inter"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("u,i", "Expected 3 columns, got 2"),
        ("u,i,noon", "invalid value 'noon'"),
        ("u,,5", "no item_id"),
        ("u,i,nan", "NaN"),
    ],
)
def test_bad_row_is_reported_with_its_line(tmp_path: Path, suffix: str, row: str, message: str) -> None:
    path = tmp_path / f"e{suffix}"
    # Far enough into the file to be in a later chunk.
    text = "\n".join(["user_id,item_id,timestamp", *["u,i,5.5"] * 2_000_000, row, "u,i,6.5"]) + "\n"
    path.write_text(text if suffix == ".csv" else text.replace(",", "\t"))
    with pytest.raises(DataError, match=message) as raised:
        read_interactions(path)
    assert str(raised.value).startswith(f"{path}:2000002 ")


def test_text_that_is_not_utf8_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "e.txt").write_bytes(b"a 1 2\nb 3 \xff\n")
    with pytest.raises(DataError, match=r"e\.txt:2 "):
        read_interactions(tmp_path / "e.txt")
