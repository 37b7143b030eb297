"""The chunked softmax loss against PyTorch's own cross-entropy, gradients included."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from model.ops.softmax_loss import softmax_loss


@pytest.mark.parametrize("chunk", [1, 120, 1 << 20], ids=["one row a chunk", "ragged chunks", "one chunk"])
@pytest.mark.parametrize(("positions", "rows"), [(1, 7), (37, 50)])
def test_loss_and_gradients_are_those_of_cross_entropy(chunk: int, positions: int, rows: int) -> None:
    torch.manual_seed(positions)
    outputs = torch.randn(positions, 8, dtype=torch.float64, requires_grad=True)
    table = torch.randn(rows, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, rows, (positions,))
    targets[0] = rows - 1
    upstream = torch.randn((), dtype=torch.float64)

    expected = F.cross_entropy(outputs @ table.T, targets, ignore_index=0)
    wanted = torch.autograd.grad(expected, (outputs, table), upstream)
    loss = softmax_loss(outputs, table, targets, chunk=chunk)
    found = torch.autograd.grad(loss, (outputs, table), upstream)

    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_batch_without_targets_costs_nothing_and_moves_nothing() -> None:
    outputs = torch.randn(5, 4, requires_grad=True)
    table = torch.randn(9, 4, requires_grad=True)
    loss = softmax_loss(outputs, table, torch.zeros(5, dtype=torch.long))
    gradients = torch.autograd.grad(loss, (outputs, table))
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients)


_INTERPRETED = """
import torch
import torch.nn.functional as F
from model.ops import triton_softmax

for rows, columns, block in ((5, 7, 8192), (4, 50, 16), (3, 64, 32)):
    triton_softmax.LARGEST_BLOCK = block
    torch.manual_seed(rows)
    logits = torch.randn(rows, columns) * 5
    targets = torch.randint(1, columns, (rows,))
    targets[0] = 0
    wanted = logits.clone().requires_grad_()
    expected = F.cross_entropy(wanted, targets, ignore_index=0)
    expected.backward()
    scale = torch.tensor(1.0 / int((targets > 0).sum()))
    loss = triton_softmax.loss_and_gradient(logits, targets, scale)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits, wanted.grad, rtol=1e-4, atol=1e-7)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_interpreted_kernel_gives_loss_and_gradient_at_ragged_widths() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _INTERPRETED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
