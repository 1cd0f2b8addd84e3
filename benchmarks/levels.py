"""Levels of a game before and after a reward for those that can be solved: `configs/rewarded_levels.py`.

    python -m benchmarks.levels                          # three seeds, 10 min on one core
    python -m benchmarks.levels --pictures runs/levels   # also 64 samples of each

Of each seed one transformer is trained, and both ways of the reward set out from it. Measured are 2000 samples of the running
average of the parameters after the last step; nothing is chosen. Beside them stand

    training levels      what the transformer learns from
    random tiles         each tile drawn by itself, as often each as in the training levels
    solvable samples     those of the transformer that can be solved, as if the others were thrown away: the best that a policy
                         gradient with a small anchor can come to, see `genjax.data.levels`

"Differing tiles" is the share of tiles in which two samples differ, "moves" the least from start to goal where there is a way.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import record, row
from genjax.config import ROOT, Command, Options, knob_class, load_recipe
from genjax.data import load
from genjax.data.levels import GOAL, START, WALL, coloured, moves
from genjax.job import Job, plan
from genjax.model import Params, as_batch
from genjax.pieces import Programs, begins, pieces
from genjax.report import picture
from genjax.step import State

RECIPE, SAMPLES = ROOT / "configs" / "rewarded_levels.py", 2000
Found = dict[str, float]


def planned(seed: int, **knobs: Any) -> Job:
    """The job of the command `python train.py configs/rewarded_levels.py --seed SEED --KNOB ...`."""
    return plan(Command(RECIPE, vars(knob_class(load_recipe(RECIPE))(**knobs)), Options(seed=seed)))


def trained(job: Job, state: State | None, stop: int) -> tuple[State, float]:
    """(the state after `stop` steps, seconds of CPU time without compiling); None begins anew."""
    programs = Programs(job)
    state = programs.first() if state is None else jax.tree.map(jnp.copy, state)  # it is given away
    if (done := int(state.step)) == begins(job.recipe, 1):
        state = programs.next(state, 1)
    left = [piece for piece in pieces(job.recipe.steps, job.options.chunk, done) if piece.stop <= stop]
    for piece in left:
        programs.program(piece)
    began = time.process_time()
    for piece, data, chosen in programs.blocks(left):
        state, _ = programs.advance(state, piece, data, chosen)
    jax.block_until_ready(state)
    return state, time.process_time() - began


# ---- what is measured -----------------------------------------------------------------------------------------------------


def drawn(job: Job, params: Params) -> np.ndarray:
    """2000 samples in [0, 1], of keys that no training uses."""
    sample, keys = jax.jit(job.recipe.model.sample), jax.random.split(jax.random.key(2026), SAMPLES)
    return np.concatenate([np.asarray(sample(params, some)) for some in keys.reshape(-1, 250)])


def heldout(job: Job, params: Params) -> float:
    """Nats of a level of the test split."""
    x = jnp.asarray(job.data.splits["test"].x / np.float32(3))
    return float(-jax.jit(job.recipe.model.log_prob)(params, as_batch(x)).mean())


def measured(x: np.ndarray, training: set[bytes]) -> Found:
    """Of levels (n, 7, 7, 1) in [0, 1]."""
    tiles, ways = np.round(3 * x[..., 0]).astype(np.uint8), np.asarray(jax.jit(moves)(jnp.asarray(x)))
    kinds = [level.tobytes() for level in tiles]
    one = lambda kind: (tiles == kind).sum((1, 2)) == 1
    often = np.stack([(tiles == kind).mean(0) for kind in range(4)])
    return {
        "solvable": (ways > 0).mean(),
        "one start and one goal": (one(START) & one(GOAL)).mean(),
        "distinct": len(set(kinds)) / len(kinds),
        "copies of training levels": np.mean([kind in training for kind in kinds]),
        "walls": (tiles == WALL).mean(),
        "differing tiles": (1 - (often**2).sum(0)).mean() * len(x) / (len(x) - 1),
        "moves": ways[ways > 0].mean(),
    }


def one_seed(seed: int, pictures: Path | None) -> tuple[dict[str, Found], dict[str, float]]:
    """({who: what was measured}, {who: CPU seconds of training})."""
    states, seconds = three(seed)
    job, x = planned(seed), load("levels").splits["train"].x
    maps = data(x, seed) | {who: drawn(job, state.ema) for who, state in states.items()}
    maps["solvable samples"] = maps["transformer"][np.asarray(jax.jit(moves)(jnp.asarray(maps["transformer"]))) > 0]
    training = {level.tobytes() for level in x[..., 0]}
    found = {who: measured(some, training) for who, some in maps.items()}
    for who, state in states.items():
        found[who]["held-out level"] = heldout(job, state.ema)
    for who, some in maps.items() if pictures else ():
        picture(pictures / f"{who.replace(', ', '_').replace(' ', '_')}_{seed}.png", coloured(jnp.asarray(some[:64])))
    return found, seconds


def three(seed: int) -> tuple[dict[str, State], dict[str, float]]:
    """({who: state after the last step}, {who: CPU seconds}) of the transformer and of the two models that set out from it."""
    ways = {"rewarded, likelihood": planned(seed), "rewarded, filtered": planned(seed, retrain=True)}
    first = ways["rewarded, likelihood"]
    before, seconds = trained(first, None, begins(first.recipe, 1))
    after = {who: trained(job, before, job.total) for who, job in ways.items()}
    states, times = ({who: pair[k] for who, pair in after.items()} for k in (0, 1))
    return {"transformer": before} | states, {"transformer": seconds} | times


def data(x: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The training levels, and 2000 maps of their tiles in any order, in [0, 1]."""
    mixed = np.random.default_rng(seed).permutation(x.ravel()).reshape(x.shape)[:SAMPLES]
    return {"training levels": x / np.float32(3), "random tiles": mixed / np.float32(3)}


