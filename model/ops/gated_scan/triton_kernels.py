"""Triton kernels of the gated scan, forward and backward.

A program owns a block of channels of one sequence, one channel per lane, and walks over time in tiles. The loads of a
whole tile are in flight before its first step is computed. If batch and channels fill the device, a program walks
over the whole sequence. Otherwise (CHAINED) every tile is a program of its own: it composes its steps into one, a
product and a sum, gets the state before them, and then walks. Every input is read once and every output is written
once (a chained scan with look-back; Merrill and Garland 2016). Gates, decay and square root are computed on the way;
the backward pass computes them again instead of reading them.

Axes: B batch, T time, H channels. Tensors are contiguous; inputs float32 or bfloat16, arithmetic float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from model.ops.gated_scan.decoupled_lookback import locate_tile, state_before_tile


@triton.jit
def softplus(value):
    """Return log(1 + exp(value)) to full float32 precision."""
    e = tl.exp(tl.minimum(value, 20.0))
    rounded = 1.0 + e
    # log1p by log, corrected by a factor for the rounding of 1 + e (Kahan; decision 0001).
    log1p = tl.where(rounded == 1.0, e, tl.log(rounded) * (e / tl.where(rounded == 1.0, 1.0, rounded - 1.0)))
    return tl.where(value > 20.0, value, log1p)


@triton.jit
def sigmoid(value):
    """Return 1 / (1 + exp(-value)).

    A reciprocal square root and its square take fewer instructions than a division.
    """
    root = tl.rsqrt(1.0 + tl.exp(-value))
    return root * root


@triton.jit
def decay(r, softplus_lambda):
    """Return a, sqrt(1 - a^2), its inverse, and sigmoid(r).

    The result is precise for a near 1.
    """
    sig_r = sigmoid(r)
    # -expm1(v) by its series if 1 - a^2 would lose digits (six terms suffice for |v| < 1/8), else directly.
    v = -2.0 * softplus_lambda * sig_r
    a = tl.exp(0.5 * v)
    series = -v * (1.0 + v * (0.5 + v * (1.0 / 6.0 + v * (1.0 / 24.0 + v * (1.0 / 120.0 + v * (1.0 / 720.0))))))
    # MIN_GATE of the reference.
    rest = tl.maximum(tl.where(v > -0.125, series, 1.0 - a * a), 1e-37)
    inverse = tl.rsqrt(rest)
    return a, rest * inverse, inverse, sig_r


@triton.jit
def _reach(t, row, a, length, starts_ptr, STARTS: tl.constexpr):
    """Return the factor of the state before step t.

    It is a, 0 at starts, or 1 at padding.
    """
    if STARTS:
        a = tl.where(tl.load(starts_ptr + row, t < length, 0) != 0, 0.0, a)
    return tl.where(t < length, a, 1.0)


@triton.jit
def forward_kernel(
    x_ptr,
    gates_ptr,
    lambda_ptr,
    initial_ptr,
    lengths_ptr,
    starts_ptr,
    h_ptr,
    last_h_ptr,
    ticket_ptr,
    words_ptr,
    B,
    T,
    H,
    tiles,
    STARTS: tl.constexpr,
    CHAINED: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write h and the last h, in `tiles` tiles of TILE steps.

    h is (B, T, H), the last h (B, H).
    """
    position, batch, channel = locate_tile(ticket_ptr, B, H, CHAINED, BLOCK)
    inside = channel < H
    softplus_lambda = softplus(tl.load(lambda_ptr + channel, inside, 0.0).to(tl.float32))
    length = tl.load(lengths_ptr + batch)
    state = tl.load(initial_ptr + batch * H + channel, inside, 0.0).to(tl.float32)
    for n in range(1 if CHAINED else tiles):
        tile = position + n
        reach = ()
        added = ()
        for step in tl.static_range(TILE):
            t = tile * TILE + step
            row = batch * T + t
            here = inside & (channel * 0 + t < T)
            x = tl.load(x_ptr + row * H + channel, here, 0.0).to(tl.float32)
            r = tl.load(gates_ptr + row * 2 * H + channel, here, 0.0).to(tl.float32)
            i = tl.load(gates_ptr + row * 2 * H + H + channel, here, 0.0).to(tl.float32)
            a, scale, _, _ = decay(r, softplus_lambda)
            reach = reach + (_reach(t, row, a, length, starts_ptr, STARTS),)
            added = added + (tl.where(t < length, scale * sigmoid(i) * x, 0.0),)
        if CHAINED:
            product = tl.full([BLOCK], 1.0, tl.float32)
            total = tl.zeros([BLOCK], tl.float32)
            for step in tl.static_range(TILE):
                product *= reach[step]
                total = reach[step] * total + added[step]
            words = words_ptr + (batch * tiles + tile) * H + channel
            state = state_before_tile(words, -H, position, product, total, state, inside)
        for step in tl.static_range(TILE):
            t = tile * TILE + step
            state = reach[step] * state + added[step]
            tl.store(h_ptr + (batch * T + t) * H + channel, state, inside & (channel * 0 + t < T))
        if tile == tiles - 1:
            tl.store(last_h_ptr + batch * H + channel, state, inside)


