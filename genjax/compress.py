"""Lossless and lossy compression of examples into real bytes: bits-back coding (1901.04866) on the coder of `genjax.rans`.

Per example x with a latent z, on a stack from which popping what was never pushed draws a sample at the expense of bits that
are already there and that the receiver gets back:

    pop z ~ q(z|x)       push x by p(x|z)       push z by p(z)         net  -log2 p(x|z) p(z) / q(z|x), the negative ELBO

with z on a grid of 2^latent_bits bins that are equally likely under the prior N(0, 1). The first pops find no bits yet and
take pseudo-random ones, which stay in the file: `initial_bits` says how many. The reader checks to get the same ones back.

The trap: both sides must see the same integers, bit for bit, and they come from a network's floats. XLA may sum in another
order for another batch shape, program, device or version. So both sides run the same jitted functions at the same
batch shape (`group`, the last one padded), float32 outputs become integers in float64 on the host, and a file is
read by the versions and on the kind of device it was written with; elsewhere the check fails with a clear line, never silently.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from genjax.densities import LatentCode
from genjax.model import Model, Params, need
from genjax.rans import (
    Codec,
    Ints,
    Stack,
    bin_centres,
    categorical,
    empty_stack,
    normal_bins,
    random_words,
    turns,
    uniform,
    words_of,
)

MAGIC = b"gjx1"
HEADER = struct.Struct("<4sIIIHBI")  # magic, CRC-32 of what follows it, examples, group, lanes, latent bits, initial words


# ---- bits back -------------------------------------------------------------------------------------------------------


class Networks(NamedTuple):
    """A `LatentCode` as functions of host arrays at one batch shape, fewer rows padded to it."""

    posterior: Callable[..., tuple[np.ndarray, np.ndarray]]  # (x, y) -> mean, scale, each (rows, *latent)
    log_mass: Callable[..., np.ndarray]  # (z, y) -> (rows, *x, levels)


def networks(code: LatentCode, params: Params, group: int) -> Networks:
    """The same two compiled programs for the writer and the reader."""

    def fixed(function):
        compiled = jax.jit(function)

        def call(rows: np.ndarray, y: np.ndarray | None) -> Any:
            pad = lambda a: None if a is None else np.concatenate([a, np.zeros((group - len(a), *a.shape[1:]), a.dtype)])
            return jax.tree.map(lambda out: np.asarray(out)[: len(rows)], compiled(params, pad(rows), pad(y)))

        return call

    return Networks(fixed(code.posterior), fixed(code.log_mass))


def bits_back(nets: Networks, shape: tuple[int, ...], levels: int, latent: tuple[int, ...], latent_bits: int, y: Any) -> Codec:
    """Codec of the levels of a few examples, (rows * dims,) integers; `shape` (rows, *x), `y` their labels or None."""
    rows = shape[0]
    prior = uniform(rows * int(np.prod(latent)), latent_bits)

    def posterior(symbols: Ints) -> Codec:
        mean, scale = nets.posterior(to_grid(symbols, levels).reshape(shape), y)
        return normal_bins(mean.reshape(-1), scale.reshape(-1), latent_bits)

    def likelihood(bins: Ints) -> Codec:
        z = bin_centres(bins, latent_bits).reshape(rows, *latent)
        return categorical(nets.log_mass(z, y).reshape(-1, levels))

    def push(stack: Stack, symbols: Ints) -> Stack:
        stack, bins = posterior(symbols).pop(stack)
        return prior.push(likelihood(bins).push(stack, symbols), bins)

    def pop(stack: Stack) -> tuple[Stack, Ints]:
        stack, bins = prior.pop(stack)
        stack, symbols = likelihood(bins).pop(stack)
        return posterior(symbols).push(stack, bins), symbols

    return Codec(push, pop)


def to_grid(symbols: Ints, levels: int) -> np.ndarray:
    """float32 k / (levels - 1) of levels k."""
    return symbols.astype(np.float32) / np.float32(levels - 1)


def to_levels(x: np.ndarray, levels: int) -> Ints:
    """Integer levels of x on the grid k / (levels - 1); ValueError off it."""
    symbols = np.rint(np.asarray(x, np.float64) * (levels - 1))
    off = np.abs(np.asarray(x, np.float64) * (levels - 1) - symbols).max(initial=0)
    if not off < 1e-3 or symbols.min(initial=0) < 0 or symbols.max(initial=0) > levels - 1:
        raise ValueError(f"compress needs x on the grid k / {levels - 1} within [0, 1]; this x lies off it: quantize it first")
    return symbols.astype(np.uint64)


def _codecs(
    model: Model, params: Params, y: np.ndarray | None, group: int, latent_bits: int
) -> tuple[Callable[[slice], Codec], tuple[int, ...], int]:
    """(rows -> codec of these examples, shape of one x, levels); ValueError for a model that cannot be coded with."""
    code = need(model, "latent_code", "lossless compression")
    if code.log_mass is None:
        raise ValueError("lossless compression needs a likelihood with `log_mass`, of discrete data; this one is continuous")
    z = jax.ShapeDtypeStruct((1, *code.latent), jnp.float32)
    *shape, levels = jax.eval_shape(code.log_mass, params, z, None if y is None else y[:1]).shape[1:]
    nets = networks(code, params, group)

    def codec(rows: slice) -> Codec:
        labels = None if y is None else np.asarray(y)[rows]
        return bits_back(nets, (rows.stop - rows.start, *shape), levels, code.latent, latent_bits, labels)

    return codec, tuple(shape), levels


def _one_each(y: np.ndarray | None, count: int, who: str) -> None:
    if y is not None and len(y) != count:
        raise ValueError(f"{who} needs a label for each of {count} examples; there are {len(y)}")


def compress(
    model: Model,
    params: Params,
    x: np.ndarray,
    y: np.ndarray | None = None,
    *,
    latent_bits: int = 12,
    group: int = 1,
    lanes: int = 32,
) -> bytes:
    """The bytes from which `decompress` has x back exactly.

    Args:
      x: (N, *x) on the likelihood's grid k / (levels - 1).
      y: (N,) labels of a conditional model; the reader must have them too, they are not in the bytes.
      latent_bits: 2^latent_bits bins for each latent dimension, 4 to 18; more than 12 hardly helps.
      group: examples coded together: more are quicker and cost more initial bits.
      lanes: numbers that take turns: more are quicker and cost 4 bytes each.
    """
    codec, shape, levels = _codecs(model, params, y, group, latent_bits)
    if not 4 <= latent_bits <= 18 or group < 1 or not 1 <= lanes < 1 << 16:
        raise ValueError(f"compress: {latent_bits=} (4 to 18), {group=} (1 or more) or {lanes=} (1 to 65535) is out of range")
    if (x := np.asarray(x)).shape[1:] != shape:
        raise ValueError(f"compress: one example of x has shape {x.shape[1:]}, the model's has {shape}")
    _one_each(y, len(x), "compress")
    symbols, stack = to_levels(x, levels), empty_stack(lanes)
    for rows in turns(len(x), group):
        stack = codec(rows).push(stack, symbols[rows].reshape(-1))
    return _to_bytes(stack, len(x), group, latent_bits)


def decompress(model: Model, params: Params, data: bytes, y: np.ndarray | None = None) -> np.ndarray:
    """(N, *x) float32 from the bytes of `compress`.

    ValueError where the bytes were damaged, or written with another model, parameters, labels, versions or device.
    """
    stack, count, group, latent_bits, borrowed = _from_bytes(data)
    codec, shape, levels = _codecs(model, params, y, group, latent_bits)
    _one_each(y, count, "decompress")
    x = np.empty((count, *shape), np.float32)
    for rows in reversed(turns(count, group)):
        stack, symbols = codec(rows).pop(stack)
        x[rows] = to_grid(symbols, levels).reshape(x[rows].shape)
    _check_back(stack, borrowed)
    return x


def initial_bits(data: bytes) -> int:
    """How many of the bits of these bytes were there before the first example: a fixed cost, 32 a lane and an initial word."""
    stack, *_, borrowed = _from_bytes(data)
    return 32 * (len(stack.heads) + borrowed)


# ---- lossy: the posterior's means only -------------------------------------------------------------------------------


def compress_lossy(
    model: Model, params: Params, x: np.ndarray, y: np.ndarray | None = None, *, latent_bits: int = 4, lanes: int = 32
) -> bytes:
    """The bins of the posterior's means, latent_bits (1 to 18) each: the rate is latent_bits * prod(latent) bits an example."""
    mean, _ = need(model, "latent_code", "lossy compression").posterior(params, x, y)
    if not 1 <= latent_bits <= 18:
        raise ValueError(f"compress_lossy: {latent_bits=} is out of range, 1 to 18")
    bins = np.minimum(ndtr(np.asarray(mean, np.float64).reshape(-1)) * (1 << latent_bits), (1 << latent_bits) - 1)
    stack = uniform(bins.size, latent_bits).push(empty_stack(lanes), bins.astype(np.uint64))
    return _to_bytes(stack, len(x), len(x), latent_bits)


