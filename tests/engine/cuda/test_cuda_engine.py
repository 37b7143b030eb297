"""CUDA engine with its kernels, against the CPU engine."""

from __future__ import annotations

import pytest
import torch

from tests.model.builders import CONFIGS
from tests.model.ops.interpreter import needs_triton, run_interpreted

_INTERPRETED = """
from service.engine.cuda import captured_search, request_pipeline
from tests.engine.cuda.comparison import compare_engine

request_pipeline.SIZES = captured_search._SIZES = (1, 4, 16)
captured_search.MAX_FILTERS = 2
compare_engine({name!r}, "cpu", crowd_size=3)
print("ok")
"""


@needs_triton
@pytest.mark.parametrize("name", ["deep", "typed"])
def test_interpreted_kernels_give_the_cpu_engines_results(name: str) -> None:
    run = run_interpreted(_INTERPRETED.format(name=name))
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "ok"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", CONFIGS)
def test_kernels_give_the_cpu_engines_results(name: str) -> None:
    from tests.engine.cuda.comparison import compare_engine

    compare_engine(name, "cuda")
