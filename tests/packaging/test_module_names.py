"""Names of modules, which are unique in the tree."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
PRODUCT = ("service", "model", "ingest", "loadtests")
NAMES_OF_EVERY_PACKAGE = ("__init__", "__main__", "errors")
# Packages with one implementation each of the same parts.
PARALLEL_BACKENDS = (
    {"service/store/redis", "service/store/sqlite"},
    {"model/ops/causal_conv", "model/ops/gated_scan", "model/ops/softmax_loss"},
)
ROUTES, CORE = "service/api/routes", "service/core"


def shared_names(paths: list[PurePosixPath]) -> dict[str, list[str]]:
    """Return the names that several modules have without a reason."""
    folders: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        if path.stem not in NAMES_OF_EVERY_PACKAGE:
            folders[path.stem].add(str(path.parent))
    return {name: sorted(found) for name, found in folders.items() if len(found) > 1 and not _may_share(found)}


def _may_share(folders: set[str]) -> bool:
    """Return whether the folders may have a module of one name."""
    if any(folders <= backends for backends in PARALLEL_BACKENDS):
        return True
    routes = {folder for folder in folders if folder.startswith(ROUTES)}
    return len(routes) <= 1 and len(folders - routes) <= 1 and all(f.startswith(CORE) for f in folders - routes)


def test_module_names_are_unique() -> None:
    paths = [path.relative_to(ROOT) for folder in PRODUCT for path in (ROOT / folder).rglob("*.py")]
    assert shared_names([PurePosixPath(path) for path in paths]) == {}


def test_name_of_two_unrelated_modules_is_found() -> None:
    assert shared_names([PurePosixPath("model/a/items.py"), PurePosixPath("service/core/items.py")]) == {
        "items": ["model/a", "service/core"]
    }


def test_route_may_have_the_name_of_its_core() -> None:
    assert shared_names([PurePosixPath("service/api/routes/items.py"), PurePosixPath("service/core/items.py")]) == {}
