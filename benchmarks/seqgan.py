"""SeqGAN on its own benchmark (1609.05473, table 1): sequences of a known LSTM, by likelihood and then by a critic's verdict.

    python -m benchmarks.seqgan                              # seed 0: 20 minutes on one core
    python -m benchmarks.seqgan --seeds 0 1 2
    python -m benchmarks.seqgan --steps 200 50 20 --dry      # steps of likelihood, of the critic alone, of both: does it run?

    NLL_oracle   nats a token of 10 000 samples under the oracle: what the paper tells, low also where samples are all alike
    NLL_test     nats a token of 10 000 other sequences of the oracle under the model: high where it gives up some of them

A lower temperature trades the second for the first in any model, so that one of them says little (1811.02549, "Language GANs
falling short"): beside SeqGAN stand both numbers of the model of maximum likelihood it began with, at several temperatures;
and how well the critic tells sequences of the oracle from samples, those it was trained on and others.
The generator is the paper's, an LSTM of 32 with embeddings of 32, 5000 tokens, 20 places, 10 000 training sequences. What is
measured is the running average of the parameters after the last step of each stage, once; schedules were set beforehand.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks.record import record, row
from genjax.config import ROOT, load_recipe
from genjax.data import Split, load, oracle_nats, row_block
from genjax.families.autoregressive import autoregressive
from genjax.heads import Head, categorical
from genjax.model import Model, as_batch
from genjax.nets import lstm, text_critic

LEVELS, PLACES, BATCH, ROWS, CHUNK, LOOKS, AVERAGE = 5000, 20, 64, 1000, 20, 8, 0.99
STEPS, EVERY = (5000, 1500, 2400), 3  # the generator's move is one in so many of both
CUTS, ROLLOUTS = 4, 2
TEMPERATURES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
FLOOR, PAPER = 5.754, "SeqGAN, 1609.05473, table 1"


class Seen(NamedTuple):
    """Nats a token: of samples under the oracle, of data under the model."""

    oracle: float
    data: float


def cooled(temperature: float) -> Model:
    """The recipe's generator at a temperature, to draw from and to score with."""
    head = tempered(categorical(LEVELS, grid=False, inverse=True), temperature)
    return autoregressive(lstm(LEVELS, LEVELS, width=32, embedding=32), (PLACES,), head, optax.sgd(0.0))


def tempered(head: Head, temperature: float) -> Head:
    """The head at a temperature, in what it draws and in what it says of data."""
    log_prob = lambda theta, x: head.log_prob(theta / temperature, x)
    return head._replace(log_prob=log_prob, draw=lambda key, theta: head.draw(key, theta / temperature))


def seqgan(steps: list[int]) -> Model:
    """The generator, its critic, and both: the recipe's."""
    source = load_recipe(ROOT / "configs" / "seqgan_oracle.py")
    return source.recipe(load("seqgan_oracle").spec, steps=tuple(steps), cuts=CUTS, rollouts=ROLLOUTS, every=EVERY).model


def measure(model: Model, nats: Callable) -> Callable[[genjax.Params, np.ndarray, int], Seen]:
    """(params, sequences (n, 20), seed) -> both numbers, of as many samples as there are sequences."""
    sample, log_prob = jax.jit(model.sample), jax.jit(lambda params, x: model.log_prob(params, as_batch(x)))

    def seen(params: genjax.Params, x: np.ndarray, seed: int) -> Seen:
        parts = x.reshape(-1, ROWS, PLACES)
        keys = jax.random.split(jax.random.key(10_000 + seed), parts.shape[:2])
        drawn = np.concatenate([sample(params, some) for some in keys])
        told = np.concatenate([log_prob(params, some) for some in parts])
        return Seen(float(nats(drawn).mean()), float(-told.mean() / PLACES))

    return seen


