"""Check docstrings' first lines, retired words and sizes, which no linter knows.

    python .ci/check_style.py [FOLDER ...]

Prints one line per finding, and exits with 1 if there is any. The rules are in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
FOLDERS = ("service", "ingest", "model", "loadtests", "tests", ".ci")

MAX_MODULES = 12  # in one room, __init__ left out
MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 50
MAX_KERNEL_LINES = 100
MAX_DOCSTRING_WORDS = 12
MAX_DOCSTRING_CHARACTERS = 100

_OPENINGS = re.compile(r"(Who|Whose|Whoever|What|That which|For so long)\b")
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LUA_NAME = re.compile(r"\b(?:local|function)\s+(?:function\s+)?([\w, ]+)")

Finding = tuple[Path, int, str]


def retired_words(glossary: str) -> frozenset[str]:
    """Words of the glossary's last column, with their plurals and past tenses."""
    rows = [line.strip().strip("|").split("|") for line in glossary.splitlines() if line.startswith("| ")]
    words = {word.strip().lower() for row in rows[1:] for word in row[-1].split(",")}
    single = {word for word in words if word and " " not in word}
    return frozenset(word + ending for word in single for ending in ("", "s", "d", "ed", "ing"))


RETIRED = retired_words(GLOSSARY.read_text("utf-8"))


def main(folders: list[str]) -> int:
    """Print the findings in `folders` (default: all); 1 if there is any."""
    found = sorted(finding for folder in folders or FOLDERS for finding in check_folder(ROOT / folder))
    for path, line, message in found:
        print(f"{path.relative_to(ROOT)}:{line}: {message}")
    if found:
        print(f"{len(found)} findings; CONTRIBUTING.md has the rules.")
    return 1 if found else 0


def check_folder(folder: Path) -> Iterator[Finding]:
    """All findings below `folder`."""
    sources = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".lua") and path.is_file())
    yield from check_rooms(sources)
    for path in sources:
        text = path.read_text("utf-8")
        if (lines := text.count("\n")) > MAX_FILE_LINES:
            yield path, 1, f"{lines} lines; at most {MAX_FILE_LINES}"
        yield from check_words(path, 1, path.stem)
        yield from check_lua(path, text) if path.suffix == ".lua" else check_python(path, ast.parse(text))


def check_rooms(sources: list[Path]) -> Iterator[Finding]:
    """Rooms with too many modules.

    Tests mirror the tree, one or several files a module, so their rooms have no bound.
    """
    rooms = Counter(path.parent for path in sources if path.stem != "__init__" and "tests" not in path.parts)
    for room, modules in rooms.items():
        if modules > MAX_MODULES:
            yield room, 0, f"{modules} modules; at most {MAX_MODULES}"


def check_python(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """Docstrings, function lengths and defined names of one module."""
    yield from check_docstring(path, 1, ast.get_docstring(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from check_docstring(path, node.lineno, ast.get_docstring(node))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from check_length(path, node)
        for name in defined_names(node):
            yield from check_words(path, getattr(node, "lineno", 1), name)


def check_docstring(path: Path, line: int, docstring: str | None) -> Iterator[Finding]:
    """A first line that is long, or that begins like a riddle."""
    first = (docstring or "").split("\n", 1)[0]
    if _OPENINGS.match(first):
        yield path, line, f"docstring begins with {first.split()[0]!r}: name the thing, or say what the function does"
    if len(first.split()) > MAX_DOCSTRING_WORDS or len(first) > MAX_DOCSTRING_CHARACTERS:
        yield path, line, f"docstring's first line has {len(first.split())} words; at most {MAX_DOCSTRING_WORDS}"


def check_length(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Finding]:
    """Functions that exceed a screen; compiled kernels may take two screens."""
    decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
    limit = MAX_KERNEL_LINES if re.search(r"\b(kernel|reduction|jit)\b", decorators) else MAX_FUNCTION_LINES
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if length > limit:
        yield path, node.lineno, f"{node.name} has {length} lines; at most {limit}"


def defined_names(node: ast.AST) -> Iterator[str]:
    """Names that this node defines; names of other libraries are skipped."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr


def check_lua(path: Path, text: str) -> Iterator[Finding]:
    """Defined names of one script."""
    for line, content in enumerate(text.splitlines(), start=1):
        if match := _LUA_NAME.search(content.split("--")[0]):
            for name in match[1].split(","):
                yield from check_words(path, line, name.strip())


def check_words(path: Path, line: int, name: str) -> Iterator[Finding]:
    """Retired words among the tokens of a name."""
    for word in sorted({token.lower() for token in _TOKEN.findall(name)} & RETIRED):
        yield path, line, f"{name}: {word!r} is retired; docs/glossary.md has the word to use"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
