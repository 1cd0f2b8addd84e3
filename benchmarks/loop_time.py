"""Training steps of convolutional nets inside a compiled loop, with our gradients of convolutions and with XLA's own.

    python -m benchmarks.loop_time            # a quarter of an hour on one core, most of it compiling

`train.py` takes its steps in a loop (`lax.scan`), where XLA's CPU compiler is slow at both gradients of a convolution. Each row
is one process, the two sides in turn; a ratio above 1 says how many times faster a step is here.
"""

import argparse
import time
from contextlib import ExitStack
from importlib import import_module
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks import denoisers
from benchmarks.likelihoods import by_pixelcnn
from benchmarks.record import record, row
from genjax.families.gan import implicit
from genjax.hybrids.adversarial import adversarial
from genjax.model import Model, as_batch
from genjax.nets import conv_critic, conv_decoder
from genjax.nets.convolution import Pads

STEPS = 4  # in the loop


def bits(count: int) -> np.ndarray:
    return (np.random.default_rng(0).random((count, 28, 28, 1)) < 0.2).astype(np.float32)


def gan(tx: optax.GradientTransformation) -> Model:
    """A GAN whose critic's slope is penalized, so that its step has a gradient of a gradient."""
    generator = implicit(conv_decoder((16, 32), (28, 28, 1)), (16,))
    return adversarial(generator, conv_critic((16, 32)), tx, tx, r1=1.0)


CASES = {
    "gated PixelCNN, 8 layers of 16, 28x28, batch 16": (by_pixelcnn, lambda: bits(16)),
    "convolutional GAN 16, 32 with R1, 28x28, batch 32": (gan, lambda: bits(32)),
    "UNet 32, 64, 64, attention, 32x32, batch 16": (denoisers.our_unet, lambda: denoisers.images(16)),
}


def plain(x: jax.Array, kernel: jax.Array, pads: Pads, stride: int = 1) -> jax.Array:
    """Convolution of images with JAX's own gradients."""
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


THEIRS = (  # what is replaced where
    ("convolution", "padded", plain),
    ("convolution", "_strided", lambda x, kernel, stride, pads: plain(x, kernel, pads, stride)),
    ("pixelcnn", "padded", plain),
)


def compiled(model: Model, x: np.ndarray, own: bool):
    """(run, state): `STEPS` steps in one program."""
    batch = as_batch(jnp.asarray(x))
    state = genjax.init(model, jax.random.key(0), batch)
    step = genjax.make_step(model)
    many = lambda state, batch: jax.lax.scan(lambda state, _: (step(state, batch)[0], None), state, None, STEPS)[0]
    with ExitStack() as stack:
        for module, name, function in () if own else THEIRS:
            stack.enter_context(mock.patch.object(import_module(f"genjax.nets.{module}"), name, function))
        run = jax.jit(many).lower(state, batch).compile()
    return lambda: jax.block_until_ready(run(state, batch))


def timed(run) -> float:
    """Milliseconds a step."""
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began) / STEPS


def measured(name: str, rounds: int) -> dict:
    """One row."""
    build, data = CASES[name]
    sides = [compiled(build(optax.adam(1e-3)), data(), own) for own in (True, False)]
    times = np.array([[timed(side) for side in sides] for _ in range(rounds)])
    ours, theirs = times.min(0)
    print(f"{name}: {theirs / ours:.1f} times, {ours:.0f} ms a step against {theirs:.0f}", flush=True)
    note = f"ms a step, fastest of {rounds} turns: {ours:.1f} here, {theirs:.1f} with XLA's own gradients"
    return row(name, "step in a loop, XLA's gradients / genjax's", [round(float(theirs / ours), 2)], seeds=[0], unit="times",
               bar=">= 1", met=bool(theirs >= ours), note=note)  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    rows = [measured(name, args.rounds) for name in CASES]
    if not args.dry:
        record("loop_time", "Convolutional training steps in a compiled loop, CPU", "python -m benchmarks.loop_time", rows)


if __name__ == "__main__":
    main()
