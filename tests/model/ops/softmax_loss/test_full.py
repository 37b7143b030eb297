"""Chunked softmax loss and gradients against PyTorch's cross-entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.ops.softmax_loss.full import SoftLabels, softmax_loss
from tests.model.ops.interpreter import needs_triton, run_interpreted


def assert_same_with_gradients(loss: torch.Tensor, expected: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> None:
    wanted, found = torch.autograd.grad(expected, inputs), torch.autograd.grad(loss, inputs)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 120, 1 << 20], ids=["one row a chunk", "ragged chunks", "one chunk"])
@pytest.mark.parametrize(("positions", "rows"), [(1, 7), (37, 50)])
def test_loss_and_gradients_agree_with_cross_entropy(chunk: int, positions: int, rows: int) -> None:
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


@pytest.mark.parametrize("chunk", [1, 120, 1 << 20], ids=["one row a chunk", "ragged chunks", "one chunk"])
def test_weights_and_soft_labels_agree_with_a_full_distribution(chunk: int) -> None:
    torch.manual_seed(5)
    N, V, K = 23, 31, 5
    outputs = torch.randn(N, 8, dtype=torch.float64, requires_grad=True)
    table = torch.randn(V, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(1, V, (N,))
    targets[3] = 0
    weights = torch.rand(N, dtype=torch.float64)
    items = torch.stack([torch.randperm(V - 1)[:K] + 1 for _ in range(N)])
    items[7, 0] = targets[7] = items[7, 0]  # an item that is the target as well
    shares = torch.rand(N, K, dtype=torch.float64) / K
    wanted_shares = torch.zeros(N, V, dtype=torch.float64).scatter_(1, items, shares)
    wanted_shares[torch.arange(N), targets] += 1.0 - shares.sum(1)

    logs = (outputs @ table.T).log_softmax(1)
    counted = weights * (targets > 0)
    expected = -(wanted_shares * logs).sum(1) @ counted / (targets > 0).sum()
    loss = softmax_loss(outputs, table, targets, None, chunk, weights, SoftLabels(items, shares))
    assert_same_with_gradients(loss, expected, (outputs, table))


@pytest.mark.parametrize("chunk", [1, 120, 1 << 20], ids=["one row a chunk", "ragged chunks", "one chunk"])
def test_negative_weights_agree_with_the_unlikelihood_of_their_targets(chunk: int) -> None:
    torch.manual_seed(6)
    N, V, K = 23, 31, 5
    outputs = torch.randn(N, 8, dtype=torch.float64, requires_grad=True)
    table = torch.randn(V, 8, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(0, V, (N,)), torch.randn(N, dtype=torch.float64)
    items = torch.stack([torch.randperm(V - 1)[:K] + 1 for _ in range(N)])
    shares = torch.rand(N, K, dtype=torch.float64) / K

    logs = (outputs @ table.T).log_softmax(1)
    wanted_shares = torch.zeros(N, V, dtype=torch.float64).scatter_(1, items, shares)
    wanted_shares[torch.arange(N), targets] += 1.0 - shares.sum(1)
    likelihood = -(wanted_shares * logs).sum(1)
    unlikelihood = -torch.log1p(-logs[torch.arange(N), targets].exp())
    losses = weights.abs() * torch.where(weights > 0, likelihood, unlikelihood)
    expected = losses[targets > 0].sum() / (targets > 0).sum()
    loss = softmax_loss(outputs, table, targets, None, chunk, weights, SoftLabels(items, shares))
    assert_same_with_gradients(loss, expected, (outputs, table))


@pytest.mark.parametrize(("positions", "rows"), [(1, 2), (37, 50), (300, 4099)])
@pytest.mark.parametrize("taught", [False, True])
def test_float32_kernel_agrees_with_float64(positions: int, rows: int, taught: bool) -> None:
    torch.manual_seed(rows)
    outputs, table = torch.randn(positions, 8), torch.randn(rows, 8)
    targets, weights = torch.randint(0, rows, (positions,)), torch.rand(positions) - 0.3
    targets[0], weights[0] = 1, 0.5
    K = min(5, rows - 1)
    items = torch.stack([torch.randperm(rows - 1)[:K] + 1 for _ in range(positions)])
    labels = SoftLabels(items, torch.rand(positions, K) / K) if taught else None
    found, wanted = [], []
    for results, kind in ((found, torch.float32), (wanted, torch.float64)):
        given = [outputs.to(kind).requires_grad_(), table.to(kind).requires_grad_()]
        soft = labels and SoftLabels(labels.items, labels.shares.to(kind))
        loss = softmax_loss(*given, targets, weights=weights, soft_labels=soft)
        results += [loss.detach(), *torch.autograd.grad(loss, given)]
    for one, other in zip(found, wanted, strict=True):
        # the logits alone are rounded by up to 3e-6, as in PyTorch's float32 cross-entropy
        assert (one.double() - other).abs().max() <= 6e-6 * other.abs().max()


def test_float32_kernel_is_finite_for_extreme_logits() -> None:
    outputs = torch.tensor([[1e3], [-1e3], [1e18]], requires_grad=True)
    table = torch.tensor([[0.0], [1.0], [-1.0]], requires_grad=True)
    loss = softmax_loss(outputs, table, torch.tensor([1, 1, 2]))
    assert all(bool(tensor.isfinite().all()) for tensor in (loss, *torch.autograd.grad(loss, (outputs, table))))


def test_batch_without_targets_has_zero_loss_and_gradient() -> None:
    outputs = torch.randn(5, 4, requires_grad=True)
    table = torch.randn(9, 4, requires_grad=True)
    loss = softmax_loss(outputs, table, torch.zeros(5, dtype=torch.long))
    gradients = torch.autograd.grad(loss, (outputs, table))
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients)


_INTERPRETED = """
import torch
import torch.nn.functional as F
from model.ops.softmax_loss import full
from model.ops.softmax_loss import loss_kernels

for rows, columns, block in ((5, 7, 8192), (4, 50, 16), (3, 64, 32)):
    loss_kernels.MAX_BLOCK = block
    torch.manual_seed(rows)
    logits = torch.randn(rows, columns) * 5
    targets = torch.randint(1, columns, (rows,))
    targets[0] = 0
    wanted = logits.clone().requires_grad_()
    expected = F.cross_entropy(wanted, targets, ignore_index=0)
    expected.backward()
    scale = torch.tensor(1.0 / int((targets > 0).sum())).expand(rows)
    loss = loss_kernels.loss_and_gradient(logits, targets, scale)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits, wanted.grad, rtol=1e-4, atol=1e-7)

    items = torch.stack([torch.randperm(columns - 1)[:3] + 1 for _ in range(rows)]).to(torch.int32)
    items[1] = (targets[1] + torch.arange(3) - 1) % (columns - 1) + 1  # the target among them
    shares = torch.rand(rows, 3) / 3
    scale = torch.rand(rows) - 0.4
    one = torch.randn(rows, columns)
    other = one.clone()
    expected = full.loss_and_gradient(one, targets, scale, full.SoftLabels(items, shares))
    loss = loss_kernels.loss_and_gradient(other, targets, scale, (items, shares))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)
"""


@needs_triton
def test_interpreted_kernel_agrees_at_any_width() -> None:
    done = run_interpreted(_INTERPRETED)
    assert done.returncode == 0, done.stderr
