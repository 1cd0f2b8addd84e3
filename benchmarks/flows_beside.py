"""Small flows of images beside nflows' and normflows', trained for the same time on the same cores: bits/dim of test.

    pip install torch==2.13.0 nflows==0.14 normflows==1.7.3 matplotlib
    python -m benchmarks.flows_beside                       # 8 x 8 digits and 14 x 14 MNIST, under an hour on one core
    python -m benchmarks.flows_beside --data digits --seconds 10 --seeds 1 --dry

    bits/dim = (E[-log p(x)] / D + log levels) / log 2,     x = (stored + u) / levels, u uniform

Every side sees the same data, the logit of dequantized pixels with a margin of 0.05, batches of 64, Adam at 1e-3 falling along
a cosine of the time spent to 0, and gradients clipped at a norm of 50. RealNVP: as many affine couplings of flat images on
both sides, which keep every second pixel, ours with actnorm, theirs, as it ships, with batch norm and residual networks.
Glow: as many steps of as many channels at as many scales on both sides, two where the sides halve twice. A step that
compiles, and one that starts actnorm, are not timed. Each side is scored where its valid rows were best of eight looks:
digits are few and soon learnt by heart. MNIST at 14 x 14 is the mean of blocks of 2 x 2 pixels, cut to integers.
"""

import argparse
import math
import time
from collections.abc import Callable
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks.record import kept, record, row
from genjax.bijections import actnorm, chain, coupling, logit, reshape
from genjax.data import Split, dequantize, feed, load
from genjax.families.flow import flow, glow
from genjax.metrics.likelihood import likelihood
from genjax.model import Model, as_batch
from genjax.nets import conv_same, mlp
from genjax.splines import affine

MARGIN, BATCH, RATE, CLIP = 0.05, 64, 1e-3, 50.0
LOOKS, MOST = 8, 2000  # at valid and test, and how many rows of them are looked at
DEPTH, WIDTH = 4, 64  # of Glow
LAYERS, HIDDEN, BLOCKS = 8, 128, 2  # of RealNVP; the blocks are of nflows' networks
Data = dict[str, np.ndarray]


def images(name: str) -> tuple[Data, int]:
    """({train, valid, test}: (n, H, W, 1) integers, levels); where there is no valid split the last tenth of train."""
    found = load(name)
    data = {split: np.asarray(part.x) for split, part in found.splits.items()}
    if "valid" not in data:
        cut = len(data["train"]) // 10
        data |= {"train": data["train"][:-cut], "valid": data["train"][-cut:]}
    if name == "mnist":
        data = {split: x.reshape(-1, 14, 2, 14, 2, 1).mean((2, 4)).astype(np.uint8) for split, x in data.items()}
    return data, found.spec.levels


def scales(shape: tuple[int, ...]) -> int:
    """Two where the sides halve twice."""
    return 2 if shape[0] % 4 == 0 else 1


def rate(part: float) -> float:
    """The learning rate when this part of the time is spent."""
    return RATE * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))


def timed(step: Callable[[float], None], look: Callable[[], tuple[float, float]], seconds: float) -> tuple[float, int]:
    """Take steps (they are given the learning rate) for so long, and look a few times, which is not timed.

    `look` gives bits/dim of valid and of test; the answer is (test where valid was best, steps in all).
    """
    spent, steps, seen = 0.0, 0, []
    while spent < seconds:
        began = time.monotonic()
        step(rate(spent / seconds))
        spent, steps = spent + time.monotonic() - began, steps + 1
        if spent >= seconds * (len(seen) + 1) / LOOKS:
            seen.append(look())
    return min(seen)[1], steps


# ---- genjax ------------------------------------------------------------------------------------------------------------


def our_realnvp(shape: tuple[int, ...]):
    dims, rule = math.prod(shape), affine()
    layer = lambda k: (actnorm(), coupling(mlp((HIDDEN, HIDDEN), (rule.parts * dims,)), rule, np.arange(dims) % 2 == k % 2))
    return chain(reshape(shape, (dims,)), *(part for k in range(LAYERS) for part in layer(k)))


def our_glow(shape: tuple[int, ...]):
    return glow(lambda out: conv_same(WIDTH, out), shape, scales(shape), DEPTH)


def ours(build: Callable, data: Data, levels: int, seed: int, seconds: float) -> tuple[float, int]:
    """(bits/dim, steps)."""
    shape, prepare = data["train"].shape[1:], dequantize(levels)
    tx = optax.chain(optax.clip_by_global_norm(CLIP), optax.inject_hyperparams(optax.adam)(RATE))
    model: Model = flow(chain(logit(MARGIN), build(shape)), shape, tx)
    step, gather = genjax.make_step(model, ema_decay=0.998), feed(prepare)
    x, order = {"x": jnp.asarray(data["train"])}, np.random.default_rng(seed)
    draw = lambda: order.integers(0, len(data["train"]), BATCH)
    first = jax.jit(gather)(x, jax.random.key(seed), draw())
    state = jax.jit(lambda key, batch: genjax.init(model, key, batch))(jax.random.key(seed), as_batch(first["x"]))

    @jax.jit
    def run(state, rows, lr):
        name = model.stages[0][0].name
        inner = state.opt[name][1]._replace(hyperparams={"learning_rate": lr})
        state = state._replace(opt={name: (state.opt[name][0], inner)})
        return step(state, gather(x, jax.random.fold_in(state.key, state.step), rows))

    for _ in range(2):  # the second call compiles again, for the state as a step leaves it
        state, _ = run(state, draw(), jnp.float32(0.0))

    def one(lr: float) -> None:
        nonlocal state
        state, metrics = run(state, draw(), jnp.float32(lr))
        jax.block_until_ready(metrics)

    bits = lambda split: likelihood(model, state.ema, Split(data[split][:MOST]), prepare, cell=-math.log(levels)).bits
    return timed(one, lambda: (bits("valid"), bits("test")), seconds)


