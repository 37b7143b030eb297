"""Warm-up of an engine: machine code is complete and cached."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from service.engine import loader
from tests.environment import run_python
from tests.model.builders import bundle_of

# One server's start, then all kinds of requests: for these, nothing may be left to compile.
START = """
import json, sys
from pathlib import Path
import numpy as np
from model.bundle.bundle import load_bundle
from service.core.engine_requests import AllowedRows, EngineRequest, RankCandidates, TopK
from model.compiled.jit import statistics
from service.engine.cpu.cpu_engine import CpuEngine
from service.engine.loader import warm
engine = CpuEngine(load_bundle(Path(sys.argv[1])), 100, 0.5, min_indexed_items=int(sys.argv[2]))
warm(engine)
after_start = statistics()
some, few = (AllowedRows.of(np.arange(len(engine.item_ids) + 1) % n == 1) for n in (2, 40))
asks = (
    None, TopK(1, True), TopK(999, False), RankCandidates(("i1", "x")), RankCandidates(()),
    TopK(3, True, some), TopK(3, False, few, ("i1", "x")), TopK(3, True, None, ("i2",)), RankCandidates(("i1",), few),
)
states = [None, b"", b"abc", engine.run([EngineRequest(None, ("i2", "i3"), None)])[0].state]
for size in (1, 2, 3, 4, 5, 9):
    engine.run([EngineRequest(states[n % 4], ("i1", "x") * (n % 3), asks[n % 9]) for n in range(size)])
    engine.run([EngineRequest(states[3], ("i1",) * 40, asks[size % 9])] * size)
    engine.run([EngineRequest(states[3 * (size % 2)], ("i1", "i2"), None, (1,))] * size)
engine.run([EngineRequest(None, (), ask) for ask in asks])
engine.similar("i1", 7)
engine.similar("i1", 7, few, ("i3",))
engine.difference(states[3], engine.run([EngineRequest(None, (), None)])[0].state)
assert statistics() == after_start, (after_start, statistics())
print(json.dumps(after_start))
"""


LOAD = """
import asyncio, logging, sys
from pathlib import Path
from service.engine import loader
class Engine(loader.CpuEngine):
    def __init__(self, *arguments):
        print("loading")
        super().__init__(*arguments)
loader.CpuEngine = Engine
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
asyncio.run(loader.BundleLoader(Path(sys.argv[1]), 100).load(sys.argv[2]))
"""


def start(bundle: Path, cache: Path, large: int) -> dict[str, list[int]]:
    ran = run_python("-c", START, str(bundle), str(large), environment={"NUMBA_CACHE_DIR": str(cache)})
    assert ran.returncode == 0, ran.stderr
    found: dict[str, list[int]] = json.loads(ran.stdout)
    return found


@pytest.fixture(scope="module")
def precompiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Provide a cache that `--precompile` has filled, and its output."""
    cache = tmp_path_factory.mktemp("precompiled")
    return cache, precompile(cache)


def precompile(cache: Path) -> str:
    environment = {"NUMBA_CACHE_DIR": str(cache), "CUDA_VISIBLE_DEVICES": ""}
    done = run_python("-m", "service", "--precompile", environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_precompile_keeps_machine_code_and_prints_kernels(precompiled: tuple[Path, str]) -> None:
    cache, printed = precompiled
    *kernels, summary = printed.splitlines()
    assert all(line.endswith(": 1 compiled, 0 already in the cache") for line in kernels)
    assert summary.endswith(f": {len(kernels)} kernels compiled")
    assert len(list(cache.rglob("*.nbc"))) == len(kernels)
    assert precompile(cache).splitlines()[-1].endswith(": 0 kernels compiled")


def test_start_compiles_nothing_that_is_in_the_cache(tmp_path: Path, precompiled: tuple[Path, str]) -> None:
    cache = shutil.copytree(precompiled[0], tmp_path / "cache")
    write_bundle(tmp_path / "v1", bundle_of(ModelConfig(items=60, dim=8)))
    write_bundle(tmp_path / "v2", bundle_of(ModelConfig(items=90, dim=20, expansion=1, layers=3, start_token=False)))
    found = {}
    for bundle, large in (("v1", 10**9), ("v2", 10**9)):
        found = start(tmp_path / bundle, cache, large)
        assert {"replay", "_search_tables", "_rank_targets"} <= set(found)
        assert all((hits, built) == (1, 0) for hits, built in found.values()), found
    with_index = start(tmp_path / "v1", cache, large=1)
    of_index = {name for name, (_, built) in with_index.items() if built}
    assert of_index and of_index.isdisjoint(found)  # an index has kernels of its own
    for bundle in ("v1", "v2"):
        again = start(tmp_path / bundle, cache, large=1)
        assert of_index & set(again)
        assert all((hits, built) == (1, 0) for hits, built in again.values()), again


def test_first_load_says_that_it_takes_long_before_it_does(tmp_path: Path, precompiled: tuple[Path, str]) -> None:
    bundle = bundle_of(ModelConfig(items=60, dim=8))
    write_bundle(tmp_path / "v1", bundle)
    environment = {"NUMBA_CACHE_DIR": str(precompiled[0])}
    loaded = run_python("-c", LOAD, str(tmp_path), bundle.version, environment=environment)
    assert loaded.returncode == 0, loaded.stderr
    first, second, third = loaded.stdout.splitlines()
    assert first.startswith("warming up the engine; the first start compiles it")
    assert (second, third[:16]) == ("loading", "engine warmed up")


def test_warning_if_machine_code_could_not_be_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loader, "cache_folder", lambda: None)
    with caplog.at_level(logging.INFO):
        loader.log_warm_up(12.3, 1)
        loader.log_warm_up(0.4, 0)
    levels = [(record.levelno, "NUMBA_CACHE_DIR" in record.getMessage()) for record in caplog.records]
    assert levels == [(logging.WARNING, True), (logging.INFO, False)]
