"""The style check finds each thing that it is for."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

CHECK = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "check_style.py"))
PATH = Path("module.py")


def findings(source: str) -> list[str]:
    return [message for _, _, message in CHECK["check_python"](PATH, ast.parse(source))]


@pytest.mark.parametrize(
    "docstring",
    [
        "Who asks nothing is not waiting.",
        "What the processes on one store serve.",
        "For so long that the work was no more than a share.",
        "One two three four five six seven eight nine ten eleven twelve thirteen.",
        "A" * 101,
    ],
)
def test_riddles_and_long_first_lines_are_found(docstring: str) -> None:
    assert len(findings(f'def function() -> None:\n    """{docstring}"""\n')) == 1


def test_plain_first_line_with_a_long_second_paragraph_passes() -> None:
    assert findings(f'"""Append one event.\n\nWhat follows may be long: {"word " * 30}\n"""\n') == []


@pytest.mark.parametrize("name", ["memo", "put_memos", "MemoWriter", "_fold_state", "swapNote", "PLACES_KEPT"])
def test_retired_words_are_found_as_tokens(name: str) -> None:
    assert len(findings(f"{name} = 1\n")) == 1


@pytest.mark.parametrize(
    "name", ["memory", "returned", "replacement", "folder", "displaced", "annotations", "turnout"]
)
def test_words_that_contain_retired_ones_pass(name: str) -> None:
    assert findings(f"{name} = 1\n") == []


def test_foreign_names_may_be_used() -> None:
    assert findings("numpy.place(array, mask, values)\n") == []


def test_long_functions_are_found_and_kernels_may_be_longer() -> None:
    body = "    pass\n" * 60
    assert len(findings(f"def function() -> None:\n{body}")) == 1
    assert findings(f"@kernel\ndef function() -> None:\n{body}") == []


def test_rooms_with_too_many_modules_are_found() -> None:
    modules = [Path("room") / f"module_{number}.py" for number in range(13)]
    assert len(list(CHECK["check_rooms"](modules))) == 1
    assert list(CHECK["check_rooms"]([*modules[:12], Path("room") / "__init__.py"])) == []


def test_lua_names_are_checked() -> None:
    assert len(list(CHECK["check_lua"](PATH, "local memo, other = 1, 2 -- local note\n"))) == 1
