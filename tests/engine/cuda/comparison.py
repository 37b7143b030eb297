"""Comparison of the CUDA engine's kernels with plain references.

They run on a GPU, or interpreted on a CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, RankCandidates, TopK
from service.core.errors import StateDamagedError
from service.core.ports import Engine
from service.engine.cuda.device_table import pack_bits
from service.engine.cuda.topk_search import Excluded, Filters, Found, TopKSearch
from tests.engine.extended import AllAllowed, append, split
from tests.model.builders import bundle_of


class Case(NamedTuple):
    """Shape of one search."""

    rows: int
    dim: int
    queries: int
    k: int
    excluding: bool = False
    filtering: bool = False


def table_and_vectors(case: Case, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return rows of log-normal length, and queries.

    Some rows are equal, and the first query is along them.
    """
    draw = torch.Generator().manual_seed(case.rows * 1000 + case.k)
    table = torch.randn(case.rows, case.dim, generator=draw)
    table *= torch.exp(0.4 * torch.randn(case.rows, 1, generator=draw))
    table[case.rows // 2 : case.rows // 2 + 40] = table[case.rows // 2]
    table[-7:] = table[-1]
    vectors = 10 * torch.randn(case.queries, case.dim, generator=draw)
    vectors[0] = 3 * table[case.rows // 2]
    return table.to(device), vectors.to(device)


def compare_search(case: Case, device: str = "cpu", room: int | None = None) -> dict[str, float | bool]:
    """Compare the kernels with a stable sort of exact scores.

    "complete" is how many queries had room; the rest says whether those are right.
    """
    table, vectors = table_and_vectors(case, device)
    search = TopKSearch(table, max_queries=16)
    draw = np.random.default_rng(case.rows)
    allowed = torch.ones(case.queries, case.rows, dtype=torch.bool)
    allowed[:, 0] = False
    excluded, filters = None, None
    if case.excluding:
        lists = [draw.integers(1, case.rows, draw.integers(0, min(40, case.rows))) for _ in range(case.queries)]
        ends = np.cumsum([len(rows) for rows in lists])
        starts = ends - [len(rows) for rows in lists]
        joined = torch.from_numpy(np.concatenate([*lists, [0]]).astype(np.int32)).to(device)
        excluded = Excluded(joined, torch.from_numpy(starts).to(device), torch.from_numpy(ends).to(device))
        for q, rows in enumerate(lists):
            allowed[q, torch.from_numpy(rows)] = False
    if case.filtering:  # one that allows a tenth, one that allows the last row, one that allows nothing
        bits = torch.zeros(3, search.words * 32, dtype=torch.bool)
        bits[0, 1 : case.rows] = torch.from_numpy(draw.random(case.rows - 1) < 0.1)
        bits[1, case.rows - 1] = True
        chosen = torch.from_numpy(draw.integers(-1, 3, case.queries).astype(np.int32))
        filters = Filters(pack_bits(bits).to(device), chosen.to(device))
        for q, number in enumerate(chosen.tolist()):
            if number >= 0:
                allowed[q] &= bits[number, : case.rows]
    columns = max(16, 1 << (case.k - 1).bit_length())
    out = Found.of(torch.empty(case.queries * (2 * columns + 1), dtype=torch.int32, device=device), columns)
    room = room or search.room_for(case.k)
    k = torch.full((case.queries,), case.k, dtype=torch.int32, device=device)
    for _ in range(2):  # the second search sees what the first one has left behind
        search.search(vectors, k, excluded, filters, out=out, room=room)
    scores = (table[None] * vectors[:, None]).sum(dim=2).masked_fill(~allowed.to(device), -torch.inf)
    wanted = scores.sort(dim=1, descending=True, stable=True)
    rows = torch.where(wanted.values > -torch.inf, wanted.indices, 0)[:, : case.k]
    found, complete = out.rows[:, : rows.shape[1]], out.groups <= room
    found_scores, wanted_scores = out.scores[:, : rows.shape[1]][complete], wanted.values[:, : case.k][complete]
    return {
        "complete": int(complete.sum()),
        "rows": bool((found[complete] == rows[complete]).all()),
        "scores": float(relative_error(found_scores, wanted_scores)),
        "bits": bool((found_scores == wanted_scores).all()),
    }


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the largest relative difference."""
    difference = torch.where(found == wanted, 0.0, (found - wanted).abs() / wanted.abs().clamp(min=1.0))
    return difference.max() if difference.numel() else torch.tensor(0.0)


def mixed_requests(states: list[bytes], items: int) -> list[EngineRequest]:
    """Return requests of every kind, from at least six states."""
    draw = np.random.default_rng(1)

    def history(length: int) -> tuple[str, ...]:
        return tuple(f"i{row}" for row in draw.integers(1, items + 1, length))

    five = TopK(5, exclude_seen=True)
    not_finite, unknown_row = np.float32(np.nan).tobytes() + states[0][4:], states[0][:-4] + b"\xff\xff\xff\x7f"
    return [
        *typed_requests(states, items),
        EngineRequest(None, (), five),
        EngineRequest(None, (), None),
        EngineRequest(states[0], (), five),
        EngineRequest(states[1], history(1), five),
        EngineRequest(b"damaged", history(1), five),
        EngineRequest(b"", (), five),
        EngineRequest(not_finite, history(1), five),
        EngineRequest(unknown_row, history(1), five),
        EngineRequest(states[4], history(1), TopK(30, exclude_seen=False)),
        EngineRequest(states[5], history(1), TopK(3, exclude_seen=False)),
        EngineRequest(states[2], ("unknown",), five),
        EngineRequest(None, history(25), five),
        EngineRequest(states[3], ("unknown", *history(2), "unknown too"), None),
        EngineRequest(states[3], ("unknown", "unknown too"), five),
        EngineRequest(states[0], history(1), RankCandidates(("i1", "nobody", "i2"))),
        EngineRequest(states[1], history(3), five, (1, 2)),
        EngineRequest(None, tuple(f"i{row}" for row in range(1, items + 1)), five),
        *filtered_requests(states, items),
    ]


def typed_requests(states: list[bytes], items: int) -> list[EngineRequest]:
    """Return requests with types, from at least six states.

    Models know some of the types.
    """
    draw, five = np.random.default_rng(3), TopK(5, exclude_seen=True)
    names = ("", "view", "t1", "t2", "t4", "dislike", "rental")
    requests = []
    for n, length in enumerate((1, 1, 1, 1, 2, 3, 4, 5, 30)):
        history = tuple(f"i{row}" for row in draw.integers(1, items + 1, length))
        types = tuple(names[kind] for kind in draw.integers(0, len(names), length))
        requests.append(EngineRequest(states[n % 6] if n % 4 else None, history, five, types=types))
    (last,) = requests[-1:]
    return [*requests, last._replace(evaluated=(3, 20)), EngineRequest(states[5], ("i1",), five, types=("t1",))]


def filtered_requests(states: list[bytes], items: int) -> list[EngineRequest]:
    """Return requests with filters and exclusions, from at least two states."""
    draw = np.random.default_rng(2)
    some, few, none = (AllowedRows.of(draw.random(items + 1) < share) for share in (0.5, 0.1, 0.0))
    left_out = ("i1", "nobody", "i7", "i1")
    queries = [
        TopK(5, exclude_seen=True, allowed=some),
        TopK(5, exclude_seen=False, allowed=few, exclude=left_out),
        TopK(30, exclude_seen=True, allowed=some, exclude=left_out),
        TopK(4, exclude_seen=True, allowed=none),
        TopK(3, exclude_seen=False, exclude=left_out),
        RankCandidates(("i1", "nobody", "i2", "i3"), some, left_out),
    ]
    pasts = [(states[0], ()), (states[1], ("i3",)), (None, ("i1", "i2", "i3", "unknown"))]
    return [EngineRequest(*pasts[(n + shift) % 3], query) for shift in (0, 1) for n, query in enumerate(queries)]


def assert_same_results(engine: Engine, reference: Engine, requests: list[EngineRequest]) -> None:
    """Hold an engine to another one's results."""
    for found, wanted in zip(engine.run(requests), reference.run(requests), strict=True):
        if isinstance(wanted, StateDamagedError) or isinstance(found, StateDamagedError):
            assert str(found) == str(wanted)
            continue
        assert isinstance(found, EngineResult) and isinstance(wanted, EngineResult)
        assert (found.cold, found.ranks, len(found.state)) == (wanted.cold, wanted.ranks, len(wanted.state))
        assert engine.difference(found.state, wanted.state) <= 1e-5
        assert [item.item_id for item in found.items] == [item.item_id for item in wanted.items]
        assert [item.eligible for item in found.items] == [item.eligible for item in wanted.items]
        scores = [[item.score for item in items if item.score is not None] for items in (found.items, wanted.items)]
        assert np.allclose(scores[0], scores[1], atol=1e-4)


def one_row(n: int, items: int) -> AllowedRows:
    """Return a filter that allows one item."""
    return AllowedRows.of(np.arange(items + 1) == 1 + n % items)


def compare_engine(
    name: str, device: str, crowd_size: int = 70, *, is_extended: bool = False, every: int = 1
) -> None:
    """Hold the CUDA engine with its kernels to the CPU engine.

    With `is_extended` a third of the items were appended to both. Of the requests, one in `every` is run.
    """
    from service.engine.cpu.cpu_engine import CpuEngine
    from service.engine.cuda.cuda_engine import CudaEngine
    from tests.model.builders import CONFIGS

    bundle = bundle_of(CONFIGS[name], seed=4)
    engine: Engine
    reference: Engine
    if is_extended:
        part, vectors = split(bundle, 2 * len(bundle.items) // 3)
        engine, reference = CudaEngine(part, 20, device), CpuEngine(part, 20)
        for each in (engine, reference):
            append(each, vectors, [2])
        engine, reference = AllAllowed(engine), AllAllowed(reference)
    else:
        engine, reference = CudaEngine(bundle, 20, device), CpuEngine(bundle, 20)
    histories = [tuple(f"i{1 + n % len(bundle.items)}" for n in range(length)) for length in (1, 2, 3, 19, 20, 30)]
    results = reference.run([EngineRequest(None, history, None) for history in histories])
    states = [result.state for result in results if isinstance(result, EngineResult)]
    requests = mixed_requests(states, len(bundle.items))[::every]
    assert_same_results(engine, reference, requests)
    assert_same_results(engine, reference, [request for request in requests if len(request.items) <= 1])
    crowd = [EngineRequest(states[0], (), TopK(2, False, one_row(n, len(bundle.items)))) for n in range(crowd_size)]
    assert_same_results(engine, reference, crowd)  # more filters than the device holds at once
    for request in requests[2:4]:
        assert_same_results(engine, reference, [request])