# ---- PyTorch -----------------------------------------------------------------------------------------------------------


def nflows_realnvp(shape: tuple[int, ...]):
    from nflows.flows import SimpleRealNVP

    net = SimpleRealNVP(math.prod(shape), HIDDEN, LAYERS, BLOCKS, batch_norm_between_layers=True)
    return net, lambda z: net.log_prob(z.reshape(len(z), -1))


def normflows_glow(shape: tuple[int, ...]):
    import normflows as nf

    channels, side, q0, flows, merges = 1, shape[0], [], [], []
    for k in range(scales(shape)):  # from the data on; the library counts from the noise
        channels, side = channels * 4, side // 2
        flows.insert(0, [nf.flows.GlowBlock(channels, WIDTH) for _ in range(DEPTH)] + [nf.flows.Squeeze()])
        last = k == scales(shape) - 1
        merges = merges if last else [nf.flows.Merge(), *merges]
        channels = channels if last else channels // 2
        q0.insert(0, nf.distributions.DiagGaussian((channels, side, side), trainable=False))
    net = nf.MultiscaleFlow(q0, flows, merges, class_cond=False)
    return net, lambda z: net.log_prob(z, None)


def theirs(build: Callable, data: Data, levels: int, seed: int, seconds: float) -> tuple[float, int]:
    """(bits/dim, steps)."""
    import torch

    torch.manual_seed(seed)
    net, log_prob = build(data["train"].shape[1:])
    tx = torch.optim.Adam(net.parameters(), lr=RATE)
    draw = torch.Generator().manual_seed(seed)
    x = {split: torch.from_numpy(part).moveaxis(-1, 1).contiguous() for split, part in data.items()}

    def nats(rows: torch.Tensor) -> torch.Tensor:
        u = (rows.float() + torch.rand(rows.shape)) / levels
        p = MARGIN + (1 - 2 * MARGIN) * u
        volume = (math.log(1 - 2 * MARGIN) - torch.log(p) - torch.log1p(-p)).flatten(1).sum(1)
        return -(log_prob(torch.log(p) - torch.log1p(-p)) + volume)

    def one(lr: float) -> None:
        for group in tx.param_groups:
            group["lr"] = lr
        tx.zero_grad()
        loss = nats(x["train"][torch.randint(0, len(x["train"]), (BATCH,), generator=draw)]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        if torch.isfinite(loss):
            tx.step()

    def bits(split: str) -> float:
        net.eval()
        with torch.no_grad():
            mean = float(torch.cat([nats(part) for part in x[split][:MOST].split(500)]).mean())
        net.train()
        return (mean / math.prod(data["train"].shape[1:]) + math.log(levels)) / math.log(2)

    one(0.0)
    return timed(one, lambda: (bits("valid"), bits("test")), seconds)


# ---- the table ---------------------------------------------------------------------------------------------------------

PAIRS = {
    "RealNVP": (our_realnvp, nflows_realnvp, f"nflows 0.14, SimpleRealNVP, {LAYERS} layers of {HIDDEN}"),
    "Glow": (our_glow, normflows_glow, f"normflows 1.7.3, {DEPTH} steps of {WIDTH} a scale"),
}

SIZES = {"RealNVP": {"layers": LAYERS, "hidden": HIDDEN}, "Glow": {"depth": DEPTH, "width": WIDTH}}


def measured(name: str, which: str, seeds: int, seconds: float) -> dict:
    """One row: ours by seed, and theirs beside it."""
    (data, levels), (build, their_build, about) = images(name), PAIRS[which]
    us = [ours(build, data, levels, seed, seconds) for seed in range(seeds)]
    they = [theirs(their_build, data, levels, seed, seconds) for seed in range(seeds)]
    bits, reference = [value for value, _ in us], float(np.mean([value for value, _ in they]))
    print(f"{which} on {name}: {np.round(bits, 3)}, theirs {np.round([v for v, _ in they], 3)} bits/dim", flush=True)
    note = (
        f"{seconds:.0f} s each on the same cores, steps by seed: genjax {[n for _, n in us]}, theirs {[n for _, n in they]}; "
    )
    return row(f"{which}, {'MNIST 14 x 14' if name == 'mnist' else name}", "test bits/dim at equal time", bits,
               seeds=list(range(seeds)), keywords=SIZES[which], unit="bits/dim",
               bar="<= theirs", met=bool(np.mean(bits) <= reference), reference=round(reference, 4), source=about,
               note=note + f"theirs by seed {[round(value, 3) for value, _ in they]}")  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits", "mnist"], choices=["digits", "mnist"])
    parser.add_argument("--flows", nargs="+", default=list(PAIRS), choices=PAIRS)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    command = f"python -m benchmarks.flows_beside --seconds {args.seconds:g} --seeds {args.seeds}"
    for name, which in product(args.data, args.flows):
        line = measured(name, which, args.seeds, args.seconds)
        if not args.dry:
            record("flows_beside", "Small flows of images at equal time", command, kept("flows_beside", [line]))


if __name__ == "__main__":
    main()
