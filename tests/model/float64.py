"""RecBLR from the equations of the paper, in NumPy and float64.

It shares no code with `model/`, so that a mistake there cannot hide here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


class Plain:
    """The network over arrays named as in the published code."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], layers: int, taps: int) -> None:
        self._weights = {name: array.astype(np.float64) for name, array in weights.items()}
        self._layers = [_under(f"recurrent_layers.{n}.", self._weights) for n in range(layers)]
        self._taps = taps

    def run(
        self, items: Sequence[int], state: NDArray[np.floating] | None = None, types: Sequence[int] | None = None
    ) -> tuple[F64, F64]:
        """Outputs (T, D) and the last state (L, K, H).

        Without `types` all events have type 0.
        """
        before = self._weights["initial_state"] if state is None else state
        state = np.array(before, np.float64)
        width = self._weights["item_embedding.weight"].shape[1]
        outputs = np.empty((len(items), width))
        for t, item in enumerate(items):
            embedded = self._weights["item_embedding.weight"][item]
            if "type_embedding.weight" in self._weights:
                embedded = embedded + self._weights["type_embedding.weight"][0 if types is None else types[t]]
            u = _norm(embedded, self._weights, "layer_norm")
            for n, layer in enumerate(self._layers):
                u = self._layer(layer, u, state[n])
            outputs[t] = u
        return outputs, state

    def scores(self, output: F64) -> F64:
        """(V + 1,) scores of one output."""
        return self._weights["item_embedding.weight"] @ output

    def _layer(self, w: Mapping[str, F64], u: F64, state: F64) -> F64:
        """One layer's output (D,); `state` (K, H) is advanced in place."""
        K = self._taps
        x, z = np.split(w["behavior_modeling.input.weight"] @ u, 2)
        convolved = w["behavior_modeling.conv1d.bias"].copy()
        taps = w["behavior_modeling.conv1d.weight"]
        for k in range(K - 1):
            convolved += taps[:, 0, k] * state[k]
        convolved += taps[:, 0, K - 1] * x
        for k in range(K - 2):
            state[k] = state[k + 1]
        state[K - 2] = x
        x = _silu(convolved)
        r, i = np.split(_sigmoid(w["behavior_modeling.gates.weight"] @ x + w["behavior_modeling.gates.bias"]), 2)
        log_a = -np.log1p(np.exp(w["behavior_modeling.Lambda"])) * r
        state[K - 1] = np.exp(log_a) * state[K - 1] + np.sqrt(-np.expm1(2 * log_a)) * i * x
        y = _norm(w["behavior_modeling.output.weight"] @ (_silu(z) * state[K - 1]) + u, w, "layer_norm")
        inner = _silu(w["ffn.w_1.weight"] @ y + w["ffn.w_1.bias"])
        return _norm(w["ffn.w_2.weight"] @ inner + w["ffn.w_2.bias"] + y, w, "ffn.layer_norm")


def _under(prefix: str, weights: Mapping[str, F64]) -> dict[str, F64]:
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}


def _norm(x: F64, weights: Mapping[str, F64], name: str) -> F64:
    centred = x - x.mean()
    normed: F64 = centred / np.sqrt((centred * centred).mean() + 1e-12)
    return normed * weights[name + ".weight"] + weights[name + ".bias"]


def _sigmoid(x: F64) -> F64:
    result: F64 = 1.0 / (1.0 + np.exp(-x))
    return result


def _silu(x: F64) -> F64:
    return x * _sigmoid(x)


def relative(found: NDArray[np.floating], wanted: NDArray[np.floating]) -> float:
    """max |found - wanted| / max |wanted|."""
    return float(np.abs(np.asarray(found, np.float64) - wanted).max() / np.abs(wanted).max())