@triton.jit
def backward_kernel(
    x_ptr,
    gates_ptr,
    lambda_ptr,
    initial_ptr,
    lengths_ptr,
    starts_ptr,
    h_ptr,
    dh_ptr,
    dlast_h_ptr,
    dx_ptr,
    dgates_ptr,
    dlambda_ptr,
    dinitial_ptr,
    ticket_ptr,
    words_ptr,
    B,
    T,
    tiles,
    tile_steps,
    H: tl.constexpr,
    STARTS: tl.constexpr,
    CHAINED: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write all gradients, back in time through `tiles` tiles of `tile_steps` steps.

    tile_steps is a multiple of GROUP. dlambda is written as one sum per program, (B, tiles, H). `carry` is the
    gradient that reaches step t from later ones: a_{t+1} g_{t+1}, where g_t is the total dL/dh_t.
    """
    position, batch, channel = locate_tile(ticket_ptr, B, H, CHAINED, BLOCK)
    inside = channel < H
    Lambda = tl.load(lambda_ptr + channel, inside, 0.0).to(tl.float32)
    softplus_lambda = softplus(Lambda)
    initial = tl.load(initial_ptr + batch * H + channel, inside, 0.0).to(tl.float32)
    length = tl.load(lengths_ptr + batch)
    carry = tl.load(dlast_h_ptr + batch * H + channel, inside, 0.0).to(tl.float32)
    dsoftplus = tl.zeros([BLOCK], tl.float32)
    tile = tiles - 1 - position
    latest = (tile + 1) * tile_steps - 1
    if CHAINED:
        product = tl.full([BLOCK], 1.0, tl.float32)
        total = tl.zeros([BLOCK], tl.float32)
        for group in range(tile_steps // GROUP):
            pairs = ()
            for step in tl.static_range(GROUP):
                t = latest - group * GROUP - step
                row = batch * T + t
                here = inside & (channel * 0 + t < T)
                r = tl.load(gates_ptr + row * 2 * H + channel, here, 0.0).to(tl.float32)
                pairs = pairs + ((r, tl.load(dh_ptr + row * H + channel, here, 0.0).to(tl.float32)),)
            for step in tl.static_range(GROUP):
                t = latest - group * GROUP - step
                r, dh = pairs[step]
                a, _, _, _ = decay(r, softplus_lambda)
                reach = _reach(t, batch * T + t, a, length, starts_ptr, STARTS)
                product *= reach
                total = reach * (total + dh)
        words = words_ptr + (batch * tiles + tile) * H + channel
        carry = state_before_tile(words, H, position, product, total, carry, inside)
    for group in range(tile_steps // GROUP):
        loaded = ()
        for step in tl.static_range(GROUP):
            t = latest - group * GROUP - step
            row = batch * T + t
            here = inside & (channel * 0 + t < T)
            x = tl.load(x_ptr + row * H + channel, here, 0.0).to(tl.float32)
            r = tl.load(gates_ptr + row * 2 * H + channel, here, 0.0).to(tl.float32)
            i = tl.load(gates_ptr + row * 2 * H + H + channel, here, 0.0).to(tl.float32)
            dh = tl.load(dh_ptr + row * H + channel, here, 0.0).to(tl.float32)
            before = tl.load(h_ptr + (row - 1) * H + channel, here & (channel * 0 + t > 0), 0.0)
            loaded = loaded + ((x, r, i, dh, before),)
        for step in tl.static_range(GROUP):
            t = latest - group * GROUP - step
            row = batch * T + t
            here = inside & (channel * 0 + t < T)
            x, r, i, dh, before = loaded[step]
            before = tl.where(t > 0, before, initial)
            if STARTS:
                before = tl.where(tl.load(starts_ptr + row, t < T, 0) != 0, 0.0, before)
            a, scale, inverse, sig_r = decay(r, softplus_lambda)
            sig_i = sigmoid(i)
            g = dh + carry
            carry = _reach(t, row, a, length, starts_ptr, STARTS) * g
            # d sqrt(1 - a^2) / d log a = -a^2 / sqrt(1 - a^2)
            dlog_a = tl.where(t < length, g * a * (before - sig_i * x * a * inverse), 0.0)
            db = tl.where(t < length, g * scale, 0.0)
            dsoftplus -= dlog_a * sig_r
            gate = dgates_ptr + row * 2 * H + channel
            tl.store(dx_ptr + row * H + channel, db * sig_i, here)
            tl.store(gate, -dlog_a * softplus_lambda * sig_r * (1.0 - sig_r), here)
            tl.store(gate + H, db * x * sig_i * (1.0 - sig_i), here)
    if tile == 0:
        tl.store(dinitial_ptr + batch * H + channel, carry, inside)
    tl.store(dlambda_ptr + (batch * tiles + tile) * H + channel, dsoftplus * sigmoid(Lambda), inside)
