"""Eight sets of binary variables (binary density estimation, 16 to 180 variables): MADE (1502.03509) and mixtures of orders.

    python -m benchmarks.binary_density                     # all eight, less than 10 minutes on two cores
    python -m benchmarks.binary_density --sets dna mushrooms --dry
    python -m benchmarks.binary_density --choose            # before that, once: 20 minutes, by the valid splits

One MADE is one order of the variables. For every set a few are trained side by side under vmap, each with its own seed and
order (which is a permutation of the columns). After every epoch the running average of each is scored on the valid split; the
one that was best there is scored on test, once. Two numbers a set:

    single     nats of one MADE, mean and spread over the members
    mixture    -log mean_k p_k(x): the even mixture of the members, exact, as 1310.1757 scores its orders

Small sets with many variables need sparse weights: Adam with decoupled L1, `l1` taken off every weight in every step. Widths
and l1 are chosen by the valid split alone: of the nine in CHOICES, that whose one MADE, of an order that is not used again, is
best there.
"""

import argparse
import json
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks.record import ROOT, record, row
from genjax.data import load, row_block
from genjax.families.autoregressive import autoregressive
from genjax.heads import bernoulli
from genjax.model import Model, as_batch
from genjax.nets import made
from genjax.parallel import seeded


class Set(NamedTuple):
    """The nats of test that a set is compared with."""

    plain: float  # of a plain MADE, see PLAIN
    published: float = 0.0


class How(NamedTuple):
    """What is chosen for a set."""

    widths: tuple[int, ...]
    l1: float


PLAIN = "a MADE with one hidden layer of 500, dropout 0.2, AdamW 1e-3, early stopping, one seed, untuned"
PUBLISHED = "EoNADE, 16 orders (1502.03509, table 2)"
MEMBERS, LISTED, LR = 4, 16, 3e-3
SETS = {
    "nltcs": Set(5.999),
    "plants": Set(12.312),
    "baudio": Set(38.720),
    "jester": Set(51.621),
    "bnetflix": Set(54.808),
    "accidents": Set(26.486),
    "mushrooms": Set(9.925, 9.69),
    "dna": Set(86.59, 82.31),
}
CHOICES = [How(widths, l1) for widths in ((), (500,), (500, 500)) for l1 in (3e-5, 1e-4, 3e-4)]
CHOSEN = ROOT / "results" / "choices" / "binary_density.json"  # its own folder: RESULTS.md tells what is chosen, not among what


def length(rows: int) -> tuple[int, int]:
    """(epochs, batch) of a set of so many rows."""
    return (60, 50) if rows < 5000 else (30, 100)


def sparse(l1: float) -> optax.GradientTransformation:
    """Takes l1 off every weight, biases left alone."""
    return optax.stateless(lambda u, p: jax.tree.map(lambda u, p: u - l1 * jnp.sign(p) if p.ndim > 1 else u, u, p))


def build(how: How, dims: int, steps: int) -> Model:
    """MADE with the paper's direct connections."""
    tx = optax.chain(optax.adam(optax.cosine_decay_schedule(LR, steps)), sparse(how.l1))
    return autoregressive(made(how.widths, direct=True), (dims,), bernoulli(grid=False), tx)


class Members:
    """MADEs of several orders, trained side by side."""

    def __init__(self, how: How, x: dict[str, np.ndarray], seeds: Sequence[int]):
        self.x = {split: jnp.asarray(rows, jnp.int32) for split, rows in x.items()}
        self.many, dims = x["train"].shape
        self.epochs, self.batch = length(self.many)
        self.per_epoch = self.many // self.batch
        self.seeds = list(seeds)
        self.model = build(how, dims, self.epochs * self.per_epoch)
        self.orders = jnp.asarray([np.random.default_rng(seed).permutation(dims) for seed in self.seeds])
        self.epoch, self.score = jax.jit(self._epoch), jax.jit(self._score)

    def start(self) -> genjax.State:
        keys = jax.vmap(jax.random.key)(jnp.asarray(self.seeds))
        states = jax.vmap(lambda key: genjax.init(self.model, key, as_batch(self.x["train"][:1])))(keys)
        return states._replace(step=jnp.zeros((), jnp.int32))

    def _epoch(self, state: genjax.State, rows: jax.Array) -> genjax.State:
        """rows: (steps, members, batch)."""
        step = seeded(genjax.make_step(self.model, ema_decay=0.998), batch_axis=0)
        batches = jax.vmap(lambda rows, order: as_batch(self.x["train"][rows][:, order]))
        return jax.lax.scan(lambda state, rows: step(state, batches(rows, self.orders)), state, rows)[0]

    def _score(self, params: genjax.Params, x: jax.Array) -> jax.Array:
        """(members, len(x)) log p(x)."""
        return jax.vmap(lambda params, order: self.model.log_prob(params, as_batch(x[:, order])))(params, self.orders)

    def rows(self, epoch: int) -> np.ndarray:
        block = lambda seed: row_block(seed, epoch * self.per_epoch, self.per_epoch, self.batch, self.many)
        return np.stack([block(seed) for seed in self.seeds], axis=1)

    def train(self) -> tuple[genjax.Params, np.ndarray]:
        """(the parameters of each member that were best on valid; their log-likelihoods there)."""
        state, most, at_best = self.start(), np.full(len(self.seeds), -np.inf), None
        for epoch in range(self.epochs):
            state = self.epoch(state, self.rows(epoch))
            valid = np.asarray(self.score(state.ema, self.x["valid"])).mean(1)
            better, most = valid > most, np.maximum(valid, most)
            keep = lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)  # noqa: B023
            at_best = jax.tree.map(keep, state.ema, at_best or state.ema)
        return at_best, most


