"""Check docstrings' first lines, words, sentences and sizes.

    python .ci/check_style.py [FOLDER ...]

Prints one line per finding, and exits with 1 if there is any. The rules are in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
FOLDERS = ("service", "ingest", "model", "loadtests", "tests", ".ci")

MAX_MODULES = 12  # in one package, without __init__
MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 50
MAX_KERNEL_LINES = 100
MAX_DOCSTRING_WORDS = 12
MAX_DOCSTRING_CHARACTERS = 100
MAX_SENTENCE_WORDS = 30  # in README and docs/

_OPENINGS = re.compile(r"(Who|Whose|Whoever|What|That which|For so long)\b")
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Retired words that have no other meaning in the prose of this project; the glossary's others are also plain English.
_RETIRED_IN_PROSE = re.compile(
    r"\b(memo|housekeeper|warmer|refold|follower|judged|verdict|lesson|recipe|seldom|live test|compiled filter)s?\b",
    re.IGNORECASE,
)
# Files that name retired words on purpose. Decisions tell what was, and so do the changelog and the glossary.
_MAY_NAME_RETIRED_WORDS = (
    ".ci/check_style.py",
    "tests/packaging/test_check_style.py",
    "docs/glossary.md",
    "docs/decisions",
    "model/training/publishing/torch_checkpoint.py",  # pickle's memo
)
_NO_SENTENCES = ("docs/glossary.md", "docs/decisions", "docs/configuration.md")  # tables and records
_SENTENCE_END = re.compile(r"(?<=[.!?])[\s)\"*]+")
_LUA_NAME = re.compile(r"\b(?:local|function)\s+(?:function\s+)?([\w, ]+)")

Finding = tuple[Path, int, str]


def retired_words(glossary: str) -> frozenset[str]:
    """Return words of the glossary's last column, with endings."""
    rows = [line.strip().strip("|").split("|") for line in glossary.splitlines() if line.startswith("| ")]
    words = {word.strip().lower() for row in rows[1:] for word in row[-1].split(",")}
    single = {word for word in words if word and " " not in word}
    return frozenset(word + ending for word in single for ending in ("", "s", "d", "ed", "ing"))


RETIRED = retired_words(GLOSSARY.read_text("utf-8"))


def main(folders: list[str]) -> int:
    """Print the findings in `folders` (default: all) and return 1 for any."""
    found = [finding for folder in folders or FOLDERS for finding in check_folder(ROOT / folder)]
    if not folders:
        found += check_pages(ROOT)
    found.sort()
    for path, line, message in found:
        print(f"{path.relative_to(ROOT)}:{line}: {message}")
    if found:
        print(f"{len(found)} findings; CONTRIBUTING.md has the rules.")
    return 1 if found else 0


def check_folder(folder: Path) -> Iterator[Finding]:
    """Yield all findings below `folder`."""
    sources = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".lua") and path.is_file())
    yield from check_packages(sources)
    for path in sources:
        text = path.read_text("utf-8")
        if (lines := text.count("\n")) > MAX_FILE_LINES:
            yield path, 1, f"{lines} lines; at most {MAX_FILE_LINES}"
        yield from check_words(path, 1, path.stem)
        yield from check_lua(path, text) if path.suffix == ".lua" else check_python(path, ast.parse(text))
        yield from check_prose(path, lua_comments(text) if path.suffix == ".lua" else python_prose(text))


def check_pages(root: Path) -> Iterator[Finding]:
    """Yield findings in the documentation and in YAML files."""
    pages = [
        root / "README.md",
        root / "CONTRIBUTING.md",
        root / "SECURITY.md",
        *sorted((root / "docs").rglob("*.md")),
    ]
    for path in [*pages, *sorted(root.glob("*.yml"))]:
        text = path.read_text("utf-8")
        yield from check_prose(path, enumerate(text.splitlines(), start=1))
        if path.suffix == ".md" and not _is_in(path, _NO_SENTENCES):
            yield from check_sentences(path, text)


