"""A bundle's arrays, laid out for the CPU engine: matrices transposed once, so that products read rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.artifact import Bundle, Weights
from model.state import F32


@dataclass(frozen=True, slots=True)
class LayerParameters:
    """One layer. Matrices are (in, out), float32, contiguous.

    input (D, 2H), taps (K, H) oldest first, conv_bias (H,), gates (H, 2H), gates_bias (2H,),
    softplus_lambda (H,), output (H, D), norm_weight/norm_bias (D,), w_1 (D, 4D), b_1, w_2 (4D, D), b_2,
    ffn_norm_weight/ffn_norm_bias (D,)
    """

    input: F32
    taps: F32
    conv_bias: F32
    gates: F32
    gates_bias: F32
    softplus_lambda: F32
    output: F32
    norm_weight: F32
    norm_bias: F32
    w_1: F32
    b_1: F32
    w_2: F32
    b_2: F32
    ffn_norm_weight: F32
    ffn_norm_bias: F32


@dataclass(frozen=True, slots=True)
class Parameters:
    """The network. embedding (V + 1, D), norm_weight/norm_bias (D,), initial_state (L, K, H)."""

    embedding: F32
    norm_weight: F32
    norm_bias: F32
    initial_state: F32
    layers: tuple[LayerParameters, ...]


def prepare(bundle: Bundle) -> Parameters:
    """The parameters of a verified bundle."""
    weights = bundle.weights
    return Parameters(
        embedding=weights["item_embedding.weight"],
        norm_weight=weights["layer_norm.weight"],
        norm_bias=weights["layer_norm.bias"],
        initial_state=weights["initial_state"],
        layers=tuple(_layer(weights, f"recurrent_layers.{n}.") for n in range(bundle.config.layers)),
    )


def _layer(weights: Weights, prefix: str) -> LayerParameters:
    def vector(name: str) -> F32:
        return weights[prefix + name]

    def matrix(name: str) -> F32:
        return np.ascontiguousarray(weights[prefix + name].T)

    return LayerParameters(
        input=matrix("behavior_modeling.input.weight"),
        taps=np.ascontiguousarray(weights[prefix + "behavior_modeling.conv1d.weight"][:, 0].T),
        conv_bias=vector("behavior_modeling.conv1d.bias"),
        gates=matrix("behavior_modeling.gates.weight"),
        gates_bias=vector("behavior_modeling.gates.bias"),
        # log(1 + exp(v)) without overflow, in double precision before it is rounded once.
        softplus_lambda=np.logaddexp(0.0, vector("behavior_modeling.Lambda").astype(np.float64)).astype(np.float32),
        output=matrix("behavior_modeling.output.weight"),
        norm_weight=vector("layer_norm.weight"),
        norm_bias=vector("layer_norm.bias"),
        w_1=matrix("ffn.w_1.weight"),
        b_1=vector("ffn.w_1.bias"),
        w_2=matrix("ffn.w_2.weight"),
        b_2=vector("ffn.w_2.bias"),
        ffn_norm_weight=vector("ffn.layer_norm.weight"),
        ffn_norm_bias=vector("ffn.layer_norm.bias"),
    )
