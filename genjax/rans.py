"""An entropy coder: vectorized rANS (1311.2540), and codecs that put arrays of symbols on its stack and take them off again.

rANS keeps a number s; a symbol that owns the slots [start, start + freq) of 2^bits goes on and comes off the top of it:

    push   s <- (s // freq) 2^bits + start + s % freq,         log2 s grows by bits - log2 freq = -log2 p
    pop    slot = s % 2^bits names the symbol;  s <- freq (s // 2^bits) + slot - start, which shrinks it by as much

`lanes` such numbers ("heads", 64 bits) take turns over an array of symbols and spill 32-bit words onto one shared stack.
A stack is a value: pushing and popping return new ones. Pop undoes push exactly, so popping what was never pushed draws a
sample at the expense of bits that are already there; where none are, it takes words of a fixed pseudo-random sequence.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

Ints = np.ndarray  # (n,) uint64: 64-bit unsigned arithmetic throughout, exact and silent about overflow that never happens

LOW = 31  # heads live in [2^31, 2^63)
LEVEL_BITS = 20  # resolution of the probabilities of data: what the floor of one slot a level takes is 256 / 2^20 at most
BIN_BITS = 24  # and of the posterior's bins, of which there are more; both are well below LOW, where rANS loses precision


# ---- rANS ------------------------------------------------------------------------------------------------------------


class Stack(NamedTuple):
    """The message so far."""

    heads: Ints  # (lanes,) in [2^31, 2^63)
    tail: tuple | None = None  # (top chunk of uint32 words, the tail below it), None at the bottom
    borrowed: int = 0  # pseudo-random words taken from below the bottom


def empty_stack(lanes: int) -> Stack:
    """A stack of no symbols. Its heads start at random too: a pop from round numbers would draw no sample but the first bin."""
    return Stack(random_words(0, lanes).astype(np.uint64) | np.uint64(1 << LOW))


def random_words(first: int, count: int) -> np.ndarray:
    """(count,) uint32: words number first + count - 1 down to first of one fixed endless sequence (splitmix64)."""
    n = np.arange(first + count, first, -1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    n = (n ^ (n >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    n = (n ^ (n >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((n ^ (n >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)


def encode_symbols(stack: Stack, start: Ints, freq: Ints, bits: int) -> Stack:
    """Push symbols, the last first, so that popping them runs forward.

    Args:
      start: (n,) integers, the first slot of each symbol, of 2^bits.
      freq: (n,) integers, how many slots each has; 0 cannot be coded.
      bits: resolution of the probabilities, at most 28.
    """
    start, freq = start.astype(np.uint64), freq.astype(np.uint64)
    heads, tail = stack.heads.copy(), stack.tail
    limit, bits = freq << np.uint64(63 - bits), np.uint64(bits)
    for rows in reversed(turns(len(start), len(heads))):
        s, f = heads[: rows.stop - rows.start], freq[rows]
        full = s >= limit[rows]
        if full.any():
            tail = (s[full].astype(np.uint32), tail)
            s = np.where(full, s >> np.uint64(32), s)
        whole, rest = np.divmod(s, f)
        heads[: len(s)] = (whole << bits) + rest + start[rows]
    return stack._replace(heads=heads, tail=tail)


def decode_symbols(
    stack: Stack, count: int, bits: int, find: Callable[[slice, Ints], tuple[Ints, Ints, Ints]]
) -> tuple[Stack, Ints]:
    """Pop `count` symbols, (count,) integers. `find(rows, slots)` gives symbol, start and freq of the owners of slots."""
    heads, symbols, bits = stack.heads.copy(), np.empty(count, np.uint64), np.uint64(bits)
    for rows in turns(count, len(heads)):
        s = heads[: rows.stop - rows.start]
        slot = s & ((np.uint64(1) << bits) - np.uint64(1))
        symbols[rows], start, freq = find(rows, slot)
        s = freq * (s >> bits) + slot - start
        hungry = s < np.uint64(1 << LOW)
        if hungry.any():
            stack, words = _take(stack, int(hungry.sum()))
            s[hungry] = (s[hungry] << np.uint64(32)) | words
        heads[: len(s)] = s
    return stack._replace(heads=heads), symbols


def turns(count: int, lanes: int) -> list[slice]:
    """The symbols that are coded at once, one a lane."""
    return [slice(first, min(first + lanes, count)) for first in range(0, count, lanes)]


def _take(stack: Stack, count: int) -> tuple[Stack, np.ndarray]:
    """The top `count` words of the tail, in the order in which they were put there."""
    chunks, tail = [], stack.tail
    while count and tail is not None:
        chunk, tail = tail
        if len(chunk) > count:
            chunk, tail = chunk[-count:], (chunk[:-count], tail)
        chunks.append(chunk)
        count -= len(chunk)
    if count:
        chunks.append(random_words(stack.borrowed + len(stack.heads), count))
    return stack._replace(tail=tail, borrowed=stack.borrowed + count), np.concatenate(chunks[::-1]).astype(np.uint64)


def words_of(stack: Stack) -> np.ndarray:
    """(n,) uint32: the tail from its bottom to its top."""
    chunks, tail = [np.empty(0, np.uint32)], stack.tail
    while tail is not None:
        chunks.insert(1, tail[0])
        tail = tail[1]
    return np.concatenate(chunks)


# ---- codecs: how an array of symbols goes on a stack and comes off it ------------------------------------------------


class Codec(NamedTuple):
    """push and pop undo each other exactly, in either order."""

    push: Callable[[Stack, Ints], Stack]  # (stack, symbols (n,)) -> stack
    pop: Callable[[Stack], tuple[Stack, Ints]]  # stack -> (stack, symbols (n,))


def uniform(count: int, bits: int) -> Codec:
    """`count` symbols of 0 .. 2^bits - 1, all equally likely."""
    one = np.ones(count, np.uint64)
    return Codec(
        lambda stack, symbols: encode_symbols(stack, symbols, one, bits),
        lambda stack: decode_symbols(stack, count, bits, lambda rows, slots: (slots, slots, one[rows])),
    )


def categorical(log_mass: np.ndarray, bits: int = LEVEL_BITS) -> Codec:
    """One symbol a row of log_mass (n, levels), which need not be normalized; every level keeps at least one slot."""
    edges = _slots(np.asarray(log_mass), bits)

    def push(stack: Stack, symbols: Ints) -> Stack:
        start, stop = (np.take_along_axis(edges, (symbols + np.uint64(k))[:, None].astype(np.int64), 1)[:, 0] for k in (0, 1))
        return encode_symbols(stack, start, stop - start, bits)

    def find(rows: slice, slots: Ints) -> tuple[Ints, Ints, Ints]:
        table = edges[rows]
        symbols = (table[:, 1:-1] <= slots[:, None]).sum(1)
        at = np.arange(len(symbols))
        return symbols, table[at, symbols], table[at, symbols + 1] - table[at, symbols]

    return Codec(push, lambda stack: decode_symbols(stack, len(edges), bits, find))


def _slots(log_mass: np.ndarray, bits: int) -> np.ndarray:
    """(n, levels + 1) uint64: the first slot of each level, and 2^bits."""
    mass = np.exp(log_mass.astype(np.float64) - log_mass.max(1, keepdims=True))
    if not np.isfinite(mass).all():
        bad = (~np.isfinite(mass)).any(axis=1).sum()
        raise ValueError(f"the model's probabilities are not finite in {bad} of {len(mass)} places")
    share = np.cumsum(mass, axis=1)
    share = np.concatenate([np.zeros((len(mass), 1)), share / share[:, -1:]], axis=1)
    levels = mass.shape[1]
    return np.floor(share * (2**bits - levels)).astype(np.uint64) + np.arange(levels + 1, dtype=np.uint64)


def normal_bins(mean: np.ndarray, scale: np.ndarray, latent_bits: int, bits: int = BIN_BITS) -> Codec:
    """The bin, of 2^latent_bits equally likely under N(0, 1), of a draw from N(mean, scale^2); mean and scale (n,).

    Slots are given by one integer function of (bin, mean, scale), searched by bisection: there is no inverse to disagree with.
    """
    mean, scale = mean.astype(np.float64), scale.astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("the model's posterior has a mean or scale that is not finite, or a scale that is zero")
    bins = 1 << latent_bits
    edges = ndtri(np.arange(bins + 1) / bins)

    def first(number: np.ndarray, rows: slice) -> Ints:
        share = ndtr((edges[number] - mean[rows]) / scale[rows])
        return np.floor(share * (2**bits - bins)).astype(np.uint64) + number.astype(np.uint64)

    def push(stack: Stack, symbols: Ints) -> Stack:
        number, every = symbols.astype(np.int64), slice(None)
        start = first(number, every)
        return encode_symbols(stack, start, first(number + 1, every) - start, bits)

    def find(rows: slice, slots: Ints) -> tuple[Ints, Ints, Ints]:
        low = np.zeros(len(slots), np.int64)
        for half in 1 << np.arange(latent_bits)[::-1]:  # first(low) <= slot < first(low + 2 half) all along
            low = np.where(first(low + half, rows) <= slots, low + half, low)
        start = first(low, rows)
        return low, start, first(low + 1, rows) - start

    return Codec(push, lambda stack: decode_symbols(stack, len(mean), bits, find))


def bin_centres(numbers: Ints, latent_bits: int) -> np.ndarray:
    """float32: the prior's median of each bin, what the decoder is given for z."""
    return ndtri((numbers.astype(np.float64) + 0.5) / (1 << latent_bits)).astype(np.float32)
