"""Monitors: while a run trains, tell once, in plain words, what is seen to go wrong, what it usually means, which knob helps.

A watch (`genjax.watches`) is silent in the warm-up of a stage, and speaks when what it sees held all along the last part of it.
In the warm-up each step is looked at for divergence alone. Watches read what is logged anyway; they change nothing of the run.
What was told stands in the run's `warnings.jsonl` and `result.json`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genjax.checkpoint import warn
from genjax.metrics.collapse import spread_ratio
from genjax.metrics.neighbours import prdc
from genjax.model import Model, Params, as_batch
from genjax.report import Lines
from genjax.watches import WATCHES, Watch

WARM_UP, FEWEST = 0.1, 100  # a watch is silent in this share of a stage's steps, and in so many steps at least
# What shows divergence in the warm-up; it must be so many times what the stage began with, for so many steps in a row.
EARLY, FACTOR, IN_A_ROW = ("loss", "grad_norm"), 1e3, 5
NEAREST = 5  # k of the neighbourhoods behind `recall` (2002.09797)


def row_above(values: np.ndarray, bound: float) -> int | None:
    """Where the first `IN_A_ROW` values in a row begin that all are above a bound."""
    if len(values) < IN_A_ROW:
        return None
    found = np.flatnonzero(np.convolve(values > bound, np.ones(IN_A_ROW), "valid") > IN_A_ROW - 0.5)
    return int(found[0]) if len(found) else None


class Monitors:
    """The watches over one run.

    Args:
      folder: of the run; what was told before stands in its `warnings.jsonl` and is not told again.
      steps: of each stage.
      rows: lines from before a resume, {"step": ..., "phase/name": value}; they are remembered, not judged again.
      watches: what is looked at.
    """

    def __init__(self, folder: Path, steps: Sequence[int], rows: Iterable[dict] = (), watches: Sequence[Watch] = WATCHES):
        self.ends, self.watches = np.cumsum(steps).tolist(), watches
        self.file = Lines(folder / "warnings.jsonl")
        self.warnings = self.file.cut(self.ends[-1])
        self.stage, self.history, self.parts, self.last = -1, {}, {}, {}
        self.remember(rows)

    def follow(self, rows: Sequence[dict]) -> None:
        """Look at new lines, a hundred times a stage, and warn of what is seen for the first time."""
        before = dict(self.parts)
        self.remember(rows)
        told = self.told()
        due = [name.rpartition("/") for name, part in self.parts.items() if part != before.get(name)]
        for watch in self.watches:
            for phase, _, metric in due:
                about = phase, watch.problem
                if metric == watch.metric and about not in told and (words := self.judge(watch, f"{phase}/{metric}")):
                    told.add(about)
                    self.tell({"step": rows[-1]["step"], "phase": phase, "problem": watch.problem, "words": words})

    def follow_steps(self, start: int, metrics: dict[str, np.ndarray]) -> None:
        """Look at each step of a piece after its lines, in the warm-up alone: divergence should not wait for its end."""
        for name in metrics if start < self.warm() else ():
            phase, _, metric = name.rpartition("/")
            words = self.diverges(phase, name, start, metrics[name]) if metric in EARLY else ""
            if words and (phase, "divergence") not in self.told():
                self.tell({"step": start + len(metrics[name]), "phase": phase, "problem": "divergence", "words": words})

    def diverges(self, phase: str, name: str, start: int, values: np.ndarray) -> str:
        """What to tell of a metric's steps; nothing where all is well. One that is not finite is told of elsewhere."""
        there = np.flatnonzero(np.isfinite(values))
        steps, old = self.last.get(name, (np.empty(0, int), np.empty(0)))
        steps, new = np.r_[steps, start + there + 1], np.r_[old, np.asarray(values, np.float64)[there]]
        self.last[name] = steps[1 - IN_A_ROW :], new[1 - IN_A_ROW :]
        if (at := row_above(np.abs(new), FACTOR * self.began(phase))) is None:
            return ""
        return (f"{name} is {new[at : at + IN_A_ROW].mean():.3g}, more than {FACTOR:,.0f} times what this stage began with "
                f"in size, since step {steps[at]}; it usually means that training diverges; lower the learning rate, let it "
                "warm up, or clip gradients: optax.chain(optax.clip_by_global_norm(1.0), ...)")  # fmt: skip

    def began(self, phase: str) -> float:
        """A phase's first loss or gradient, the larger, or 1: by design, as with zero layers, each may begin near 0."""
        firsts = (next(iter(self.history.get(f"{phase}/{metric}", {}).values()), 0.0) for metric in EARLY)
        return max(1.0, *map(abs, firsts))

    def told(self) -> set[tuple[str, str]]:
        """(phase, problem) of what was told."""
        return {(warning["phase"], warning["problem"]) for warning in self.warnings}

    def remember(self, rows: Iterable[dict]) -> None:
        """Add lines to the history of their stage; a number that is not finite is told of elsewhere."""
        for row in rows:
            if (stage := bisect_left(self.ends, row["step"])) != self.stage:
                self.stage, self.history, self.last = stage, {}, {}
            begin, length = self.extent()
            for name, value in row.items():
                if name != "step" and np.isfinite(value):
                    self.history.setdefault(name, {})[row["step"]] = value
                    self.parts[name] = stage, 100 * (row["step"] - begin) // length

    def extent(self) -> tuple[int, int]:
        """(first step, steps) of the stage."""
        begin = self.ends[self.stage - 1] if self.stage else 0
        return begin, self.ends[self.stage] - begin

    def warm(self) -> float:
        """The step at which the stage's warm-up ends."""
        begin, length = self.extent()
        return begin + max(WARM_UP * length, FEWEST)

    def judge(self, watch: Watch, name: str) -> str:
        """What to tell of a metric now; nothing where all is well or it is too early to say."""
        steps, values = self.series(name, watch.over, watch.least)
        warm = self.warm()
        since = steps[-1] - watch.share * self.extent()[1] if steps else 0
        recent = min(bisect_right(steps, since), len(steps) - watch.lines)
        if since < warm or recent < bisect_right(steps, warm) or not watch.sees(values[recent:], values[:recent]):
            return ""
        seen = watch.seen.format(now=values[recent:].mean())
        return f"{name} {seen}, since step {steps[recent]} or before; {watch.advice}"

    def series(self, name: str, over: str, least: float) -> tuple[list[int], np.ndarray]:
        """(steps, values) of a metric in this stage, divided by the one beside it, where above `least`, if `over` names one."""
        values = self.history.get(name, {})
        if over:
            under = self.history.get(f"{name.rpartition('/')[0]}/{over}", {})
            values = {step: value / under[step] for step, value in values.items() if under.get(step, least) > least}
        return list(values), np.array(list(values.values()), np.float64)

    def tell(self, warning: dict) -> None:
        """Say it, and keep it for the next start of the run."""
        self.warnings.append(warning)
        self.file.write([warning])
        warn(f"step {warning['step']}: {warning['words']}")


