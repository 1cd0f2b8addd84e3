"""Table 1 of the IWAE paper (1509.00519) by its own schedule, a job of `benchmarks.pending`.

One stochastic layer, 3280 epochs of batches of 20 (9.8 million steps), Adam with the authors' staircase, three seeds in one
program; then the NLL of the last parameters, as in the paper, by 5000 samples an image. Products are in full float32, also
where a GPU would round to fewer bits by default.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import genjax
from benchmarks import chunks, iwae, progress
from benchmarks.chunks import Clock
from benchmarks.progress import Progress
from benchmarks.record import row
from genjax.data import row_block
from genjax.model import Model

TRAINING = 0.97  # share of the job; the rest is scoring


class Size(NamedTuple):
    """How much of everything."""

    epochs: int = iwae.EPOCHS
    images: int = iwae.TRAINED_ON
    seeds: int = 3
    batch: int = 20
    samples: int = 5000  # of the score
    block: int = 500  # test images scored at once
    real: bool = True  # MNIST; else random pixels, for tests

    @property
    def per_epoch(self) -> int:
        return self.images // self.batch

    @property
    def steps(self) -> int:
        return self.epochs * self.per_epoch


FULL, TINY = Size(), Size(epochs=3, images=40, seeds=2, batch=2, samples=4, block=10, real=False)


def advance(samples: int, folder: Path, deadline: float, size: Size = FULL) -> Progress:
    """Train, then score, until the deadline.

    Args:
      samples: K of the bound that is trained.
      folder: of the checkpoint.
      deadline: time.monotonic() at which everything is saved.
    """
    name = f"iwae_k{samples}"
    if rows := progress.entry(folder, name)["rows"]:
        return Progress(1.0, told(rows))
    model = iwae.build(samples, iwae.staircase(size.per_epoch))
    with jax.default_matmul_precision("highest"):
        state, about = train(model, name, folder, Clock(deadline), size)
        if (step := int(state.step)) < size.steps:
            minutes = sum(about["seconds"].values()) / 60
            epoch = f"epoch {step / size.per_epoch:.1f} of {size.epochs}"
            return Progress(TRAINING * step / size.steps, f"{epoch}, {minutes:.0f} min of training so far")
        nats = score(model, state, name, folder, Clock(deadline), size, about)
    if len(nats) < (count := size.seeds * blocks(size)):
        return Progress(TRAINING + (1 - TRAINING) * len(nats) / count, f"scored {len(nats)} of {count} blocks of images")
    finish(samples, name, folder, state, about, np.asarray(nats).reshape(size.seeds, -1))
    return Progress(1.0, told(progress.entry(folder, name)["rows"]))


def told(rows: list[dict[str, Any]]) -> str:
    return "; ".join(f"{row['recipe']}: {np.mean(row['values']):.2f} nats, paper {row['reference']}" for row in rows)


# ---- training ----------------------------------------------------------------------------------------------------------


def begin(model: Model, seeds: int) -> genjax.State:
    """A stack of states, one a seed, and one step number for all of them."""
    first = jax.jit(lambda seed: iwae.begin(model, seed))
    states = [first(seed) for seed in range(seeds)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)._replace(step=states[0].step)


def train(model: Model, name: str, folder: Path, clock: Clock, size: Size) -> tuple[genjax.State, dict[str, Any]]:
    """(state, about) after as many chunks as fit, saved. Chunks are an epoch on a GPU, 20 steps elsewhere."""
    target = jax.eval_shape(lambda: begin(model, size.seeds))
    state, about = chunks.restore(folder, name, lambda step: target) or (begin(model, size.seeds), {"seconds": {}, "nats": []})
    if int(state.step) == size.steps:
        return state, about
    data, run, compiled = {"x": jnp.asarray(training_images(size))}, iwae.program(model, seeds=True), {}
    chunk, here = size.per_epoch if jax.default_backend() == "gpu" else 20, jax.devices()[0].device_kind
    step = int(state.step)
    while step < size.steps and clock.another():
        length = min(chunk, size.steps - step)
        rows = np.stack([row_block(seed, step, length, size.batch, size.images) for seed in range(size.seeds)], 1)
        if length not in compiled:
            compiled[length] = run.lower(state, data, rows).compile()
            if not clock.another():
                break
        state, _ = compiled[length](state, data, rows)
        step = int(state.step)  # waits
        about["seconds"][here] = about["seconds"].get(here, 0.0) + clock.tick()
        if clock.save_now():
            chunks.save(folder, name, state, about)
    chunks.save(folder, name, state, about)
    return state, about


def training_images(size: Size) -> np.ndarray:
    return iwae.images()[: size.images] if size.real else noise(size.images)


def noise(count: int) -> np.ndarray:
    """Random pixels in place of images."""
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1), np.uint8)


# ---- the score ---------------------------------------------------------------------------------------------------------


def blocks(size: Size) -> int:
    """Blocks of test images."""
    return (10_000 if size.real else 20) // size.block


def score(
    model: Model, state: genjax.State, name: str, folder: Path, clock: Clock, size: Size, about: dict[str, Any]
) -> list[list[float]]:
    """NLL of the blocks so far, seed after seed, kept in the checkpoint's `about`."""
    x, nats = iwae.test_images() if size.real else noise(20), about["nats"]
    call = iwae.scorer(model, x, size.samples, size.block)
    for number in range(len(nats), size.seeds * blocks(size)):
        if not clock.another():
            break
        seed, block = divmod(number, blocks(size))
        params = jax.tree.map(lambda leaf, seed=seed: leaf[seed], state.params)
        nats.append(np.asarray(call(params, block), np.float64).tolist())
        clock.tick()
        if clock.save_now():
            chunks.save(folder, name, state, about)
    chunks.save(folder, name, state, about)
    return nats


def finish(samples: int, name: str, folder: Path, state: genjax.State, about: dict[str, Any], nats: np.ndarray) -> None:
    """The row; the checkpoint makes way for the parameters alone."""
    values, reference = nats.mean(1).round(4).tolist(), iwae.PAPER[samples]
    where = ", ".join(f"{seconds / 60:.0f} min on {kind}" for kind, seconds in about["seconds"].items())
    error = nats.mean(0).std() / nats.shape[1] ** 0.5
    met = bool(np.mean(values) <= reference)
    new = row(
        f"{iwae.named(samples)}, one layer, dynamic MNIST", iwae.MEASURED, values, seeds=list(range(len(values))), unit="nats",
        keywords={"samples": samples, "schedule": "the paper's"}, bar=f"<= {reference}", met=met, reference=reference,
        source=iwae.SOURCE, note=f"last parameters, no average; training of all seeds in one program: {where}; standard error "
        f"over test images {error:.2f}",
    )  # fmt: skip
    leaves, _ = jax.tree.flatten_with_path(state.params)
    np.savez(folder / f"{name}.params.npz", **{"/".join(str(key.key) for key in path): leaf for path, leaf in leaves})
    progress.keep(folder, name, new)
    chunks.forget(folder, name)
