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
def test_forbidden_openings_and_long_first_lines_are_found(docstring: str) -> None:
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


def test_packages_with_too_many_modules_are_found() -> None:
    modules = [Path("package") / f"module_{number}.py" for number in range(13)]
    assert len(list(CHECK["check_packages"](modules))) == 1
    assert list(CHECK["check_packages"]([*modules[:12], Path("package") / "__init__.py"])) == []


def test_lua_names_are_checked() -> None:
    assert len(list(CHECK["check_lua"](PATH, "local memo, other = 1, 2 -- local note\n"))) == 1


@pytest.mark.parametrize("word", ["memo", "Memos", "housekeeper", "judged", "seldom"])
def test_retired_words_in_prose_are_found(word: str) -> None:
    python = f'"""Store a state.\n\nThe {word} is old.\n"""\nNAME = 1  # a {word}\n'
    assert [line for line, text in CHECK["python_prose"](python) if word in text] == [5, 3]
    for lines in (
        CHECK["python_prose"](python),
        CHECK["lua_comments"](f"return 1 -- the {word}\nreturn 2 -- {word}\n"),
    ):
        assert len(list(CHECK["check_prose"](PATH, lines))) == 2


def test_retired_words_in_code_and_strings_are_no_prose() -> None:
    assert list(CHECK["check_prose"](PATH, CHECK["python_prose"]('print("memo")\n'))) == []


def test_pages_and_yaml_files_are_checked(tmp_path: Path) -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/api.md", "compose.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("# Memos\n")
    assert len(list(CHECK["check_pages"](tmp_path))) == 5


@pytest.mark.parametrize(("words", "found"), [(30, 0), (31, 1)])
def test_sentences_over_thirty_words_are_found(words: int, found: int) -> None:
    page = f"# Title\n\nShort one. {'word ' * 15}\n{'word ' * (words - 16)}end. Another one.\n"
    assert len(list(CHECK["check_sentences"](PATH, page))) == found


@pytest.mark.parametrize("block", ["```sh\n{}\n```\n", "| {} |\n", "<!-- {} -->\n"])
def test_code_tables_and_comments_are_no_sentences(block: str) -> None:
    assert list(CHECK["check_sentences"](PATH, block.format("word " * 40))) == []
