"""Sampled softmax against a plain one, and against the full softmax."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.ops.softmax_loss.full import softmax_loss
from model.ops.softmax_loss.sampled import Negatives, sampled_softmax_loss

ITEMS, DIM = 60, 8


def catalogue(seed: int) -> tuple[Tensor, Tensor, Callable[[int], Tensor]]:
    """A table, its rows' popularity, and a sampler of targets."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(ITEMS + 1, DIM, generator=generator, dtype=torch.float64)
    popularity = torch.randint(0, 50, (ITEMS + 1,), generator=generator).double() ** 2
    popularity[0] = popularity[5] = popularity[17] = 0.0
    return table, popularity, lambda n: torch.multinomial(popularity, n, replacement=True, generator=generator)


def plain(outputs: Tensor, table: Tensor, targets: Tensor, rows: Tensor, log_expected: Tensor) -> Tensor:
    """The estimate of the module's docstring, position by position."""
    losses = []
    for output, target in zip(outputs, targets.tolist(), strict=True):
        if not target:
            continue
        own = output @ table[target]
        others = [
            output @ table[row] - log
            for row, log in zip(rows.tolist(), log_expected, strict=True)
            if row not in (0, target)
        ]
        losses.append(torch.logsumexp(torch.stack([own, *others]), 0) - own)
    return torch.stack(losses).sum() / max(1, len(losses))


@pytest.mark.parametrize("chunk", [1, 200, 1 << 20])
def test_loss_and_gradients_agree_with_the_plain_estimate(chunk: int) -> None:
    torch.manual_seed(1)
    table, popularity, targets_of = catalogue(1)
    targets = targets_of(23)
    targets[[0, 7, 22]] = 0
    sampled = Negatives(popularity, 31).draw(targets)
    outputs = torch.randn(23, DIM, dtype=torch.float64, requires_grad=True)
    table.requires_grad_()
    ours = sampled_softmax_loss(outputs, table, targets, sampled, chunk=chunk)
    theirs = plain(outputs, table, targets, *sampled)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    found, wanted = (torch.autograd.grad(3.0 * loss, (outputs, table)) for loss in (ours, theirs))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    halved = sampled_softmax_loss(outputs, table, targets, sampled, torch.tensor(40), chunk)
    torch.testing.assert_close(halved, ours * 20 / 40)


def test_normaliser_is_unbiased() -> None:
    """Also for positions without target and items without events."""
    torch.manual_seed(2)
    table, popularity, targets_of = catalogue(2)
    output = 0.5 * torch.randn(1, DIM, dtype=torch.float64)
    target = torch.tensor([5])
    negatives = Negatives(popularity, 9)
    normalisers = []
    for _ in range(6000):
        batch = targets_of(12)
        batch[:4] = 0
        normalisers.append(sampled_softmax_loss(output, table, target, negatives.draw(batch)).exp())
    found = torch.stack(normalisers)
    wanted = F.cross_entropy(output @ table[1:].T, target - 1).exp()
    error = found.std() / len(found) ** 0.5
    assert error < 0.02 * wanted
    assert abs(found.mean() - wanted) < 4 * error


def test_loss_and_gradient_converge_to_the_full_softmax() -> None:
    torch.manual_seed(3)
    table, popularity, targets_of = catalogue(3)
    table = table.requires_grad_()
    targets = targets_of(40)
    outputs = torch.randn(40, DIM, dtype=torch.float64, requires_grad=True)
    logits = (outputs @ table.T).index_fill(1, torch.tensor([0]), -torch.inf)
    full = F.cross_entropy(logits, targets)
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(full, (outputs, table))])
    errors = []
    for count in (8, 512, 32768):
        losses, gradients = [], []
        negatives = Negatives(popularity, count)
        for _ in range(40):
            loss = sampled_softmax_loss(outputs, table, targets, negatives.draw(targets_of(count)))
            losses.append(loss.detach())
            parts = torch.autograd.grad(loss, (outputs, table))
            gradients.append(torch.cat([part.flatten() for part in parts]))
        mean = torch.stack(gradients).mean(0)
        errors.append(
            (
                float((torch.stack(losses).mean() / full.detach() - 1.0).abs()),
                float((mean - gradient).norm() / gradient.norm()),
            )
        )
    for before, after in pairwise(errors):
        assert after[0] < before[0]
        assert after[1] < before[1]
    assert errors[-1][0] < 0.01
    assert errors[-1][1] < 0.01


def test_bfloat16_products_give_a_close_gradient() -> None:
    torch.manual_seed(4)
    table, popularity, targets_of = catalogue(4)
    table, targets = table.float().requires_grad_(), targets_of(50)
    outputs = torch.randn(50, DIM)
    sampled = Negatives(popularity, 64).draw(targets)
    [gradient] = torch.autograd.grad(sampled_softmax_loss(outputs, table, targets, sampled), table)
    loss = sampled_softmax_loss(outputs.bfloat16(), table, targets, sampled)
    [rough] = torch.autograd.grad(loss, table)
    assert rough.dtype == torch.float32
    assert (rough - gradient).norm() < 0.03 * gradient.norm()


def test_batch_without_targets_has_zero_loss() -> None:
    table, popularity, _ = catalogue(5)
    none = torch.zeros(6, dtype=torch.long)
    loss = sampled_softmax_loss(torch.randn(6, DIM).double(), table, none, Negatives(popularity, 8).draw(none))
    assert float(loss) == 0.0
    assert float(softmax_loss(torch.randn(6, DIM).double(), table, none)) == 0.0


def test_negative_weight_is_the_unlikelihood_under_the_sampled_estimate() -> None:
    torch.manual_seed(3)
    table, popularity, targets_of = catalogue(3)
    targets = targets_of(9)
    sampled = Negatives(popularity, 31).draw(targets)
    outputs = torch.randn(9, DIM, dtype=torch.float64, requires_grad=True)
    likelihoods = [plain(outputs[n : n + 1], table, targets[n : n + 1], *sampled) for n in range(9)]
    wanted = -torch.log1p(-torch.exp(-torch.stack(likelihoods))).mean() * 0.5
    found = sampled_softmax_loss(outputs, table, targets, sampled, weights=torch.full((9,), -0.5))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    gradients = [torch.autograd.grad(loss, outputs, retain_graph=True)[0] for loss in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
