"""Time of one training step beside the same net in PyTorch, on the CPU.

    pip install torch==2.13.0        (the CPU build; nothing else here needs it)
    python -m benchmarks.step_time

Both sides take the same step in the same process: forward, backward, gradient norm, finite check, Adam, running average. The
two take turns, a few steps each, so that whatever else the machine does falls on both; the ratio is that of the two fastest
turns. The steps of a turn are one program here, as `train.py` takes them; XLA runs much of the same step slower where it is a
program by itself. Nets: two VAEs (Bernoulli, 32 latents) on 28x28x1, batch 64; a MADE on the same, batch 64; a GPT on 8 x 256
tokens; two denoisers, velocities on 32x32x3: a UNet, batch 16, and a DiT of patches of side 2, batch 8.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import denoisers
from benchmarks.record import record, row
from genjax.families.autoregressive import autoregressive
from genjax.families.vae import vae
from genjax.heads import bernoulli, categorical
from genjax.model import Model, as_batch
from genjax.nets import conv_decoder, conv_encoder, gpt, made, mlp
from genjax.nets.made import mask_list
from genjax.step import init, make_step

BATCH, SHAPE, LATENT, DECAY, RATE = 64, (28, 28, 1), 32, 0.999, 1e-3
HIDDEN = 1000  # of the MADE
LEVELS, PLACES, WIDTH, DEPTH, HEADS = 64, 256, 256, 6, 8  # of the GPT
Turn = Callable[[], None]  # takes its steps and waits for the last


class Case(NamedTuple):
    """A net on both sides."""

    name: str
    model: Model
    x: np.ndarray  # the batch
    theirs: Callable[[Any, bool], tuple[list, Callable]]  # (x, channels last) -> parameters and () -> loss, in PyTorch
    bar: float
    steps: int = 10  # in a turn


# ---- genjax ----------------------------------------------------------------------------------------------------------


def pixels() -> np.ndarray:
    return (np.random.default_rng(0).random((BATCH, *SHAPE)) < 0.2).astype(np.float32)


def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, LEVELS, (8, PLACES)).astype(np.int32)


def cases(widths: tuple[int, int] = (32, 64)) -> list[Case]:
    """All that is timed."""
    tx = optax.adam(RATE)
    dense = vae(mlp((512, 512), (2 * LATENT,)), mlp((512, 512), SHAPE), (LATENT,), tx)
    conv = vae(conv_encoder(widths, (2 * LATENT,)), conv_decoder(widths, SHAPE), (LATENT,), tx)
    masked = autoregressive(made((HIDDEN,)), SHAPE, bernoulli(), tx)
    net = gpt(LEVELS, LEVELS, PLACES, width=WIDTH, depth=DEPTH, heads=HEADS, unroll=DEPTH)
    causal = autoregressive(net, (PLACES,), categorical(LEVELS, grid=False), tx)
    return [
        Case("VAE, MLP 784-512-512-32", dense, pixels(), partial(torch_vae, torch_mlp), 1.0),
        Case("VAE, convolutional 32, 64", conv, pixels(), partial(torch_vae, partial(torch_conv, widths)), 1.7),
        Case(f"MADE, 784-{HIDDEN}-784", masked, pixels(), torch_made, 1.0),
        Case(f"GPT, {DEPTH} blocks of {WIDTH}, 8 x {PLACES} tokens", causal, tokens(), torch_gpt, 1.3, steps=4),
        Case("UNet 32, 64, 64, attention", denoisers.our_unet(tx), denoisers.images(16), denoisers.torch_unet, 2.0, steps=4),
        Case("DiT, 4 blocks of 256", denoisers.our_dit(tx), denoisers.images(8), denoisers.torch_dit, 1.3, steps=4),
    ]


def genjax_turn(model: Model, x: np.ndarray, steps: int) -> tuple[Turn, int]:
    """(steps of the model in one program; number of parameters)."""
    batch = as_batch(jnp.asarray(x))
    state, step = init(model, jax.random.key(0), batch), make_step(model, ema_decay=DECAY)
    run = jax.jit(lambda state: jax.lax.scan(lambda state, _: step(state, batch), state, None, steps), donate_argnums=0)
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))

    def turn() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(run(state))

    return turn, count


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


def torch_mlp() -> tuple[Any, Any]:
    """(encoder, decoder)."""
    from torch import nn

    def net(*sizes):
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.GELU(approximate="tanh"))]
        return nn.Sequential(*layers[:-1])

    pixels = int(np.prod(SHAPE))
    decoder = nn.Sequential(net(LATENT, 512, 512, pixels), nn.Unflatten(1, (1, *SHAPE[:2])))
    return nn.Sequential(nn.Flatten(), net(pixels, 512, 512, 2 * LATENT)), decoder


def torch_conv(widths: tuple[int, int]) -> tuple[Any, Any]:
    """(encoder, decoder): the layers of `conv_encoder` and `conv_decoder` for two widths."""
    from torch import nn

    def finish(width):
        return nn.GroupNorm(8, width, eps=1e-6), nn.GELU(approximate="tanh")

    def up(a, b):
        return nn.Conv2d(a, 4 * b, 3, padding=1), nn.PixelShuffle(2)

    low, high = widths
    encoder = nn.Sequential(
        nn.Conv2d(1, low, 3, stride=2, padding=1), *finish(low), nn.Conv2d(low, high, 3, stride=2, padding=1), *finish(high),
        nn.Flatten(), nn.Linear(7 * 7 * high, 2 * LATENT))  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(LATENT, 7 * 7 * high), nn.Unflatten(1, (high, 7, 7)),
        *finish(high), *up(high, low), *finish(low), *up(low, 1))  # fmt: skip
    return encoder, decoder


def torch_vae(nets: Callable, data: Any, channels_last: bool) -> tuple[list, Callable]:
    import torch

    encoder, decoder = nets()
    data = data.permute(0, 3, 1, 2).contiguous()
    if channels_last:
        data = data.contiguous(memory_format=torch.channels_last)
        encoder, decoder = (net.to(memory_format=torch.channels_last) for net in (encoder, decoder))

    def loss():
        mean, log_scale = encoder(data).chunk(2, dim=-1)
        logits = decoder(mean + log_scale.exp() * torch.randn_like(mean))
        nll = torch.nn.functional.binary_cross_entropy_with_logits(logits, data, reduction="sum")
        return (nll + (0.5 * (mean**2 + (2 * log_scale).exp() - 1) - log_scale).sum()) / BATCH

    return [*encoder.parameters(), *decoder.parameters()], loss


def torch_made(data: Any, channels_last: bool) -> tuple[list, Callable]:
    import torch
    from torch.nn import functional

    data = data.flatten(1)
    masks = [torch.from_numpy(mask.T.astype(np.float32)) for mask in mask_list(data.shape[1], (HIDDEN,), None, None)]
    layers = torch.nn.ModuleList(torch.nn.Linear(*mask.T.shape) for mask in masks)

    def loss():
        first, last = (lambda h, n=n: functional.linear(h, layers[n].weight * masks[n], layers[n].bias) for n in (0, 1))
        logits = last(functional.relu(first(2 * data - 1)))
        return functional.binary_cross_entropy_with_logits(logits, data, reduction="sum") / len(data)

    return [*layers.parameters()], loss


def torch_gpt(data: Any, channels_last: bool) -> tuple[list, Callable]:
    """The blocks of `genjax.nets.gpt`: rotary positions, RMSNorm, no biases."""
    import torch
    from torch import nn
    from torch.nn import functional

    angle = torch.arange(PLACES)[:, None] * 10000.0 ** (-torch.arange(WIDTH // HEADS // 2) / (WIDTH // HEADS // 2))
    cos, sin, data = angle.cos(), angle.sin(), data.long()

    def turn(x):
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            dense = lambda a, b: nn.Linear(WIDTH * a, WIDTH * b, bias=False)
            self.qkv, self.out, self.up, self.down = dense(1, 3), dense(1, 1), dense(1, 4), dense(4, 1)
            self.norm, self.inner_norm = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)

        def forward(self, h):
            parts = self.qkv(self.norm(h)).view(*h.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(turn(parts[0]), turn(parts[1]), parts[2], is_causal=True)
            h = h + self.out(mixed.transpose(1, 2).reshape(h.shape))
            return h + self.down(functional.gelu(self.up(self.inner_norm(h)), approximate="tanh"))

    net = nn.ModuleDict({
        "token": nn.Embedding(LEVELS, WIDTH), "blocks": nn.Sequential(*(Block() for _ in range(DEPTH))),
        "norm": nn.RMSNorm(WIDTH), "head": nn.Linear(WIDTH, LEVELS, bias=False),
    })  # fmt: skip
    start = nn.Parameter(0.02 * torch.randn(WIDTH))

    def loss():
        h = torch.cat([start.expand(len(data), 1, WIDTH), net["token"](data[:, :-1])], 1)
        logits = net["head"](net["norm"](net["blocks"](h)))
        return functional.cross_entropy(logits.flatten(0, 1), data.flatten(), reduction="sum") / len(data)

    return [start, *net.parameters()], loss


def torch_turn(params: list, loss: Callable, threads: int, steps: int) -> Turn:
    """The same steps: fused Adam, multi-tensor average and norm."""
    import torch

    torch.set_num_threads(threads)
    average = [p.detach().clone() for p in params]
    adam = torch.optim.Adam(params, RATE, fused=True)

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in params])
        if torch.isfinite(value + norm):
            adam.step()
            torch._foreach_lerp_(average, [p.detach() for p in params], 1 - DECAY)

    def turn() -> None:
        for _ in range(steps):
            step()

    return turn


# ---- the two side by side --------------------------------------------------------------------------------------------


def race(turns: dict[str, Turn], rounds: int, steps: int) -> dict[str, np.ndarray]:
    """{name: (rounds, 2)} ms a step by the wall clock and of processor time, the turns interleaved."""
    times = {name: [] for name in turns}
    for turn in turns.values():
        turn()
    for _ in range(rounds):
        for name, turn in turns.items():
            wall, processor = time.perf_counter(), time.process_time()
            turn()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: 1e3 / steps * np.array(each) for name, each in times.items()}


def compare(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """One row: the ratio of the fastest turns, PyTorch in whichever memory layout is faster here."""
    import torch

    ours, count = genjax_turn(case.model, case.x, case.steps)
    turns, name, bar = {"genjax": ours}, case.name, case.bar
    for layout in ("NCHW", "NHWC"):
        params, loss = case.theirs(torch.from_numpy(case.x), layout == "NHWC")
        turns[layout], other = torch_turn(params, loss, options.threads, case.steps), sum(p.numel() for p in params)
        assert count == other, f"{name}: {count} parameters here, {other} in PyTorch: not the same net"
    times = race(turns, options.rounds, case.steps)
    best = min(("NCHW", "NHWC"), key=lambda layout: times[layout][:, 0].min())
    ours, theirs = times["genjax"], times[best]
    ratio = ours[:, 0].min() / theirs[:, 0].min()
    middle = np.median(ours, axis=0) / np.median(theirs, axis=0)
    note = (f"ms a step, fastest turn (median; processor time): genjax {spread(ours)}, PyTorch {spread(theirs)} in {best}; "
            f"ratio of medians {middle[0]:.2f}, of processor times {middle[1]:.2f}; {count} parameters, "
            f"threads of PyTorch {options.threads}")  # fmt: skip
    print(f"{name}: {ratio:.2f} (bar {bar}); {note}", flush=True)
    return row(name, "step time ratio, genjax / PyTorch", [round(float(ratio), 3)], seeds=[0], unit="times",
               bar=f"<= {bar}", met=bool(ratio <= bar), note=note)  # fmt: skip


def spread(ms: np.ndarray) -> str:
    return f"{ms[:, 0].min():.2f} ({np.median(ms[:, 0]):.2f}; {np.median(ms[:, 1]):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60, help="turns of each side")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch; JAX takes the processors it may run on (taskset)")
    parser.add_argument("--only", default="", help="cases whose name has this in it; writes no result")
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("this benchmark compares with PyTorch, which is not installed: pip install torch==2.13.0 (the CPU build)")
    rows = [compare(case, options) for case in cases() if options.only in case.name]
    title = f"Step time beside PyTorch {torch.__version__}, CPU"
    if not (options.dry or options.only):
        record("step_time", title, "python -m benchmarks.step_time", rows)


if __name__ == "__main__":
    main()
