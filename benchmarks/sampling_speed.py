"""Time to sample, each a ratio in one run on the same machine.

    python -m benchmarks.sampling_speed                    # all; the others need torch, transformers, diffusers

Gated PixelCNN on 28x28x1: one pass with cached rows beside recomputing all places for each. The naive pass costs the same at
every place, so it is timed over its first `PLACES_NAIVE` places and scaled; the samples are compared in the tests.
GPT of 5M parameters, 256 tokens at batch 1: one compiled loop with cached keys and values beside the cached generation of
Hugging Face transformers' GPT-2 of the same size; both draw from the softmax.
Diffusion on 32x32x3: `STEPS` steps of DDIM, ours one compiled program, theirs diffusers' loop of a UNet2DModel of the same
layers in PyTorch and its DDIMScheduler.
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from benchmarks import denoisers
from benchmarks.record import kept, record, row
from genjax.families.autoregressive import autoregressive
from genjax.heads import bernoulli, categorical
from genjax.model import Model, as_batch
from genjax.nets import Net, gpt, pixelcnn
from genjax.samplers import ddim

SIDE, PLACES_NAIVE = 28, 28
LEVELS, TOKENS, WIDTH, DEPTH, HEADS = 64, 256, 256, 6, 8
STEPS, REPEATS, SECONDS = 50, 5, 15.0


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls, after one that compiles: of `REPEATS`, and as many more as `SECONDS` take."""
    call()
    times, started = [], time.perf_counter()
    while len(times) < REPEATS or time.perf_counter() - started < SECONDS:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def sampler(model: Model, size: int, x: jax.Array) -> Callable[[], object]:
    """Draws `size` samples from random parameters, other ones each time."""
    params = jax.jit(model.init)(jax.random.key(0), as_batch(x))
    sample, count = jax.jit(lambda params, key: model.sample(params, jax.random.split(key, size))), iter(range(10**9))
    return lambda: jax.block_until_ready(sample(params, jax.random.key(next(count))))


def naive(net: Net, size: int) -> Callable[[], object]:
    """The first places of a naive sample: a full pass for each."""
    x = jnp.zeros((size, SIDE, SIDE, 1), jnp.int32)
    params, head = jax.jit(net.init)(jax.random.key(0), x, None), bernoulli()

    @jax.jit
    def some(params, key):
        def one(x, place):
            theta = net.apply(params, x, None).reshape(size, SIDE**2, 1)
            drawn = jax.vmap(head.draw)(jax.random.split(jax.random.fold_in(key, place), size), theta[:, place])
            return x.reshape(size, -1).at[:, place].set(drawn).reshape(x.shape), None

        return jax.lax.scan(one, x, jnp.arange(PLACES_NAIVE))[0]

    return lambda: jax.block_until_ready(some(params, jax.random.key(1)))


def convolutional(size: int, bar: float) -> dict:
    """The row of one batch size."""
    net = pixelcnn(1, width=16, depth=15)
    model = autoregressive(net, (SIDE, SIDE, 1), bernoulli(), optax.adam(1e-3))
    cached = fastest(sampler(model, size, jnp.zeros((1, SIDE, SIDE, 1))))
    whole = fastest(naive(net, size)) * SIDE**2 / PLACES_NAIVE
    return said(f"gated PixelCNN, 15 blocks of 16, {SIDE}x{SIDE}, batch {size}", "naive / cached", whole / cached, bar,
                f"naive {whole:.2f} s, cached {cached:.3f} s")  # fmt: skip


def causal(bar: float) -> dict:
    """The row of the transformer."""
    import torch
    import transformers

    from tests.parity import let_torchvision_in

    let_torchvision_in()  # both import it wherever it is there
    net = gpt(LEVELS, LEVELS, TOKENS, width=WIDTH, depth=DEPTH, heads=HEADS)
    model = autoregressive(net, (TOKENS,), categorical(LEVELS, grid=False), optax.adam(1e-3))
    ours = fastest(sampler(model, 1, jnp.zeros((1, TOKENS), jnp.int32)))
    config = transformers.GPT2Config(vocab_size=LEVELS, n_positions=TOKENS + 1, n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS,
                                     bos_token_id=None, eos_token_id=None)  # fmt: skip
    other, first = transformers.GPT2LMHeadModel(config).eval(), torch.zeros((1, 1), dtype=torch.long)
    how = dict(max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=True, use_cache=True, pad_token_id=0)
    generate = lambda: other.generate(first, **how)
    with torch.no_grad():
        theirs = fastest(generate)
    name = f"GPT, {DEPTH} blocks of {WIDTH}, {TOKENS} tokens, batch 1"
    note = f"transformers {transformers.__version__} {theirs:.2f} s, genjax {ours:.3f} s, compiled beforehand"
    return said(name, "transformers / genjax", theirs / ours, bar, note)


def denoising(size: int) -> dict:
    """The row of the UNet at a batch size."""
    import diffusers
    import torch

    from tests.parity import let_torchvision_in

    let_torchvision_in()
    model = denoisers.our_unet(optax.sgd(0.0), sampler=ddim(), steps=STEPS)
    ours = fastest(sampler(model, size, jnp.zeros((1, *denoisers.IMAGE))))
    net, scheduler = denoisers.their_unet(), diffusers.DDIMScheduler(prediction_type="v_prediction")
    scheduler.set_timesteps(STEPS)

    def loop():
        x = torch.randn(size, 3, *denoisers.IMAGE[:2])
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t).sample, t, x).prev_sample

    with torch.no_grad():
        theirs = fastest(loop)
    name, note = f"DDIM, {STEPS} steps of a UNet 32, 64, 64, batch {size}", f"diffusers {diffusers.__version__} {theirs:.2f} s"
    return said(name, "diffusers / genjax", theirs / ours, None, f"{note}, genjax {ours:.3f} s, compiled beforehand")


def said(recipe: str, metric: str, ratio: float, bar: float | None, note: str) -> dict:
    print(f"{recipe}: {ratio:.1f} (bar {bar}); {note}", flush=True)
    asked = {} if bar is None else dict(bar=f">= {bar}", met=bool(ratio >= bar))
    note = f"{note}; fastest of {REPEATS} or more in {SECONDS:g} s"
    return row(recipe, f"time of sampling, {metric}", [round(float(ratio), 2)], seeds=[0], unit="times", note=note, **asked)


def main() -> None:
    """Command line."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = [convolutional(1, 50.0), convolutional(16, 150.0)]
    for compare in (lambda: causal(5.0), lambda: denoising(1), lambda: denoising(16)):
        try:
            rows.append(compare())
        except (ImportError, RuntimeError) as error:  # diffusers tells a failed import as the latter
            print(f"one was not compared: {error}; pip install torch==2.13.0 transformers diffusers")
    record("sampling_speed", "Time to sample, CPU", "python -m benchmarks.sampling_speed", kept("sampling_speed", rows))


if __name__ == "__main__":
    main()
