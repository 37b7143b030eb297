"""The network in NumPy: many users' pending items folded into their states at once (design section 2).

Everything but the recurrence runs over all users and steps together; the recurrence walks over time.
Axes: B users, T steps, D model width, H channels, K conv taps, L layers. All arrays float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.config import LAYER_NORM_EPS
from model.state import F32
from service.engine.parameters import LayerParameters, Parameters

Index = NDArray[np.int64]


@dataclass(slots=True)
class States:
    """B users' states: output (B, D), h (B, L, H), conv (B, L, K - 1, H) with the oldest input first."""

    output: F32
    h: F32
    conv: F32


def fold(parameters: Parameters, rows: Index, lengths: Index, states: States) -> States:
    """The states after folding each user's items.

    rows (B, T) embedding rows, padded on the right with any valid row; lengths (B,), each from 1 to T.
    """
    u = item_inputs(parameters, rows)
    users = np.arange(len(rows))
    valid = None if (lengths == rows.shape[1]).all() else np.arange(rows.shape[1]) < lengths[:, None]
    h, conv = np.empty_like(states.h), np.empty_like(states.conv)
    for n, layer in enumerate(parameters.layers):
        projected: F32 = u @ layer.input
        x, z = np.split(projected, 2, axis=-1)
        inputs = np.concatenate([states.conv[:, n], x], axis=1)
        conv[:, n] = inputs[users[:, None], lengths[:, None] + np.arange(conv.shape[2])]
        steps = _recur(layer, inputs, states.h[:, n], valid)
        h[:, n] = steps[:, -1]
        mixed = _silu(z) * steps
        residual: F32 = np.matmul(mixed, layer.output) + u
        y = _norm(residual, layer.norm_weight, layer.norm_bias)
        inner = _silu(y @ layer.w_1 + layer.b_1) @ layer.w_2 + layer.b_2
        u = _norm(inner + y, layer.ffn_norm_weight, layer.ffn_norm_bias)
    return States(u[users, lengths - 1], h, conv)


def item_inputs(parameters: Parameters, rows: NDArray[np.integer]) -> F32:
    """What items look like to the first layer: (…) rows -> (…, D)."""
    return _norm(parameters.embedding[rows], parameters.norm_weight, parameters.norm_bias)


def _recur(layer: LayerParameters, inputs: F32, h: F32, valid: NDArray[np.bool_] | None) -> F32:
    """BD-LRU: inputs (B, K - 1 + T, H) of the conv, h (B, H) -> h at every step (B, T, H); padding keeps h."""
    K = len(layer.taps)
    T = inputs.shape[1] - K + 1
    x = layer.conv_bias + inputs[:, :T] * layer.taps[0]
    for k in range(1, K):
        x += inputs[:, k : k + T] * layer.taps[k]
    x = _silu(x)
    r, i = np.split(_sigmoid(x @ layer.gates + layer.gates_bias), 2, axis=-1)
    log_a = -layer.softplus_lambda * r
    a = np.exp(log_a)
    b = np.sqrt(-np.expm1(2 * log_a)) * i * x
    if valid is not None:
        a = np.where(valid[:, :, None], a, np.float32(1))
        b = np.where(valid[:, :, None], b, np.float32(0))
    steps: F32 = np.empty_like(b)
    for t in range(T):
        h = a[:, t] * h + b[:, t]
        steps[:, t] = h
    return steps


def _norm(x: F32, weight: F32, bias: F32) -> F32:
    centred: F32 = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    normed: F32 = centred / np.sqrt(variance + np.float32(LAYER_NORM_EPS)) * weight + bias
    return normed


def _sigmoid(x: F32) -> F32:
    with np.errstate(over="ignore"):  # exp(-x) is infinite for x < -88, and 1 / inf is the right answer
        between: F32 = np.float32(1) / (np.float32(1) + np.exp(-x))
        return between


def _silu(x: F32) -> F32:
    product: F32 = x * _sigmoid(x)
    return product