def of_inverse(model: Model, params: Params, x: jax.Array, y: jax.Array | None = None) -> dict[str, jax.Array]:
    """How far samples x (B, ...) are from decode(encode(x)), over their root mean square, where both ways should be exact.

    Returns:
      samples/inverse_error, 1e9 where something is not finite; empty for a model that is not invertible.
    """
    if None in (model.log_prob, model.encode, model.decode):
        return {}
    back = model.decode(params, model.encode(params, jax.random.key(0), as_batch(x, y)), y)
    error = jnp.sqrt(jnp.mean((back - x) ** 2) / jnp.mean(x**2))
    return {"samples/inverse_error": jnp.nan_to_num(error, nan=1e9, posinf=1e9)}


def of_samples(x: np.ndarray, reals: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """What shown samples tell of collapse, beside what as many other reals would.

    Args:
      x, reals, others: (n, ...) samples and two sets of shown real examples, each more than `NEAREST`.

    Returns:
      spread_ratio: mean distance between two samples over that between two reals; recall: share of reals inside the
      neighbourhoods of samples (1904.06991); recall_of_reals: the same with the other reals for samples. Empty where
      samples are not finite or all reals are one point, of which nothing can be said.
    """
    x, reals, others = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (x, reals, others))
    if not np.isfinite(x).all() or not reals.std(0).any():
        return {}
    recall, best = prdc(reals, x, NEAREST).recall, prdc(reals, others, NEAREST).recall
    return {"samples/spread_ratio": spread_ratio(reals, x), "samples/recall": recall, "samples/recall_of_reals": best}
