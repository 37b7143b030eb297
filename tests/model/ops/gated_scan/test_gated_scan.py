"""Gated scan: the reference against its definition, kernels against it."""

from __future__ import annotations

import importlib.util
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from model.ops.gated_scan.cpu_scan import gated_scan_cpu
from model.ops.gated_scan.dispatch import gated_scan
from model.ops.gated_scan.reference import decay, gated_scan_reference
from tests.model.ops.gated_scan.comparison import (
    INTERPRETED,
    MODES,
    NAMES,
    errors,
    finite_where_nothing_decays,
    inputs,
    results,
    scale_error,
)
from tests.model.ops.interpreter import run_interpreted

FORWARD, GRADIENT = 1e-5, 5e-5
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def assert_close(found: dict[str, float]) -> None:
    for name in NAMES:
        assert found[name] <= (GRADIENT if name.startswith("d") else FORWARD), (name, found)


def test_reference_is_the_papers_recurrence() -> None:
    x, gates, Lambda, initial, _, _, lengths, _ = (tensor.double().numpy() for tensor in inputs(11, 5, seed=1))
    tensors = [torch.from_numpy(array) for array in (x, gates, Lambda, initial)]
    h, last_h = gated_scan_reference(*tensors, torch.from_numpy(lengths))
    for user in range(len(x)):
        state = initial[user].copy()
        for t in range(int(lengths[user])):
            r, i = np.split(1 / (1 + np.exp(-gates[user, t])), 2)
            a = np.exp(-np.log1p(np.exp(Lambda)) * r)
            state = a * state + np.sqrt(1 - a**2) * i * x[user, t]
            assert np.allclose(h[user, t].numpy(), state, rtol=1e-9)
        assert np.allclose(last_h[user].numpy(), state, rtol=1e-9)


@pytest.mark.parametrize("T", [1, 2, 7, 37, 200])
@pytest.mark.parametrize("mode", MODES)
def test_float32_reference_agrees_with_float64(T: int, mode: str) -> None:
    assert_close(errors(gated_scan_reference, T, 33, mode))


def test_start_inside_a_row_resets_h() -> None:
    x, gates, Lambda, initial, *_ = inputs(9, 4, seed=2)
    starts = torch.zeros(3, 9, dtype=torch.bool)
    starts[0, 0] = starts[1, 4] = starts[2, 3] = starts[2, 8] = True
    h, last_h = gated_scan_reference(x, gates, Lambda, initial, None, starts)
    for user, cuts in enumerate(([0, 9], [0, 4, 9], [0, 3, 8, 9])):
        for n, (start, stop) in enumerate(pairwise(cuts)):
            before = torch.zeros(1, 4) if n or user == 0 else initial[user : user + 1]
            part = slice(user, user + 1), slice(start, stop)
            alone, last = gated_scan_reference(x[part], gates[part], Lambda, before)
            assert torch.equal(h[part], alone)
        assert torch.equal(last_h[user], last[0])


@pytest.mark.parametrize("T", [1, 2, 5])
def test_reference_passes_gradcheck(T: int) -> None:
    *tensors, _, _, lengths, starts = inputs(T, 3, seed=T)
    arguments = [tensor.double().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *a: gated_scan_reference(*a, lengths), arguments)
    assert torch.autograd.gradcheck(gated_scan_reference, arguments)
    assert torch.autograd.gradcheck(lambda *a: gated_scan_reference(*a, None, starts), arguments)


def test_steps_after_the_length_keep_h_and_take_no_gradient() -> None:
    tensors = inputs(9, 4, seed=3)
    lengths = torch.tensor([9, 4, 0])
    given = (*tensors[:6], lengths, tensors[7])
    h, last_h, dx, dgates, _, dinitial = results(gated_scan_reference, given, "ragged")
    for user, length in enumerate(lengths.tolist()):
        assert not dx[user, length:].any()
        assert not dgates[user, length:].any()
        assert torch.equal(h[user, length:], last_h[user].expand(9 - length, -1))
    assert torch.equal(last_h[2], tensors[3][2])
    assert torch.allclose(dinitial[2], tensors[4][2].sum(0) + tensors[5][2])


