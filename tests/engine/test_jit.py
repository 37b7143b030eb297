"""Compilation of kernels: cached between starts, complete after warm-up."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numba
import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from service.engine import jit
from tests.environment import run_python
from tests.model.builders import bundle_of

# One server's start, then all kinds of requests: for these, nothing may be left to compile.
START = """
import json, sys
from pathlib import Path
import numpy as np
from model.bundle.bundle import load_bundle
from service.core.engine_requests import AllowedRows, EngineRequest, RankCandidates, TopK
from service.engine.jit import statistics
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


def start(bundle: Path, cache: Path, large: int) -> dict[str, list[int]]:
    ran = run_python("-c", START, str(bundle), str(large), environment={"NUMBA_CACHE_DIR": str(cache)})
    assert ran.returncode == 0, ran.stderr
    found: dict[str, list[int]] = json.loads(ran.stdout)
    return found


def test_second_start_compiles_nothing(tmp_path: Path) -> None:
    write_bundle(tmp_path / "v1", bundle_of(ModelConfig(items=60, dim=8)))
    write_bundle(tmp_path / "v2", bundle_of(ModelConfig(items=90, dim=20, expansion=1, layers=3, start_token=False)))
    first = start(tmp_path / "v1", tmp_path / "cache", large=1)
    assert all(built for _, built in first.values())
    without_index = start(tmp_path / "v1", tmp_path / "cache", large=10**9)
    assert {name for name, (_, built) in without_index.items() if built} == {"_rank_targets"}  # an index has its own
    first |= without_index
    for bundle, large in (("v1", 1), ("v2", 1), ("v2", 10**9)):
        again = start(tmp_path / bundle, tmp_path / "cache", large)
        assert {"replay", "_search_table"} <= set(again) <= set(first)
        assert all((hits, built) == (1, 0) for hits, built in again.values()), again


def test_kernel_is_compiled_without_cache_if_no_folder_is_writable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = numba.njit

    def njit(*functions: Any, **options: Any) -> Any:  # numba decorates functions of its own with it, too
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return original(*functions, **options)

    def twice(value: int) -> int:
        return 2 * value

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(jit, "_dispatchers", [])
    assert jit.kernel(twice)(21) == 42
    assert jit.statistics() == {"twice": (0, 1)}
    with caplog.at_level(logging.WARNING):
        jit.log_compilation(12.3, jit.compilations())
    assert "NUMBA_CACHE_DIR" in caplog.text


CALLER = """
from kernels.callee import increment
from service.engine.jit import kernel

@kernel
def caller(value):
    return increment(value)
"""
CALLEE = """
from service.engine.jit import kernel

@kernel
def increment(value):
    return value + {step}
"""
CALL = """
import json
from kernels.caller import caller
from service.engine.jit import statistics
print(json.dumps([caller(1), statistics()["caller"]]))
"""


def test_kernel_is_recompiled_if_another_file_of_its_folder_changes(tmp_path: Path) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "caller.py").write_text(CALLER)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def result_and_statistics() -> list[Any]:
        ran = run_python("-c", CALL, environment=environment)
        assert ran.returncode == 0, ran.stderr
        found: list[Any] = json.loads(ran.stdout)
        return found

    (folder / "callee.py").write_text(CALLEE.format(step=1))
    assert result_and_statistics() == [2, [0, 1]]
    assert result_and_statistics() == [2, [1, 0]]
    (folder / "callee.py").write_text(CALLEE.format(step=20))
    assert result_and_statistics() == [21, [0, 1]]


def cached_files(folder: Path, ending: str) -> list[Path]:
    return [path for path in folder.rglob(f"*.{ending}") if "caller" in path.name]


@pytest.mark.parametrize(("ending", "damage"), [("nbi", "flipped"), ("nbi", "folder"), ("nbc", "half")])
def test_damaged_cache_is_replaced_with_one_log_line(tmp_path: Path, ending: str, damage: str) -> None:
    environment = call_environment(tmp_path)
    assert run_python("-c", CALL, environment=environment).returncode == 0
    [path] = cached_files(tmp_path / "cache", ending)
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        path.write_bytes(flipped if damage == "flipped" else data[: len(data) // 2])
    ran = run_python("-c", CALL, environment=environment)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [2, [0, 1]]
    assert "cached machine code" in ran.stderr
    assert "Traceback" not in ran.stderr
    if damage != "folder":
        assert json.loads(run_python("-c", CALL, environment=environment).stdout) == [2, [1, 0]]


def test_full_cache_folder_does_not_stop_the_start(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    warn = "\nfrom service.engine.jit import log_compilation; log_compilation(1.0, 1)"
    ran = run_python("-c", limit + CALL + warn, environment=call_environment(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [2, [0, 1]]
    assert ran.stderr.count("cannot write cached machine code") == 1
    assert "NUMBA_CACHE_DIR" in ran.stderr


def call_environment(folder: Path) -> dict[str, str]:
    (folder / "kernels").mkdir()
    (folder / "kernels" / "caller.py").write_text(CALLER)
    (folder / "kernels" / "callee.py").write_text(CALLEE.format(step=1))
    return {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(folder)}
