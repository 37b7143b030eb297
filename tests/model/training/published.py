"""Reference for the published code: plain torch, float64, looping over time.

The computation is that of the paper (Liu et al., CIKM 2024, section 3.3) with the padding of its published code. A
sequence is padded on the right with row 0 to the maximum length. In each layer the inputs of the convolution are
padded on the left with zeros to a power of two; the outputs at the padding are cut off after the recurrence.
"""

from __future__ import annotations

import torch
from torch import Tensor


def random_parameters(items: int, dim: int, layers: int, taps: int = 4, expansion: int = 2) -> dict[str, Tensor]:
    """Return random parameters by their published names; no bias is zero."""
    torch.manual_seed(7)
    H = expansion * dim
    low, high = (torch.log(torch.expm1(-torch.log(torch.tensor(a)))) for a in (0.9, 0.999))
    found = {
        "item_embedding.weight": torch.randn(items + 1, dim),
        "layer_norm.weight": 1 + 0.1 * torch.randn(dim),
        "layer_norm.bias": 0.1 * torch.randn(dim),
    }
    for n in range(layers):
        layer = {
            "behavior_modeling.input.weight": torch.randn(2 * H, dim) / dim**0.5,
            "behavior_modeling.conv1d.weight": torch.randn(H, 1, taps) / 2,
            "behavior_modeling.conv1d.bias": 0.5 * torch.randn(H),
            "behavior_modeling.gates.weight": torch.randn(2 * H, H) / H**0.5,
            "behavior_modeling.gates.bias": 0.3 * torch.randn(2 * H),
            "behavior_modeling.Lambda": torch.linspace(float(low), float(high), H),
            "behavior_modeling.output.weight": torch.randn(dim, H) / H**0.5,
            "layer_norm.weight": 1 + 0.1 * torch.randn(dim),
            "layer_norm.bias": 0.1 * torch.randn(dim),
            "ffn.w_1.weight": torch.randn(4 * dim, dim) / dim**0.5,
            "ffn.w_1.bias": 0.1 * torch.randn(4 * dim),
            "ffn.w_2.weight": torch.randn(dim, 4 * dim) / (4 * dim) ** 0.5,
            "ffn.w_2.bias": 0.1 * torch.randn(dim),
            "ffn.layer_norm.weight": 1 + 0.1 * torch.randn(dim),
            "ffn.layer_norm.bias": 0.1 * torch.randn(dim),
        }
        found |= {f"recurrent_layers.{n}.{name}": value for name, value in layer.items()}
    return found


def published_scores(parameters: dict[str, Tensor], history: list[int], max_length: int) -> Tensor:
    """Return the scores (V + 1,) after a history of rows."""
    p = {name: value.double() for name, value in parameters.items()}
    sequence = torch.tensor(history + [0] * (max_length - len(history)))
    u = _norm(p["item_embedding.weight"][sequence], p, "layer_norm")
    layers = sum(name.endswith("Lambda") for name in p)
    for n in range(layers):
        own = {name.removeprefix(f"recurrent_layers.{n}."): value for name, value in p.items()}
        y = _norm(_recurrence(u, own) + u, own, "layer_norm")
        inner = torch.nn.functional.silu(y @ own["ffn.w_1.weight"].T + own["ffn.w_1.bias"])
        u = _norm(inner @ own["ffn.w_2.weight"].T + own["ffn.w_2.bias"] + y, own, "ffn.layer_norm")
    return p["item_embedding.weight"] @ u[len(history) - 1]


def _recurrence(u: Tensor, p: dict[str, Tensor]) -> Tensor:
    x, z = (u @ p["behavior_modeling.input.weight"].T).chunk(2, dim=1)
    length, H = x.shape
    power = 1
    while power < length:
        power *= 2
    x = torch.cat([torch.zeros(power - length, H, dtype=x.dtype), x])
    taps = p["behavior_modeling.conv1d.weight"]
    before = torch.cat([torch.zeros(taps.shape[2] - 1, H, dtype=x.dtype), x])
    convolved = torch.stack([(before[t : t + taps.shape[2]] * taps[:, 0].T).sum(0) for t in range(power)])
    x = torch.nn.functional.silu(convolved + p["behavior_modeling.conv1d.bias"])
    r, i = torch.sigmoid(x @ p["behavior_modeling.gates.weight"].T + p["behavior_modeling.gates.bias"]).chunk(
        2, dim=1
    )
    a = torch.exp(-torch.nn.functional.softplus(p["behavior_modeling.Lambda"]) * r)
    inputs = torch.sqrt(1 - a**2 + 1e-8) * i * x
    h, states = torch.zeros(H, dtype=x.dtype), []
    for t in range(power):
        h = a[t] * h + inputs[t]
        states.append(h)
    return (torch.nn.functional.silu(z) * torch.stack(states)[power - length :]) @ p[
        "behavior_modeling.output.weight"
    ].T


def _norm(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], 1e-12)
