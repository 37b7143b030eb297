"""CPU engine: independence of torch, and the cost estimate."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from service.core.engine_requests import EngineRequest, RankCandidates, TopK
from service.engine.cpu.cpu_engine import CpuEngine
from tests.engine.conftest import DEMO
from tests.environment import run_python
from tests.model.builders import CONFIGS, bundle_of


def test_cost_grows_with_every_part_of_a_request() -> None:
    engine = CpuEngine(bundle_of(CONFIGS["default"]), 1000)

    def cost(*requests: EngineRequest) -> float:
        return engine.cost(requests)

    request = EngineRequest(None, ("i1",), TopK(10, exclude_seen=True))
    more = [
        cost(request, request),
        cost(request._replace(items=("i1", "i2"))),
        cost(request._replace(query=TopK(20, exclude_seen=True))),
        cost(request._replace(query=RankCandidates(("i1",) * 100))),
        cost(request._replace(evaluated=(0,))),
    ]
    assert cost() == 0 < cost(request._replace(query=None)) < cost(request) < min(more)
    assert (
        cost(EngineRequest(None, ("i1",) * 1000, None)) > 5e-3
    )  # a history that is rebuilt must not hold the event loop


@pytest.mark.parametrize("start", ["default", "two taps"])
def test_engine_runs_without_torch(start: str, tmp_path: Path) -> None:
    program = """
import sys
sys.modules["torch"] = None
from pathlib import Path
import service.engine
from model.bundle.bundle import load_bundle
from service.core.engine_requests import EngineRequest, TopK
from service.engine.cpu.cpu_engine import CpuEngine
engine = CpuEngine(load_bundle(Path(sys.argv[1])), 100)
first = load_bundle(Path(sys.argv[1])).items[0].item_id
print(len(engine.run([EngineRequest(None, (first,), TopK(5, exclude_seen=True))])[0].items))
"""
    write_bundle(tmp_path / "v1", bundle_of(CONFIGS[start]))
    for folder in (tmp_path / "v1", DEMO):
        ran = run_python("-c", program, str(folder))
        assert (ran.stdout.strip(), ran.returncode) == ("5", 0), ran.stderr
