"""Exchange of states between concurrent tiles of one sequence.

Each tile publishes one 64-bit word per channel and reads the words of the tiles before it.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _publish(words, product, total, inside):
    """Store (product, total) as one 64-bit word.

    Waiting tiles therefore read both or none.

    A product of decays is not negative, so its sign bit marks that the word has been written.
    """
    high = (product.to(tl.int32, bitcast=True) | -0x80000000).to(tl.int64) << 32
    tl.store(words, high | total.to(tl.uint32, bitcast=True).to(tl.int64), inside)


@triton.jit
def _await(words, inside):
    """Wait until another tile has published, and return its (product, total)."""
    word = tl.load(words, inside, -1, volatile=True)
    # The mark is in the upper half, and the maximum of 32-bit integers is faster than that of 64-bit ones.
    while tl.max((word >> 32).to(tl.int32), axis=0) >= 0:
        word = tl.load(words, inside, -1, volatile=True)
    product = ((word >> 32) & 0x7FFFFFFF).to(tl.int32).to(tl.float32, bitcast=True)
    return product, (word & 0xFFFFFFFF).to(tl.uint32).to(tl.float32, bitcast=True)


@triton.jit
def state_before_tile(words, before, position, product, total, first, inside):
    """Publish this tile's result and return the state before the tile.

    The tile is at `position` of its chain, and its steps compose to (product, total). Even tiles publish the state
    after them, odd tiles only their composition, which needs no waiting. An even tile therefore waits for the even
    one before it, and the chain of waiting tiles is half as long. `first` is the state before the first tile;
    `words + before` are the words of the previous tile.
    """
    even = position % 2 == 0
    state = first
    if even:
        if position > 0:
            reach, added = _await(words + before, inside)
            _, published = _await(words + 2 * before, inside)
            state = reach * published + added
        _publish(words, tl.zeros(first.shape, tl.float32), product * state + total, inside)
    else:
        _publish(words, product, total, inside)
        _, state = _await(words + before, inside)
    return state


@triton.jit
def locate_tile(ticket_ptr, sequences, H, CHAINED: tl.constexpr, BLOCK: tl.constexpr):
    """Return this program's tile (0 unless CHAINED), sequence and channels.

    A counter assigns chained tiles in order of their position, so that the tile before a waiting one has started.
    """
    blocks = tl.cdiv(H, BLOCK)
    ticket = tl.atomic_add(ticket_ptr, 1).to(tl.int32) if CHAINED else tl.program_id(0)
    tile = ticket // (sequences * blocks)
    rest = ticket % (sequences * blocks)
    channel = (rest % blocks) * BLOCK + tl.arange(0, BLOCK)
    return tile, (rest // blocks).to(tl.int64), channel
