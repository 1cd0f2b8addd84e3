"""The partition function of restricted Boltzmann machines: annealed importance sampling beside enumeration.

    python -m benchmarks.rbm_partition             # three machines of 20 hidden units, enumerated: 10 minutes on two cores
    python -m benchmarks.rbm_partition --full      # and one of 500, CD-25 as in Salakhutdinov & Murray (2008), by AIS alone

    error = log Z (AIS) - log Z (sum over all 2^20 states of the hidden units), nats, of each seed of the chains

Machines are trained (seed 0, persistent chains), on MNIST for 5000 and for 10 000 steps, and kept; what is drawn anew with each
seed is AIS: its chains begin at independent units with the odds of the training data and pass K densities whose times rise
evenly, from 0 to 1. The sum and the estimates are of the same float32 parameters. 100 chains and about 15 000 densities are
those of the paper; its fewer ones, 1000, stand beside them. The longer a machine is trained, the fewer of the chains carry the
weight: after 10 000 steps on MNIST the bar is missed.
"""

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks.record import kept, record, row
from genjax.data import Dataset, binarize, feed, load, row_block
from genjax.families.rbm import annealed_log_partition, base_rates, free_energy, log_partition, rbm
from genjax.model import Model, stream

BAR, HIDDEN, BATCH, CHUNK = 0.05, 20, 100, 500
PAPER = "Salakhutdinov & Murray 2008, table 1: RBM 500, CD-25, MNIST, estimated"


def train(model: Model, data: Dataset, steps: int, seed: int = 0) -> genjax.Params:
    """The branch `rbm` after training on dynamically binarized data."""
    x = {"x": jnp.asarray(data.splits["train"].x)}
    make, rows = feed(binarize(data.spec.levels)), row_block(seed, 0, steps, BATCH, len(x["x"]))
    state = genjax.init(model, jax.random.key(seed), make(x, jax.random.key(seed), rows[0]))
    step = genjax.make_step(model, ema_decay=0.0)

    @jax.jit
    def some(state, rows):
        one = lambda s, r: step(s, make(x, stream(jax.random.fold_in(s.key, s.step), "prepare"), r))
        return jax.lax.scan(one, state, rows)

    for done in range(0, steps, CHUNK):
        state, metrics = some(state, rows[done : done + CHUNK])
        if int(state.skipped):
            raise RuntimeError("steps with a loss that is not finite were skipped")
    last = {name: round(float(value.mean()), 3) for name, value in metrics.items()}
    print(f"  gap {last['contrast/chain_gap']}, flipped {last['contrast/flipped']}", flush=True)
    return state.params["rbm"]


def binary(data: Dataset, split: str) -> np.ndarray:
    """(n, D) one binarization of a split."""
    x = jnp.asarray(data.splits[split].x)
    make = feed(binarize(data.spec.levels))
    return np.asarray(make({"x": x}, jax.random.key(7), jnp.arange(len(x)))["x"]).reshape(len(x), -1)


def estimates(theta: genjax.Params, base: jax.Array, seeds: list[int], chains: int, times: int) -> np.ndarray:
    """(seeds, 2) log Z and the standard error that each run of AIS tells of itself."""
    ais = jax.jit(partial(annealed_log_partition, theta, times=jnp.linspace(0.0, 1.0, times), base=base))
    return np.array([ais(jax.random.split(jax.random.key(1000 + seed), chains)) for seed in seeds], np.float64)