def train(model: Model, x: np.ndarray, seed: int, steps: list[int], look: Callable) -> tuple[list[genjax.Params], list[float]]:
    """(parameters before training and the running average after each stage, minutes of each stage)."""
    data, begins, minutes = jnp.asarray(x), 0, []
    state = genjax.init(model, jax.random.key(seed), as_batch(data[:BATCH]))
    kept = [jax.tree.map(jnp.copy, state.params)]
    for stage, length in enumerate(steps):
        state = genjax.next_stage(model, state, stage)
        step = genjax.make_step(model, stage, begins=begins, ema_decay=AVERAGE)
        run = jax.jit(lambda state, rows, step=step: jax.lax.scan(lambda s, r: step(s, as_batch(data[r])), state, rows))
        spent, chunks = 0.0, range(0, length, CHUNK)
        for number, first in enumerate(chunks):
            began = time.monotonic()
            state, metrics = run(state, row_block(seed, begins + first, min(CHUNK, length - first), BATCH, len(x)))
            told = {name: round(float(np.nanmean(value)), 4) for name, value in metrics.items() if not name.endswith("skipped")}
            spent += (time.monotonic() - began) / 60
            if (number + 1) % max(1, len(chunks) // LOOKS) == 0:
                look(state.ema, {"stage": stage, "step": first + CHUNK, "minutes": round(spent, 2)} | told)
        if int(state.skipped):
            raise RuntimeError("steps with a loss that is not finite were skipped")
        kept, minutes, begins = [*kept, state.ema], [*minutes, spent], begins + length
    return kept, minutes


def told_apart(model: Model, params: genjax.Params, splits: dict[str, Split], seed: int) -> dict[str, float]:
    """How often the critic ranks a sequence of each split above a sample (the area under its ROC curve; 0.5 is chance)."""
    judge = jax.jit(lambda x: text_critic(LEVELS).apply(params["critic"], x))
    drawn = judge(jax.jit(model.sample)(params, jax.random.split(jax.random.key(20_000 + seed), 2 * ROWS)))
    above = lambda x: float((np.asarray(judge(x))[:, None] > np.asarray(drawn)).mean())
    return {name: above(splits[name].x[: 2 * ROWS]) for name in ("train", "test")}


def curve_at(points: list[Seen], oracle: float) -> float:
    """NLL of data that the points have where NLL_oracle is that, between neighbours in proportion; NaN outside of them."""
    points = sorted(points)
    x, y = [point.oracle for point in points], [point.data for point in points]
    return float(np.interp(oracle, x, y, left=np.nan, right=np.nan))


def one_seed(seed: int, steps: list[int]) -> dict[str, Seen | float]:
    """What one seed shows, by the names of the rows."""
    splits, nats = load("seqgan_oracle").splits, oracle_nats()
    model, valid, test = seqgan(steps), splits["valid"].x[: 2 * ROWS], splits["test"].x
    seen = measure(model, nats)

    def look(params: genjax.Params, told: dict) -> None:
        now = seen(params, valid, seed)
        print(json.dumps(told | {"oracle": round(now.oracle, 3), "valid": round(now.data, 3)}), flush=True)

    (untrained, mle, judge, both), minutes = train(model, splits["train"].x, seed, steps, look)
    found = {"untrained": seen(untrained, test, seed), "critic": told_apart(model, judge, splits, seed)}
    for temperature in TEMPERATURES:
        found[f"MLE {temperature:g}"] = measure(cooled(temperature), nats)(mle, test, seed)
    found["SeqGAN"] = seen(both, test, seed)
    curve = [found[f"MLE {temperature:g}"] for temperature in TEMPERATURES]
    found |= {"MLE there": curve_at(curve, found["SeqGAN"].oracle), "floor": float(nats(test).mean())}
    print(json.dumps({"seed": seed, "minutes": [round(m, 1) for m in minutes]} | found), flush=True)
    return found | {"minutes": minutes}


def rows_of(found: list[dict], seeds: list[int], steps: list[int]) -> list[dict]:
    """The rows of all seeds so far."""
    minutes = np.mean([one["minutes"] for one in found], axis=0)
    about, share = dict(seeds=seeds, unit="nats a token"), dict(seeds=seeds, unit="share")
    told = {"steps": steps, "batch": BATCH, "cuts": CUTS, "rollouts": ROLLOUTS, "every": EVERY}

    def both(name: str, what: str, note: str = "", **asked) -> list[dict]:
        oracle, data = ([getattr(one[name], side) for one in found] for side in Seen._fields)
        if "bar" in asked:
            asked["met"] = bool(np.mean(oracle) <= asked["reference"])
        return [row(what, "NLL_oracle of samples", oracle, note=note, keywords=told, **asked, **about),
                row(what, "NLL_test", data, keywords=told, **about)]  # fmt: skip

    lines = both("untrained", "LSTM, untrained", "random in the paper", reference=10.310, source=PAPER)
    note = f"{minutes[0]:.0f} min on average"
    lines += both("MLE 1", "maximum likelihood", note, bar="<= 9.038", reference=9.038, source=PAPER)
    note = f"after it {minutes[1]:.1f} min of the critic alone and {minutes[2]:.0f} min of both"
    lines += both("SeqGAN", "SeqGAN", note, bar="<= 8.736", reference=8.736, source=PAPER)
    for name, what in (("train", "sequences it was shown"), ("test", "others of the oracle")):
        apart = [one["critic"][name] for one in found]
        lines += [row("critic of SeqGAN before the game", f"{what} ranked above samples", apart, note="chance is 0.5", **share)]
    there = [one["MLE there"] for one in found]
    gave = f"between the rows below; SeqGAN's own NLL_test is {np.mean([one['SeqGAN'].data for one in found]):.3f}"
    if np.isfinite(there).all():
        lines += [row("maximum likelihood at the temperature of SeqGAN's NLL_oracle", "NLL_test", there, note=gave, **about)]
    for temperature in TEMPERATURES[1:]:
        lines += both(f"MLE {temperature:g}", f"maximum likelihood at temperature {temperature:g}")
    floor = [one["floor"] for one in found[:1]]
    of_oracle = dict(reference=FLOOR, source="its entropy; less is collapse", unit="nats a token", seeds=[0])
    return [*lines, row("the oracle's own test sequences", "NLL_oracle", floor, **of_oracle)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, nargs=3, default=STEPS, help="of likelihood, of the critic alone, of both")
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    found, steps = [], list(args.steps)
    shorter = "" if tuple(steps) == STEPS else f" --steps {' '.join(map(str, steps))}"
    for number, seed in enumerate(args.seeds):
        found.append(one_seed(seed, steps))
        seeds = args.seeds[: number + 1]
        command = f"python -m benchmarks.seqgan --seeds {' '.join(map(str, seeds))}{shorter}"
        if not args.dry:
            record("seqgan", "SeqGAN on its oracle", command, rows_of(found, seeds, steps))


if __name__ == "__main__":
    main()