# ---- rows -----------------------------------------------------------------------------------------------------------------


def rows_of(found: list[dict[str, Found]], seconds: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Lines of RESULTS.md; the bars are those of the two rewarded models."""
    order = ("training levels", "random tiles", "transformer", "solvable samples", "rewarded, likelihood", "rewarded, filtered")
    lines = []
    for who in order:
        for metric in found[0][who]:
            values = [float(of_seed[who][metric]) for of_seed in found]
            values = values[:1] if who == "training levels" else values
            about = {"unit": "nats" if metric == "held-out level" else "", "seeds": list(range(len(values)))}
            lines.append(row(who, metric, values, **about, **bar(who, metric, found)))
        if who in seconds[0]:
            spent = np.mean([of_seed[who] for of_seed in seconds])
            lines[-len(found[0][who])]["note"] = f"{spent:.0f} s of CPU time to train a seed"
    return lines


def bar(who: str, metric: str, found: list[dict[str, Found]]) -> dict[str, Any]:
    """More can be solved, and that not by fewer walls, shorter ways or the same level again."""
    if not who.startswith("rewarded") or metric == "held-out level":
        return {}
    mean = lambda name: float(np.mean([of_seed[name][metric] for of_seed in found]))
    now, best = mean(who), mean("solvable samples")
    bars = {
        "solvable": (">= 0.9", now >= 0.9) if "likelihood" in who else ("above the transformer's", now > mean("transformer")),
        "distinct": (">= 0.99", now >= 0.99),
        "walls": ("within 0.02 of the solvable samples'", abs(now - best) <= 0.02),
        "differing tiles": ("within 0.02 of the solvable samples'", abs(now - best) <= 0.02),
        "moves": ("within 2 of the solvable samples'", abs(now - best) <= 2),
    }
    return dict(zip(("bar", "met"), bars[metric], strict=True)) if metric in bars else {}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--dry", action="store_true", help="print, write no results")
    args = parser.parse_args()
    found, seconds = [], []
    for seed in range(args.seeds):
        of_seed, times = one_seed(seed, args.pictures)
        found.append(of_seed)
        seconds.append(times)
        for who, values in of_seed.items():
            told = ", ".join(f"{metric} {value:.3f}" for metric, value in values.items())
            print(f"seed {seed}, {who}: {told}", flush=True)
        print(f"seed {seed}: {', '.join(f'{who} {time:.0f} s' for who, time in times.items())}", flush=True)
    lines = rows_of(found, seconds)
    if not args.dry:
        record("levels", "Levels of a game, rewarded where they can be solved", "python -m benchmarks.levels", lines)


if __name__ == "__main__":
    main()