def against_enumeration(name: str, steps: int, seeds: list[int], chains: int, times: int) -> list[dict]:
    """The rows of one data set."""
    began, data = time.monotonic(), load(name)
    tx = optax.sgd(optax.linear_schedule(0.05, 0.0, steps))
    theta = train(rbm(HIDDEN, data.spec.shape, tx, steps=5), data, steps)
    x = binary(data, "train")
    exact = float(jax.jit(log_partition)(theta))
    nats = exact + float(jnp.mean(free_energy(theta, jnp.asarray(binary(data, "test")))))
    about = dict(unit="nats", seeds=seeds, reference=exact)
    machine = f"RBM of {HIDDEN} on {name}, {steps} steps"
    rows = []
    for densities in (1000, times):
        found = estimates(theta, base_rates(x.mean(0), len(x)), seeds, chains, densities)
        errors, told = found[:, 0] - exact, f"AIS tells standard errors of {found[:, 1].min():.4f} to {found[:, 1].max():.4f}"
        minutes = (time.monotonic() - began) / 60
        print(
            f"{name}: log Z {exact:.3f}, {densities} densities: errors {errors.round(4)}, {told}, {minutes:.1f} min", flush=True
        )
        keywords = {"hidden": HIDDEN, "steps": steps, "chains": chains, "densities": densities}
        worst = float(np.abs(errors).max())
        asked = dict(bar=f"each |error| < {BAR}", met=worst < BAR) if densities == times else {}
        rows += [
            row(machine, f"log Z, AIS of {densities} minus enumeration", errors.tolist(), keywords=keywords,
                source=f"sum over 2^{HIDDEN} states", note=f"{told}; the largest error is {worst:.4f}", **asked, **about)
        ]  # fmt: skip
    few = f"one binarization of the test split; {HIDDEN} units are few, this is no bar"
    return [*rows, row(machine, "test NLL, exact", [nats], seeds=[0], keywords={"steps": steps}, unit="nats", note=few)]


def full(steps: int, seeds: list[int], chains: int, times: int) -> list[dict]:
    """The rows of a machine of 500, by AIS alone."""
    began, data = time.monotonic(), load("mnist")
    model = rbm(500, data.spec.shape, optax.sgd(optax.linear_schedule(0.05, 0.0, steps)), steps=25, persistent=False)
    theta, x = train(model, data, steps), binary(data, "train")
    found = estimates(theta, base_rates(x.mean(0), len(x)), seeds, chains, times)
    energy = float(jnp.mean(free_energy(theta, jnp.asarray(binary(data, "test")))))
    nats = (energy + found[:, 0]).tolist()
    minutes = (time.monotonic() - began) / 60
    print(f"RBM of 500: test {np.mean(nats):.2f} nats by AIS, {minutes:.1f} min", flush=True)
    note = (f"AIS puts log Z too low on average, so these nats too; it tells standard errors up to {found[:, 1].max():.3f}; "
            f"{minutes:.1f} min")  # fmt: skip
    keywords = {"hidden": 500, "steps": steps, "gibbs": 25, "chains": chains, "densities": times}
    return [
        row("RBM of 500, CD-25, dynamic MNIST", "test NLL, AIS", nats, seeds=seeds, keywords=keywords, unit="nats",
            bar="<= 86.34", met=bool(np.mean(nats) <= 86.34), reference=86.34, source=PAPER, note=note),
    ]  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=["mnist", "binary_density/plants"])
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[5000, 10_000], help="of training; more than the first for mnist alone"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of AIS")
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--times", type=int, default=15_000, help="densities that chains pass")
    parser.add_argument("--full", action="store_true", help="also RBM 500 with CD-25, --full-steps of it")
    parser.add_argument("--full-steps", type=int, default=200_000)
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    seeds = list(range(args.seeds))
    command = "python -m benchmarks.rbm_partition" + f" --full --full-steps {args.full_steps}" * args.full

    def add(more: list[dict]) -> None:
        if not args.dry:
            name, title = "rbm_partition", "Partition functions of restricted Boltzmann machines"
            record(name, title, command, kept(name, more))

    for name in args.sets:
        for steps in args.steps if name == "mnist" else args.steps[:1]:
            add(against_enumeration(name, steps, seeds, args.chains, args.times))
    if args.full:
        add(full(args.full_steps, seeds[:3], 100, 15_000))


if __name__ == "__main__":
    main()
