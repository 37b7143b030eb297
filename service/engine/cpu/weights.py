"""A bundle's arrays in the layout of the CPU kernels.

Matrices are cut into panels of PANEL outputs. A panel is contiguous: its first line is the bias, then each input has
a line of its PANEL weights. A product therefore streams through memory in order, and its inner loop is as long as a
few vector registers. Widths are padded with zeros to whole panels; values computed in the padding are finite and meet
zero weights everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.bundle.bundle import Bundle, Weights
from model.compiled.array_types import F32, I64
from model.config import ModelConfig

PANEL = 64


@dataclass(frozen=True, slots=True)
class KernelWeights:
    """Weights of the network.

    V items, D model width, H channels, K taps, L layers; Dp, Hp, Fp are D, H, 4D padded.

    embedding     (V + 1, D)
    types         (T, Dp): vectors of the event types, added to the embedding; one of zeros for a model without types
    norm          (2, Dp): weight and bias of the LayerNorm after the embedding
    initial_h     (L, Hp)
    initial_conv  (L, K - 1, Hp)
    layers        (L, P): each layer's panels and vectors end to end, in the order of `_layer_parts`
    offsets       (10,): where each of these parts begins
    widths        (D, H, K, Dp, Hp, Fp)
    """

    embedding: F32
    types: F32
    norm: F32
    initial_h: F32
    initial_conv: F32
    layers: F32
    offsets: I64
    widths: tuple[int, int, int, int, int, int]


def kernel_weights(bundle: Bundle) -> KernelWeights:
    """Return the weights of a verified bundle in the kernels' layout."""
    weights, config = bundle.weights, bundle.config
    D, H = config.dim, config.hidden
    Dp, Hp, Fp = pad_to_panels(D), pad_to_panels(H), pad_to_panels(4 * D)
    layers = [_layer_parts(weights, f"recurrent_layers.{n}.", config) for n in range(config.layers)]
    types = np.zeros((max(1, config.event_types), Dp), np.float32)
    if config.event_types:
        types[:, :D] = weights["type_embedding.weight"]
    initial = np.zeros((*config.state_shape[:2], Hp), np.float32)
    initial[..., :H] = weights["initial_state"]
    return KernelWeights(
        embedding=np.require(weights["item_embedding.weight"], np.float32, ["C", "W"]),
        types=types,
        norm=np.stack([_padded(weights["layer_norm.weight"], Dp), _padded(weights["layer_norm.bias"], Dp)]),
        initial_h=np.ascontiguousarray(initial[:, -1]),
        initial_conv=np.ascontiguousarray(initial[:, :-1]),
        layers=np.stack([np.concatenate([part.ravel() for part in parts]) for parts in layers]),
        offsets=np.cumsum([0, *(part.size for part in layers[0][:-1])], dtype=np.int64),
        widths=(D, H, config.conv_width, Dp, Hp, Fp),
    )


def pad_to_panels(width: int) -> int:
    """Return `width` rounded up to whole panels."""
    return -(-width // PANEL) * PANEL


def to_panels(matrix: F32, bias: F32 | None, inputs: int, outputs: int) -> F32:
    """Return a matrix (out, in) in panels, padded with zeros.

    The result is (outputs / PANEL, 1 + inputs, PANEL).

    The line of the bias is zero if there is no bias.
    """
    table = np.zeros((1 + inputs, outputs), np.float32)
    table[1 : 1 + matrix.shape[1], : matrix.shape[0]] = matrix.T
    if bias is not None:
        table[0, : bias.size] = bias
    return np.ascontiguousarray(table.reshape(1 + inputs, -1, PANEL).transpose(1, 0, 2))


def _layer_parts(weights: Weights, prefix: str, config: ModelConfig) -> list[F32]:
    """Return a layer's parts, in the order of the kernels' offsets."""
    H = config.hidden
    Dp, Hp, Fp = pad_to_panels(config.dim), pad_to_panels(H), pad_to_panels(4 * config.dim)

    def weight(name: str) -> F32:
        return weights[prefix + name]

    recurrent = "behavior_modeling."
    projection, gates = weight(recurrent + "input.weight"), weight(recurrent + "gates.weight")
    gate_bias = weight(recurrent + "gates.bias")
    taps = np.zeros((config.conv_width, Hp), np.float32)
    taps[:, :H] = weight(recurrent + "conv1d.weight")[:, 0].T
    # log(1 + exp(v)) without overflow, in double precision and rounded once.
    softplus = np.logaddexp(0.0, weight(recurrent + "Lambda").astype(np.float64)).astype(np.float32)
    return [
        # Each half in panels of its own, because recomputing a conv input needs the x half only.
        np.concatenate([to_panels(half, None, Dp, Hp) for half in (projection[:H], projection[H:])]),
        np.concatenate([to_panels(gates[half], gate_bias[half], Hp, Hp) for half in (slice(H), slice(H, None))]),
        to_panels(weight(recurrent + "output.weight"), None, Hp, Dp),
        to_panels(weight("ffn.w_1.weight"), weight("ffn.w_1.bias"), Dp, Fp),
        to_panels(weight("ffn.w_2.weight"), weight("ffn.w_2.bias"), Fp, Dp),
        taps,
        _padded(weight(recurrent + "conv1d.bias"), Hp),
        _padded(softplus, Hp),
        np.stack([_padded(weight("layer_norm.weight"), Dp), _padded(weight("layer_norm.bias"), Dp)]),
        np.stack([_padded(weight("ffn.layer_norm.weight"), Dp), _padded(weight("ffn.layer_norm.bias"), Dp)]),
    ]


def _padded(vector: F32, width: int) -> F32:
    padded = np.zeros(width, np.float32)
    padded[: vector.size] = vector
    return padded
