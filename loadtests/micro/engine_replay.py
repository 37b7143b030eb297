"""Benchmark of the CPU engine's step and replay, relative to eager PyTorch."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from loadtests.micro.interleaved import Call, CpuTimes, Measured, measure_interleaved
from loadtests.micro.random_histories import RandomHistories
from model.bundle.bundle import Bundle
from service.core.engine_requests import EngineRequest, TopK
from service.engine.cpu.cpu_engine import CpuEngine
from service.engine.cpu.replay_kernels import advance
from service.engine.cpu.weights import kernel_weights
from service.engine.loader import warm

TORCH_STEP = "torch eager, batch of 1: us/event"
BATCHES = (1, 8, 32, 128)
EVENTS_KEPT = 1000


def measure_replay(bundle: Bundle) -> CpuTimes:
    """Measure the step, and replays of stored states and of histories."""
    engine, rng = CpuEngine(bundle, EVENTS_KEPT), np.random.default_rng(0)
    warm(engine)
    histories = RandomHistories(bundle)
    states = histories.states(engine, max(BATCHES), 200)
    calls = {TORCH_STEP: Measured(torch_step(bundle), 1)}
    for batch in BATCHES:
        call, _ = step(bundle, batch)
        calls[f"step, batch of {batch}: us/event"] = Measured(call, batch)
        for name, top_k in (("replay", None), ("replay + top-10", TopK(10, exclude_seen=True))):
            requests = [EngineRequest(state, histories.history(1), top_k) for state in states[:batch]]
            calls[f"{name}, batch of {batch}: us/event"] = Measured(partial(engine.run, requests), batch)
    requests = [EngineRequest(None, histories.history(int(n)), None) for n in rng.integers(20, 400, 64)]
    events = sum(len(request.items) for request in requests)
    calls["replay of 64 histories: us/event"] = Measured(partial(engine.run, requests), events)
    return measure_interleaved(calls)


def step(bundle: Bundle, users: int) -> tuple[Call, NDArray[np.float32]]:
    """Return a call of the compiled step, and its output array.

    The call advances each user's state by one event. It does what the step of the torch network does, without reading
    and writing stored states. Outputs (users, D) are rewritten by each call.
    """
    weights = kernel_weights(bundle)
    h, conv = np.repeat(weights.initial_h[None], users, 0), np.repeat(weights.initial_conv[None], users, 0)
    rows, owners = np.arange(1, users + 1), np.arange(users)
    output = np.empty((users, weights.norm.shape[1]), np.float32)  # padded to the kernels' width

    def call() -> None:
        advance(
            weights.embedding,
            weights.embedding[:0],
            weights.types,
            weights.norm,
            weights.layers,
            weights.offsets,
            weights.widths,
            rows,
            owners,
            h,
            conv,
            output,
        )

    return call, output[:, : bundle.config.dim]


def torch_step(bundle: Bundle) -> Call | None:
    """Return the reference, the network's own step; None without torch."""
    try:
        import torch

        from model.network import RecBLR
    except ImportError:
        return None
    torch.set_num_threads(1)
    network = RecBLR(bundle.config)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()})
    network.eval()
    item, history = torch.tensor([1]), torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        _, state = network(history)

    def call() -> None:
        with torch.inference_mode():
            network.step(item, state)

    return call