class Scores(NamedTuple):
    """Of trained members."""

    single: list[float]  # test nats of each
    mixture: float  # of all together
    mass: list[float]  # sum of the probabilities of all 2^D states by each; empty for more than LISTED variables


def scores(how: How, x: dict[str, np.ndarray], count: int = MEMBERS) -> Scores:
    """Train and score on test, once."""
    members = Members(how, x, range(count))
    (params, _), dims = members.train(), x["test"].shape[1]
    each = np.asarray(members.score(params, members.x["test"]), np.float64)
    mixture = np.logaddexp.reduce(each, axis=0) - np.log(count)
    mass = [] if dims > LISTED else np.exp(np.asarray(members.score(params, states(dims)), np.float64)).sum(1).tolist()
    return Scores((-each.mean(1)).tolist(), float(-mixture.mean()), mass)


def states(dims: int) -> jax.Array:
    """All 2^D states (2^D, D)."""
    return jnp.arange(2**dims)[:, None] >> jnp.arange(dims) & 1


def columns(name: str) -> dict[str, np.ndarray]:
    """The splits of a set."""
    return {split: part.x for split, part in load(f"binary_density/{name}").splits.items()}


def choices(name: str) -> list[dict]:
    """Valid nats of every choice, a row each, the best first; test is not looked at."""
    x, rows = columns(name), []
    x.pop("test")
    for how in CHOICES:
        (nats,) = -Members(how, x, [MEMBERS]).train()[1]
        rows.append(row(f"MADE on {name}", "valid NLL", [float(nats)], keywords=how._asdict(), unit="nats", seeds=[MEMBERS]))
        print(f"{name} {how}: {nats:.3f}", flush=True)
    return sorted(rows, key=lambda row: row["values"][0])


def chosen(name: str) -> How:
    """The choice that is best on valid; KeyError without --choose before."""
    rows = json.loads(CHOSEN.read_text())["rows"]
    keywords = next(row["keywords"] for row in rows if row["recipe"] == f"MADE on {name}")
    return How(tuple(keywords["widths"]), keywords["l1"])


def measured(name: str) -> list[dict]:
    """The rows of one set."""
    at, how, x, began = SETS[name], chosen(name), columns(name), time.monotonic()
    single, mixture, mass = scores(how, x)
    minutes = (time.monotonic() - began) / 60
    print(
        f"{name}: single {np.mean(single):.3f} ({at.plain}), mixture {mixture:.3f} ({at.published}), {minutes:.1f} min",
        flush=True,
    )
    epochs, size = length(len(x["train"]))
    keywords = how._asdict() | {"epochs": epochs, "lr": LR, "batch": size}
    seeds, note = list(range(MEMBERS)), f"{minutes:.1f} min for all {MEMBERS} orders; widths and l1 chosen on valid"
    about = dict(keywords=keywords, unit="nats", seeds=seeds, note=note)
    rows = [row(f"MADE on {name}", "test NLL, one order", single, bar=f"<= {at.plain}", met=bool(np.mean(single) <= at.plain),
                reference=at.plain, source=PLAIN, **about)]  # fmt: skip
    asked = dict(bar=f"<= {at.published}", met=mixture <= at.published, reference=at.published, source=PUBLISHED)
    rows += [
        row(f"MADE on {name}", f"test NLL, mixture of {MEMBERS} orders", [mixture], **(asked if at.published else {}), **about)
    ]
    if mass:
        rows.append(row(f"MADE on {name}", f"sum of p over all 2^{LISTED} states", mass, bar="1 to 1e-5", reference=1.0,
                        met=bool(np.abs(np.subtract(mass, 1)).max() <= 1e-5), source="it is a distribution",
                        **about | {"unit": "1", "note": "log p in float32, the sum in float64"}))  # fmt: skip
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    parser.add_argument("--choose", action="store_true", help="choose schedules by the valid splits")
    args = parser.parse_args()
    rows = [line for name in args.sets for line in (choices if args.choose else measured)(name)]
    if args.choose and not args.dry:
        command = "python -m benchmarks.binary_density --choose"
        record("choices/binary_density", "Binary density estimation: choices by valid", command, rows)
    elif not args.dry:
        record("binary_density", "Binary density estimation", "python -m benchmarks.binary_density", rows)


if __name__ == "__main__":
    main()
