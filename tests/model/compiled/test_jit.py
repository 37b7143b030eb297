"""Compilation of kernels: cached between starts, compiled again if it must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numba
import pytest

from model.compiled import jit
from tests.environment import run_python


def test_kernel_is_compiled_without_cache_if_no_folder_is_writable(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert jit.compilations() == 1
    assert jit.cache_folder() is None


CALLER = """
from kernels.callee import increment
from model.compiled.jit import kernel

@kernel
def caller(value):
    return increment(value)
"""
CALLEE = """
from model.compiled.jit import kernel

@kernel
def increment(value):
    return value + {step}
"""
CALL = """
import json
from kernels.caller import caller
from model.compiled.jit import statistics
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
    ask = "\nfrom model.compiled.jit import cache_folder; print(cache_folder())"
    ran = run_python("-c", limit + CALL + ask, environment=call_environment(tmp_path))
    assert ran.returncode == 0, ran.stderr
    result, folder = ran.stdout.splitlines()
    assert (json.loads(result), folder) == ([2, [0, 1]], "None")
    assert ran.stderr.count("cannot write cached machine code") == 1


def call_environment(folder: Path) -> dict[str, str]:
    (folder / "kernels").mkdir()
    (folder / "kernels" / "caller.py").write_text(CALLER)
    (folder / "kernels" / "callee.py").write_text(CALLEE.format(step=1))
    return {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(folder)}
