"""How much of a card's matrix rate the training of DiT-B/2 reaches, a job of `benchmarks.pending`.

    rate      operations a second of the products of bfloat16 matrices, 8192 x 8192, measured beside it
    counted   3 (2 weights tokens + 4 depth tokens^2 width) operations an example: products of the blocks, forward and twice
              that backward; norms, softmax, optimizer and what is recomputed count as nothing
    share     counted operations a second of whole steps, over `rate`

DiT-B/2 (2212.09748) on codes of 32 x 32 x 4, 256 tokens, bfloat16 inside on float32 parameters, v-prediction, Adam, steps in a
scan, with all that the backward pass needs kept, and with it made again but for products with weights; the scores of the
attention stored, or in cuDNN's kernel. Beside whole steps stand the forward pass alone, and both passes without the optimizer:
where the time goes.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

import genjax
from benchmarks import progress
from benchmarks.progress import Progress
from benchmarks.record import row
from genjax.families.diffusion import diffusion
from genjax.model import Model, as_batch, pick, place, stream
from genjax.nets import dit
from genjax.precision import half

JOB, BAR, REPEATS = "dit", 0.45, 5
NAMES = {  # by (are all but the products made again, is the attention in one kernel)
    (True, False): "DiT-B/2, training in bfloat16, all but products made again",
    (False, False): "DiT-B/2, training in bfloat16",
    (True, True): "DiT-B/2, training in bfloat16, all but products made again, attention in one kernel",
    (False, True): "DiT-B/2, training in bfloat16, attention in one kernel",
}


class Size(NamedTuple):
    """What is timed."""

    shape: tuple[int, ...]
    width: int
    depth: int
    heads: int
    batches: tuple[int, ...]
    side: int  # of the matrices
    steps: int  # in a scan

    @property
    def tokens(self) -> int:
        return self.shape[0] * self.shape[1] // 4

    @property
    def operations(self) -> int:
        """Of one example in one training step."""
        weights = 12 * self.width**2 * self.depth
        return 3 * (2 * weights * self.tokens + 4 * self.depth * self.tokens**2 * self.width)


BASE = Size((32, 32, 4), 768, 12, 12, (128, 64), 8192, 10)
TINY = Size((4, 4, 1), 8, 2, 2, (2,), 32, 2)


def build(size: Size, remat: bool, kernel: bool) -> Model:
    in_one = partial(jax.nn.dot_product_attention, implementation="cudnn" if jax.default_backend() == "gpu" else "xla")
    way = {"remat": remat} | ({"attention": in_one} if kernel else {})
    net = dit(size.shape, patch=2, width=size.width, depth=size.depth, heads=size.heads, **way)
    return diffusion(half(net), size.shape, optax.adam(1e-4))


def fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls, the first left out."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - began)
    return min(times[1:])


def matrix_rate(side: int, count: int = 10) -> float:
    """Operations a second of products of bfloat16 matrices of random numbers."""
    a, b = (jax.random.normal(key, (side, side), jnp.bfloat16) for key in jax.random.split(jax.random.key(0)))
    many = jax.jit(lambda a, b: jax.lax.fori_loop(0, count, lambda _, x: (x @ b) / side**0.5, a))
    return 2 * side**3 * count / fastest(lambda: many(a, b))


def seconds(model: Model, size: Size, batch: int) -> dict[str, float]:
    """Of one step, of both passes, and of the forward pass."""
    x, (phase,) = as_batch(jax.random.normal(jax.random.key(1), (batch, *size.shape))), model.stages[0]
    state, step = jax.jit(lambda: genjax.init(model, jax.random.key(0), x))(), genjax.make_step(model)
    loss = lambda mine, key: phase.loss(place(state.params, mine), key, x).value  # all that is in it is trained
    mine, keys = pick(state.params, phase.trains), jax.random.split(stream(jax.random.key(0), "times"), size.steps)

    def again(function: Callable) -> Callable:
        """As many turns, each with another key, whose results are summed, so that none is left out."""
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, mine, keys[0]))

        def many(state):
            total = lambda sums, key: jax.tree.map(jnp.add, sums, function(pick(state.params, phase.trains), key))
            return jax.lax.scan(lambda sums, key: (total(sums, key), None), zeros, keys)[0]

        return many

    whole = lambda state: jax.lax.scan(lambda s, _: (step(s, x)[0], None), state, None, size.steps)[0]
    runs = {"step": whole, "both passes": again(jax.grad(loss)), "forward pass": again(loss)}
    with ThreadPoolExecutor(len(runs)) as pool:  # side by side: the card waits for them
        programs = list(pool.map(lambda run: jax.jit(run).lower(state).compile(), runs.values()))
    return {name: fastest(partial(program, state)) / size.steps for name, program in zip(runs, programs, strict=True)}


def advance(folder: Path, deadline: float, tiny: bool = False) -> Progress:
    """Time what is left, one by one, while two minutes or what the last took remain."""
    size, about = (TINY, 0.0) if tiny else (BASE, 120.0)
    done = lambda: {(row["recipe"], row["keywords"]["batch"]) for row in progress.entry(folder, JOB)["rows"]}
    wanted = [(way, batch) for way in NAMES for batch in size.batches]
    for way, batch in wanted:
        began = time.monotonic()
        if (NAMES[way], batch) in done() or began + about > deadline:
            continue
        took = seconds(build(size, *way), size, batch)
        progress.keep(folder, JOB, *rows_of(NAMES[way], size, batch, matrix_rate(size.side), took))
        about = 1.2 * (time.monotonic() - began)
    return Progress(len(done()) / len(wanted), f"{len(done())} of {len(wanted)} timed")


def rows_of(name: str, size: Size, batch: int, rate: float, took: dict[str, float]) -> list[dict]:
    """The share of the rate, and where a step's time goes."""
    share = batch * size.operations / took["step"] / rate
    parts = ", ".join(f"{name} {1e3 * each:.1f} ms" for name, each in took.items())
    note = f"{rate / 1e12:.0f} TFLOP/s of products of {size.side}; {parts}; {batch / took['step']:.0f} examples/s"
    about = dict(seeds=[0], keywords={"batch": batch, "tokens": size.tokens}, note=note)
    bar = dict(bar=f">= {BAR}", met=bool(share >= BAR))
    return [row(name, "share of the matrix rate", [round(share, 4)], **bar, **about)]