def decompress_lossy(model: Model, params: Params, data: bytes, y: np.ndarray | None = None) -> jax.Array:
    """(N, *x): what the model decodes from the bytes of `compress_lossy`."""
    code = need(model, "latent_code", "lossy compression")
    stack, count, _, latent_bits, borrowed = _from_bytes(data)
    stack, bins = uniform(count * int(np.prod(code.latent)), latent_bits).pop(stack)
    _check_back(stack, borrowed)
    return need(model, "decode", "lossy compression")(params, bin_centres(bins, latent_bits).reshape(count, *code.latent), y)


# ---- the file --------------------------------------------------------------------------------------------------------


def _to_bytes(stack: Stack, count: int, group: int, latent_bits: int) -> bytes:
    numbers = stack.heads.astype("<u8").tobytes() + words_of(stack).astype("<u4").tobytes()
    fields = count, group, len(stack.heads), latent_bits, stack.borrowed
    checksum = crc32(HEADER.pack(MAGIC, 0, *fields)[8:] + numbers)
    return HEADER.pack(MAGIC, checksum, *fields) + numbers


def _from_bytes(data: bytes) -> tuple[Stack, int, int, int, int]:
    """(stack, examples, group, latent bits, initial words); ValueError where the bytes are not as they were written."""
    if len(data) < HEADER.size or data[:4] != MAGIC:
        raise ValueError("these bytes were not written by genjax.compress")
    _, checksum, count, group, lanes, latent_bits, borrowed = HEADER.unpack_from(data)
    if checksum != crc32(data[8:]):
        raise ValueError("these bytes were damaged since genjax.compress wrote them: their checksum does not fit")
    heads = np.frombuffer(data, "<u8", lanes, HEADER.size).astype(np.uint64)
    words = np.frombuffer(data, "<u4", offset=HEADER.size + 8 * lanes).astype(np.uint32)
    return Stack(heads, (words, None)), count, group, latent_bits, borrowed


def _check_back(stack: Stack, borrowed: int) -> None:
    """The initial bits, which nothing but an exact decode gives back."""
    lanes = len(stack.heads)
    same = np.array_equal(stack.heads, empty_stack(lanes).heads) and stack.borrowed == 0
    if not same or not np.array_equal(words_of(stack), random_words(lanes, borrowed)):
        raise ValueError("these bytes do not decode: another model, parameters, labels, versions or device wrote them")
