"""CUDA engine with its kernels, against the CPU engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.bundle.bundle import Bundle
from service.core.engine_requests import AllowedRows, EngineRequest, TopK
from service.core.errors import StateDamagedError
from service.engine.cpu.cpu_engine import CpuEngine
from service.engine.cuda.cuda_engine import CudaEngine
from tests.engine.conftest import ids, run
from tests.engine.cuda.comparison import assert_same_results, compare_engine
from tests.engine.extended import Vectors, append, new_vectors, with_encoder
from tests.model.builders import CONFIGS, bundle_of
from tests.model.ops.interpreter import needs_triton, run_interpreted

_INTERPRETED = """
from service.engine.cuda import captured_search, request_pipeline
from tests.engine.cuda.comparison import compare_engine

request_pipeline.SIZES = captured_search._SIZES = (1, 4, 16)
captured_search.MAX_FILTERS = 2
compare_engine({name!r}, "cpu", crowd_size=3, is_extended={is_extended}, every={every})
print("ok")
"""


@needs_triton
@pytest.mark.parametrize(("name", "is_extended"), [("deep", False), ("typed", False), ("typed", True)])
def test_interpreted_kernels_give_the_cpu_engines_results(name: str, is_extended: bool) -> None:
    done = run_interpreted(_INTERPRETED.format(name=name, is_extended=is_extended, every=6 if is_extended else 1))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("is_extended", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_kernels_give_the_cpu_engines_results(name: str, is_extended: bool) -> None:
    compare_engine(name, "cuda", is_extended=is_extended)


def test_more_appended_items_than_the_device_has_room_for_are_found() -> None:
    bundle, vectors = with_encoder(bundle_of(CONFIGS["default"], seed=4)), new_vectors(12, CONFIGS["default"].dim)
    engine, reference = CudaEngine(bundle, 20, "cpu", room=4), CpuEngine(bundle, 20)
    whole = TopK(100, exclude_seen=False, allowed=AllowedRows.of(np.ones(len(bundle.items) + 13, np.bool_)))
    histories = [("i3", "i51"), ("i62",), tuple(f"i{row}" for row in range(40, 64))]
    requests = [EngineRequest(None, history, whole) for history in histories]
    for seed in (7, 8):  # after a failover the items are others
        for each in (engine, reference):
            append(each, new_vectors(12, CONFIGS["default"].dim, seed), [3])
        assert_same_results(engine, reference, requests)
        assert ids(engine.similar("i62", 5, whole.allowed)) == ids(reference.similar("i62", 5, whole.allowed))
        for each in (engine, reference):
            each.reset_extension()
        assert_same_results(engine, reference, [request._replace(query=TopK(5, False)) for request in requests])
    lost = run(reference_with(bundle, vectors), ("i62",)).state
    assert [type(result) for result in engine.run([EngineRequest(lost, (), None)])] == [StateDamagedError]


def reference_with(bundle: Bundle, vectors: Vectors) -> CpuEngine:
    engine = CpuEngine(bundle, 20)
    append(engine, vectors)
    return engine
