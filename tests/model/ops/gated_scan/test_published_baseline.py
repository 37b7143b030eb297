"""The benchmark's baseline computes the same recurrence as the reference."""

from __future__ import annotations

from tests.model.ops.interpreter import needs_triton, run_interpreted

_INTERPRETED = """
import torch
from model.ops.gated_scan.published_baseline import gated_scan_published
from model.ops.gated_scan.reference import gated_scan_reference

for T in (1, 5, 16, 37):
    torch.manual_seed(T)
    x, gates = torch.randn(2, T, 6, requires_grad=True), torch.randn(2, T, 12, requires_grad=True)
    Lambda = torch.linspace(-6.9, -2.2, 6, requires_grad=True)
    h = gated_scan_published(x, gates, Lambda)
    expected, _ = gated_scan_reference(x, gates, Lambda, torch.zeros(2, 6))
    torch.testing.assert_close(h, expected, rtol=1e-4, atol=1e-5)
    upstream = torch.randn_like(h)
    for found, wanted in zip(*(torch.autograd.grad(y, (x, gates, Lambda), upstream) for y in (h, expected))):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
"""


@needs_triton
def test_baseline_agrees_with_the_reference_at_any_length() -> None:
    done = run_interpreted(_INTERPRETED)
    assert done.returncode == 0, done.stderr
