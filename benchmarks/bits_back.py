"""Real files: binarized digits through bits-back coding (1901.04866) beside gzip, bz2 and lzma. A few minutes on one core.

    python -m benchmarks.bits_back                       # scikit-learn's digits, and MNIST where GENJAX_DATA has it

The test images are binarized once with a fixed seed; the VAE was trained on other images, each binarized anew every time. It
is not part of the file, as the rivals' programs are not part of theirs. A rival is given the bits packed and one byte a pixel,
and the better of the two counts.
"""

import bz2
import gzip
import lzma
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks.record import record, row
from genjax.compress import HEADER, compress, compress_lossy, decompress, decompress_lossy, initial_bits
from genjax.data import Spec, Split, binarize, feed, load, row_block
from genjax.families.vae import vae
from genjax.model import Batch, Model, Params, as_batch, stream
from genjax.nets import mlp
from genjax.parallel import scanned

SEED, BATCH, CHUNK = 0, 100, 500
SETUPS = {  # hidden units, latent dimensions, steps, lanes
    "digits": ((200,), 10, 4000, 2),
    "mnist": ((200, 200), 40, 8000, 32),
}
RIVALS = {"gzip": partial(gzip.compress, compresslevel=9), "bz2": bz2.compress, "lzma": partial(lzma.compress, preset=9)}


def train(spec: Spec, split: Split, hidden: tuple[int, ...], latent: int, steps: int) -> tuple[Model, Params]:
    """A Bernoulli VAE of MLPs and the running average of its parameters after `steps` steps."""
    tx = optax.adam(optax.cosine_decay_schedule(1e-3, steps))
    model = vae(mlp(hidden, (2 * latent,)), mlp(hidden, spec.shape), (latent,), tx)
    state = genjax.init(model, jax.random.key(SEED), as_batch(jnp.zeros((BATCH, *spec.shape))))
    prepare, step, data = feed(binarize(spec.levels)), genjax.make_step(model), {"x": jnp.asarray(split.x)}

    @partial(jax.jit, donate_argnums=0)
    def run(state, data, rows):
        def one(state, rows):
            key = stream(jax.random.fold_in(state.key, state.step), "prepare")
            return step(state, prepare(data, key, rows))

        return scanned(one)(state, rows)

    for first in range(0, steps, CHUNK):
        state, metrics = run(state, data, row_block(SEED, first, CHUNK, BATCH, len(split.x)))
        print(f"step {first + CHUNK}: elbo {float(metrics['elbo/elbo'].mean()):.2f} nats", flush=True)
    return model, state.ema


def negative_elbo(model: Model, params: Params, batch: Batch, draws: int = 10) -> float:
    """Bits per dimension, the mean over draws of z."""
    bound = jax.jit(lambda key: model.bound(params, key, batch).mean())
    nats = -np.mean([bound(jax.random.key(number)) for number in range(draws)])
    return float(nats / np.log(2) / np.prod(batch["x"].shape[1:]))


def rival(shrink, x: np.ndarray) -> float:
    """Bits per dimension of a general compressor."""
    pixels = x.astype(np.uint8)
    return 8 * min(len(shrink(np.packbits(pixels).tobytes())), len(shrink(pixels.tobytes()))) / x.size


def through_a_file(model: Model, params: Params, x: np.ndarray, lanes: int) -> dict[str, float]:
    """Write, read back, compare every bit; sizes in bits per dimension as the file system counts them, times in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path, began = Path(folder) / "test.gjx", time.time()
        path.write_bytes(compress(model, params, x, lanes=lanes))
        wrote = time.time()
        back = decompress(model, params, path.read_bytes())
        if not np.array_equal(back, x):
            raise SystemExit("the file does not decode to the images")
        size, start = 8 * path.stat().st_size, initial_bits(path.read_bytes())
    return {
        "file": size / x.size,
        "apart from fixed": (size - start - 8 * HEADER.size) / x.size,
        "fixed": start + 8 * HEADER.size,
        "write": wrote - began,
        "read": time.time() - wrote,
    }


def lossy(model: Model, params: Params, x: np.ndarray, latent_bits: int) -> tuple[float, float]:
    """(bits per dimension, share of pixels that come back wrong)."""
    data = compress_lossy(model, params, x, latent_bits=latent_bits)
    return 8 * len(data) / x.size, float(jnp.mean((decompress_lossy(model, params, data) > 0.5) != (x > 0.5)))


def measure(name: str) -> list[dict[str, Any]]:
    """The rows of one data set."""
    hidden, latent, steps, lanes = SETUPS[name]
    source = load(name)
    test = np.asarray(source.splits["test"].x)
    began = time.time()
    model, params = train(source.spec, source.splits["train"], hidden, latent, steps)
    spent = time.time() - began
    x = np.asarray(jax.vmap(binarize(source.spec.levels))(jax.random.split(jax.random.key(SEED + 1), len(test)), test))
    elbo = negative_elbo(model, params, as_batch(jnp.asarray(x)))
    got = through_a_file(model, params, x, lanes)
    best = {rival_name: rival(shrink, x) for rival_name, shrink in RIVALS.items()}
    keywords = {"hidden": hidden, "latent": latent, "steps": steps, "batch": BATCH, "lanes": lanes, "group": 1}
    line = partial(row, f"bits-back VAE, {len(x)} binarized {name} test images", seeds=[SEED], keywords=keywords)

    rows = [
        line("file size", [got["file"]], unit="bits/dim", bar="below gzip, bz2 and lzma", met=got["file"] < min(best.values()),
             note=f"{got['fixed']} bits of it are the header and initial bits; training took {spent:.0f} s"),
        line("file size over negative ELBO", [got["file"] / elbo], unit="times"),
        line("the same without header and initial bits", [got["apart from fixed"] / elbo], unit="times",
             bar="<= 1.02", met=got["apart from fixed"] <= 1.02 * elbo),
        line("negative ELBO", [elbo], unit="bits/dim", note="mean of 10 draws an image"),
        line("writing the file", [got["write"] / len(x) * 1e3], unit="ms an image", note="compilation included"),
        line("reading the file", [got["read"] / len(x) * 1e3], unit="ms an image", note="compilation included"),
    ]  # fmt: skip
    for rival_name, size in best.items():
        rows.append(row(f"{rival_name}, the same {name} images", "file size", [size], seeds=[SEED], unit="bits/dim"))
    for latent_bits in (2, 4, 6):
        rate, wrong = lossy(model, params, x, latent_bits)
        lossy_note = f"at {rate:.4f} bits/dim, header and heads counted"
        rows.append(line(f"lossy, {latent_bits} bits a latent: pixels wrong", [100 * wrong], unit="%", note=lossy_note))
    return rows


def main() -> None:
    names = ["digits"] + (["mnist"] if os.environ.get("GENJAX_DATA") else [])
    rows = [line for name in names for line in measure(name)]
    for line in rows:
        print(f"{line['recipe']}: {line['metric']} {line['values'][0]:.4f} {line['unit']} {line['note']}")
    record("bits_back", "Lossless and lossy compression", "python -m benchmarks.bits_back", rows)


if __name__ == "__main__":
    main()
