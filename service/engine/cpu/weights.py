"""A bundle's arrays, laid out for the kernels.

Matrices are cut into panels of PANEL outputs: a panel is contiguous and holds, for one input after the other, its
PANEL weights, so a product streams through memory in order and its inner loop is as long as a few vector registers.
The first line of a panel is the bias. Widths are padded with zeros to whole panels; what is computed in the padding
is finite and meets zero weights everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bundle.bundle import Bundle, Weights
from model.config import ModelConfig
from model.state_layout import F32

PANEL = 64


@dataclass(frozen=True, slots=True)
class Parameters:
    """The network. V items, D model width, H channels, K taps, L layers; Dp, Hp, Fp: D, H, 4D padded.

    embedding (V + 1, D); norm (2, Dp) weight and bias; initial_h (L, Hp); initial_conv (L, K - 1, Hp);
    layers (L, P) each layer's panels and vectors end to end, in the order of `_layer`; offsets (10,) where in it
    each of them begins; widths = (D, H, K, Dp, Hp, Fp).
    """

    embedding: F32
    norm: F32
    initial_h: F32
    initial_conv: F32
    layers: F32
    offsets: NDArray[np.int64]
    widths: tuple[int, int, int, int, int, int]


def prepare(bundle: Bundle) -> Parameters:
    """The parameters of a verified bundle."""
    weights, config = bundle.weights, bundle.config
    D, H = config.dim, config.hidden
    Dp, Hp, Fp = padded(D), padded(H), padded(4 * D)
    layers = [_layer(weights, f"recurrent_layers.{n}.", config) for n in range(config.layers)]
    initial = np.zeros((*config.state_shape[:2], Hp), np.float32)
    initial[..., :H] = weights["initial_state"]
    return Parameters(
        embedding=np.require(weights["item_embedding.weight"], np.float32, ["C", "W"]),
        norm=np.stack([_wide(weights["layer_norm.weight"], Dp), _wide(weights["layer_norm.bias"], Dp)]),
        initial_h=np.ascontiguousarray(initial[:, -1]),
        initial_conv=np.ascontiguousarray(initial[:, :-1]),
        layers=np.stack([np.concatenate([part.ravel() for part in parts]) for parts in layers]),
        offsets=np.cumsum([0, *(part.size for part in layers[0][:-1])], dtype=np.int64),
        widths=(D, H, config.conv_width, Dp, Hp, Fp),
    )


def padded(width: int) -> int:
    """`width`, rounded up to whole panels."""
    return -(-width // PANEL) * PANEL


def panels(matrix: F32, bias: F32 | None, inputs: int, outputs: int) -> F32:
    """(out, in) -> (outputs / PANEL, 1 + inputs, PANEL), padded with zeros; without a bias its line is zero."""
    table = np.zeros((1 + inputs, outputs), np.float32)
    table[1 : 1 + matrix.shape[1], : matrix.shape[0]] = matrix.T
    if bias is not None:
        table[0, : bias.size] = bias
    return np.ascontiguousarray(table.reshape(1 + inputs, -1, PANEL).transpose(1, 0, 2))


def _layer(weights: Weights, prefix: str, config: ModelConfig) -> list[F32]:
    """The parts of a layer, in the order in which the kernels find them."""
    H, Dp, Hp, Fp = config.hidden, padded(config.dim), padded(config.hidden), padded(4 * config.dim)

    def of(name: str) -> F32:
        return weights[prefix + name]

    mixing = "behavior_modeling."
    entry, gates, bias = of(mixing + "input.weight"), of(mixing + "gates.weight"), of(mixing + "gates.bias")
    taps = np.zeros((config.conv_width, Hp), np.float32)
    taps[:, :H] = of(mixing + "conv1d.weight")[:, 0].T
    # log(1 + exp(v)) without overflow, in double precision before it is rounded once.
    softplus = np.logaddexp(0.0, of(mixing + "Lambda").astype(np.float64)).astype(np.float32)
    return [
        # Each half in panels of its own: the x half alone is what a conv input needs.
        np.concatenate([panels(half, None, Dp, Hp) for half in (entry[:H], entry[H:])]),
        np.concatenate([panels(gates[half], bias[half], Hp, Hp) for half in (slice(H), slice(H, None))]),
        panels(of(mixing + "output.weight"), None, Hp, Dp),
        panels(of("ffn.w_1.weight"), of("ffn.w_1.bias"), Dp, Fp),
        panels(of("ffn.w_2.weight"), of("ffn.w_2.bias"), Fp, Dp),
        taps,
        _wide(of(mixing + "conv1d.bias"), Hp),
        _wide(softplus, Hp),
        np.stack([_wide(of("layer_norm.weight"), Dp), _wide(of("layer_norm.bias"), Dp)]),
        np.stack([_wide(of("ffn.layer_norm.weight"), Dp), _wide(of("ffn.layer_norm.bias"), Dp)]),
    ]


def _wide(vector: F32, width: int) -> F32:
    wide = np.zeros(width, np.float32)
    wide[: vector.size] = vector
    return wide
