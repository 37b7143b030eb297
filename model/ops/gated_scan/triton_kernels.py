"""The gated scan in Triton: forward and backward in one pass each, over (B, T, H) as the layers lay it out.

A program owns a block of channels of one sequence, one channel a lane, and walks over time in tiles; the loads of
a whole tile are in flight before its first step is computed. Where batch and channels alone fill the device, a
program walks from end to end. Where they do not (CHAINED), every tile is a program of its own: it composes its
steps into one (a product and a sum), finds the state before them, and only then walks. So every input is still read
from memory once and every output written once (a chained scan with look-back; Merrill and Garland 2016). Gates,
decay and square root are computed on the way; the backward pass computes them again instead of reading them.

Axes: B batch, T time, H channels. Tensors are contiguous; inputs float32 or bfloat16, arithmetic float32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def softplus(value):
    """log(1 + exp(value)), float32, to full relative precision for very negative values too."""
    e = tl.exp(tl.minimum(value, 20.0))
    rounded = 1.0 + e
    # log1p from log: what rounding took from e is given back as a factor (Kahan).
    log1p = tl.where(rounded == 1.0, e, tl.log(rounded) * (e / tl.where(rounded == 1.0, 1.0, rounded - 1.0)))
    return tl.where(value > 20.0, value, log1p)


@triton.jit
def sigmoid(value):
    """1 / (1 + exp(-value)). A division takes several instructions more than a reciprocal root and its square."""
    root = tl.rsqrt(1.0 + tl.exp(-value))
    return root * root


@triton.jit
def decay(r, softplus_lambda):
    """a, sqrt(1 - a^2) without cancellation for a near 1, one over that, and sigmoid(r)."""
    sig_r = sigmoid(r)
    # -expm1(v) by its series where 1 - a^2 would cancel (six terms are float32 for |v| < 1/8), else directly.
    v = -2.0 * softplus_lambda * sig_r
    a = tl.exp(0.5 * v)
    series = -v * (1.0 + v * (0.5 + v * (1.0 / 6.0 + v * (1.0 / 24.0 + v * (1.0 / 120.0 + v * (1.0 / 720.0))))))
    # Not below 1e-37, as in the reference.
    rest = tl.maximum(tl.where(v > -0.125, series, 1.0 - a * a), 1e-37)
    inverse = tl.rsqrt(rest)
    return a, rest * inverse, inverse, sig_r


@triton.jit
def _publish(words, product, total, inside):
    """Hand (product, total) to the tiles that wait: one 64-bit word, so that neither comes alone.

    A product of decays is not negative, so its sign is free to mark that the word has been written.
    """
    high = (product.to(tl.int32, bitcast=True) | -0x80000000).to(tl.int64) << 32
    tl.store(words, high | total.to(tl.uint32, bitcast=True).to(tl.int64), inside)


@triton.jit
def _await(words, inside):
    """The (product, total) that another tile publishes, once all its words carry the mark."""
    word = tl.load(words, inside, -1, volatile=True)
    # The mark is in the upper half: the largest of 32-bit numbers is found faster than that of 64-bit ones.
    while tl.max((word >> 32).to(tl.int32), axis=0) >= 0:
        word = tl.load(words, inside, -1, volatile=True)
    product = ((word >> 32) & 0x7FFFFFFF).to(tl.int32).to(tl.float32, bitcast=True)
    return product, (word & 0xFFFFFFFF).to(tl.uint32).to(tl.float32, bitcast=True)


@triton.jit
def _hand_over(words, before, place, product, total, first, inside):
    """The state before the tile at `place` of its chain, whose own steps compose to (product, total).

    A tile at an even place publishes the state after it, one at an odd place only what its steps compose to, which
    needs no waiting. So an even tile waits for the even one before it, and the chain of tiles that wait for each
    other is half as long as that of the tiles. `first` is the state before the first tile; `words + before` are those
    of the tile before.
    """
    even = place % 2 == 0
    state = first
    if even:
        if place > 0:
            reach, added = _await(words + before, inside)
            _, published = _await(words + 2 * before, inside)
            state = reach * published + added
        _publish(words, tl.zeros(first.shape, tl.float32), product * state + total, inside)
    else:
        _publish(words, product, total, inside)
        _, state = _await(words + before, inside)
    return state


@triton.jit
def _place(ticket_ptr, sequences, H, CHAINED: tl.constexpr, BLOCK: tl.constexpr):
    """Which tile (0 unless CHAINED), sequence and channels are this program's.

    Chained places are given out by a counter, tiles of the same number first: whoever waits knows that the tile
    before its own has begun.
    """
    blocks = tl.cdiv(H, BLOCK)
    ticket = tl.atomic_add(ticket_ptr, 1).to(tl.int32) if CHAINED else tl.program_id(0)
    tile = ticket // (sequences * blocks)
    rest = ticket % (sequences * blocks)
    channel = (rest % blocks) * BLOCK + tl.arange(0, BLOCK)
    return tile, (rest // blocks).to(tl.int64), channel


@triton.jit
def _reach(t, row, a, length, starts_ptr, STARTS: tl.constexpr):
    """How much of the state before step t is left after it: a, 0 where a history begins, 1 at padding."""
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
    final_ptr,
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
    """h (B, T, H) and final (B, H) in `tiles` tiles of TILE steps."""
    place, batch, channel = _place(ticket_ptr, B, H, CHAINED, BLOCK)
    inside = channel < H
    softplus_lambda = softplus(tl.load(lambda_ptr + channel, inside, 0.0).to(tl.float32))
    length = tl.load(lengths_ptr + batch)
    state = tl.load(initial_ptr + batch * H + channel, inside, 0.0).to(tl.float32)
    for n in range(1 if CHAINED else tiles):
        tile = place + n
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
            state = _hand_over(words, -H, place, product, total, state, inside)
        for step in tl.static_range(TILE):
            t = tile * TILE + step
            state = reach[step] * state + added[step]
            tl.store(h_ptr + (batch * T + t) * H + channel, state, inside & (channel * 0 + t < T))
        if tile == tiles - 1:
            tl.store(final_ptr + batch * H + channel, state, inside)


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
    dfinal_ptr,
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
    """All gradients, walking back in time through `tiles` tiles of `tile_steps` steps (a multiple of GROUP).

    dlambda is left as one sum for each program, (B, tiles, H). `carry` is what reaches step t from all later ones:
    a_{t+1} g_{t+1}, where g_t = dL/dh_t in all.
    """
    place, batch, channel = _place(ticket_ptr, B, H, CHAINED, BLOCK)
    inside = channel < H
    Lambda = tl.load(lambda_ptr + channel, inside, 0.0).to(tl.float32)
    softplus_lambda = softplus(Lambda)
    initial = tl.load(initial_ptr + batch * H + channel, inside, 0.0).to(tl.float32)
    length = tl.load(lengths_ptr + batch)
    carry = tl.load(dfinal_ptr + batch * H + channel, inside, 0.0).to(tl.float32)
    dsoftplus = tl.zeros([BLOCK], tl.float32)
    tile = tiles - 1 - place
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
        carry = _hand_over(words, H, place, product, total, carry, inside)
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