def check_packages(sources: list[Path]) -> Iterator[Finding]:
    """Yield packages with too many modules.

    Tests mirror the tree, one or several files a module, so their packages have no bound.
    """
    packages = Counter(path.parent for path in sources if path.stem != "__init__" and "tests" not in path.parts)
    for package, modules in packages.items():
        if modules > MAX_MODULES:
            yield package, 0, f"{modules} modules; at most {MAX_MODULES}"


def check_prose(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Finding]:
    """Yield retired words in comments, docstrings and pages."""
    if _is_in(path, _MAY_NAME_RETIRED_WORDS):
        return
    for number, line in lines:
        for word in _RETIRED_IN_PROSE.findall(line):
            yield path, number, f"{word!r} is retired; docs/glossary.md has the word to use"


def check_sentences(path: Path, page: str) -> Iterator[Finding]:
    """Yield long sentences of a page; code, tables and comments are skipped."""
    page = re.sub(r"^ *```.*?^ *```|<!--.*?-->", lambda match: "\n" * match[0].count("\n"), page, flags=re.M | re.S)
    number, paragraph, start = 0, "", 1
    for number, line in enumerate([*page.splitlines(), ""], start=1):
        text = line.strip()
        is_break = not text or text.startswith(("|", "#", "- ")) or re.match(r"\d+\. ", text)
        if is_break and paragraph:
            for sentence in _SENTENCE_END.split(paragraph):
                if (words := len(sentence.split())) > MAX_SENTENCE_WORDS:
                    yield path, start, f"a sentence has {words} words; at most {MAX_SENTENCE_WORDS}: {sentence[:40]}"
            paragraph = ""
        if text and not text.startswith(("|", "#")):
            start, paragraph = (start, f"{paragraph} {text}") if paragraph else (number, text)


def python_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a module's comments and docstrings."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            yield from enumerate(ast.get_docstring(node, clean=False).splitlines(), start=node.body[0].lineno)


def lua_comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments of a script."""
    for number, line in enumerate(source.splitlines(), start=1):
        yield number, line.partition("--")[2]


def _is_in(path: Path, prefixes: tuple[str, ...]) -> bool:
    """Return whether a path in the repository has one of the prefixes."""
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).as_posix().startswith(prefixes)


def check_python(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """Yield findings in docstrings, function lengths and defined names."""
    yield from check_docstring(path, 1, ast.get_docstring(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from check_docstring(path, node.lineno, ast.get_docstring(node))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from check_length(path, node)
        for name in defined_names(node):
            yield from check_words(path, getattr(node, "lineno", 1), name)


def check_docstring(path: Path, line: int, docstring: str | None) -> Iterator[Finding]:
    """Yield a first line that is long or has a forbidden start."""
    first = (docstring or "").split("\n", 1)[0]
    if _OPENINGS.match(first):
        yield path, line, f"docstring begins with {first.split()[0]!r}: name the thing, or say what the function does"
    if len(first.split()) > MAX_DOCSTRING_WORDS or len(first) > MAX_DOCSTRING_CHARACTERS:
        yield path, line, f"docstring's first line has {len(first.split())} words; at most {MAX_DOCSTRING_WORDS}"


def check_length(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Finding]:
    """Yield functions that exceed a screen; kernels may take two screens."""
    decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
    limit = MAX_KERNEL_LINES if re.search(r"\b(kernel|reduction|jit)\b", decorators) else MAX_FUNCTION_LINES
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if length > limit:
        yield path, node.lineno, f"{node.name} has {length} lines; at most {limit}"


def defined_names(node: ast.AST) -> Iterator[str]:
    """Yield names that this node defines, not those of other libraries."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr


def check_lua(path: Path, text: str) -> Iterator[Finding]:
    """Yield findings in the defined names of one script."""
    for line, content in enumerate(text.splitlines(), start=1):
        if match := _LUA_NAME.search(content.split("--")[0]):
            for name in match[1].split(","):
                yield from check_words(path, line, name.strip())


def check_words(path: Path, line: int, name: str) -> Iterator[Finding]:
    """Yield retired words among the tokens of a name."""
    for word in sorted({token.lower() for token in _TOKEN.findall(name)} & RETIRED):
        yield path, line, f"{name}: {word!r} is retired; docs/glossary.md has the word to use"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