def test_half_precision_inputs_are_scanned_in_float32() -> None:
    tensors = inputs(7, 8, seed=4)
    halves = [tensor.bfloat16() for tensor in tensors[:4]]
    h, last_h = gated_scan_reference(*halves)
    assert h.dtype == last_h.dtype == torch.float32
    assert torch.equal(h, gated_scan_reference(*(half.float() for half in halves))[0])


@pytest.mark.parametrize("T", [1, 2, 7, 37, 200])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("H", [1, 33, 128])
def test_cpu_kernels_agree_with_float64(T: int, mode: str, H: int) -> None:
    assert_close(errors(gated_scan_cpu, T, H, mode))


def test_cpu_kernels_give_the_same_bits_in_any_number_of_threads() -> None:
    given, threads = inputs(37, 33, seed=6), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results(gated_scan_cpu, given, "ragged")
        torch.set_num_threads(3)
        together = results(gated_scan_cpu, given, "ragged")
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_float32_on_a_cpu_uses_the_kernels_and_float64_the_reference() -> None:
    tensors = inputs(7, 8, seed=5)
    doubles = [tensor.double() for tensor in tensors[:4]]
    for scan, given in ((gated_scan_cpu, tensors[:4]), (gated_scan_reference, doubles)):
        wanted = scan(*given, tensors[6])
        assert all(torch.equal(a, b) for a, b in zip(gated_scan(*given, tensors[6]), wanted, strict=True))


def test_cpu_scale_keeps_its_precision() -> None:
    assert scale_error(gated_scan_cpu) <= 1e-6


def test_cpu_gradients_are_finite_without_decay() -> None:
    assert finite_where_nothing_decays(gated_scan_cpu)


@pytest.mark.parametrize("Lambda", [-15.0, -12.0, -8.0, -4.0, -1.0, 2.0])
def test_decay_near_one_keeps_its_precision(Lambda: float) -> None:
    r = torch.linspace(-3, 6, 101)
    a, scale = decay(r, torch.full((101,), Lambda))
    log_a = -np.log1p(np.exp(Lambda)) / (1 + np.exp(-r.double().numpy()))
    assert a.numpy() == pytest.approx(np.exp(log_a), rel=1e-6)
    assert scale.numpy() == pytest.approx(np.sqrt(-np.expm1(2 * log_a)), rel=1e-6)


def test_reference_scale_keeps_its_precision() -> None:
    assert scale_error(gated_scan_reference) <= 1e-6


def test_reference_gradients_are_finite_without_decay() -> None:
    assert finite_where_nothing_decays(gated_scan_reference)


@pytest.fixture(scope="module")
def interpreted() -> dict[str, Any]:
    """Errors of the kernels under Triton's interpreter, by name of the case."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    ran = run_interpreted("from tests.model.ops.gated_scan.comparison import print_errors; print_errors()")
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize(("T", "H", "mode"), INTERPRETED)
def test_interpreted_kernels_agree_with_float64(interpreted: dict[str, Any], T: int, H: int, mode: str) -> None:
    assert_close(interpreted[f"{T} {H} {mode}"])


def test_interpreted_kernels_keep_precision_near_one(interpreted: dict[str, Any]) -> None:
    assert interpreted["scale"] <= 1e-6


def test_interpreted_gradients_are_finite_without_decay(interpreted: dict[str, Any]) -> None:
    assert interpreted["finite"]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("H", [32, 96, 128, 500])
@pytest.mark.parametrize("T", [1, 2, 37, 200, 257, 1000, 8192])
def test_gpu_kernels_agree_with_float64(T: int, H: int, mode: str) -> None:
    from model.ops.gated_scan.autograd import gated_scan_triton

    assert_close(errors(gated_scan_triton, T, H, mode, "cuda"))


@pytest.mark.gpu
@needs_gpu
def test_gpu_kernels_keep_precision_near_one() -> None:
    from model.ops.gated_scan.autograd import gated_scan_triton

    assert scale_error(gated_scan_triton, "cuda") <= 1e-6
    assert finite_where_nothing_decays(gated_scan_triton, "cuda")
