"""What `genjax.monitors` watches for: a metric, what of it is wrong, and the words that help.

A `Watch` is about a metric's name, the last part of "phase/name", so it looks at whatever reports that metric.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Sees = Callable[[np.ndarray, np.ndarray], bool]  # (recent values, all those of the stage before them) -> is it wrong?


class Watch(NamedTuple):
    """One thing that can go wrong, and the metric that shows it."""

    problem: str  # told once for each phase, whichever metric shows it first
    metric: str  # the last part of its name
    sees: Sees
    seen: str  # what is seen, after the metric's name; may use {now}, the mean of the recent values
    advice: str  # what it usually means, and the knob that helps
    over: str = ""  # the metric of the same phase that it is divided by
    least: float = 0.0  # where that one is not above this, nothing is seen
    share: float = 0.1  # of the stage's steps that are recent
    lines: int = 5  # the fewest values that are


def above(bound: float) -> Sees:
    """All recent values are."""
    return lambda recent, before: bool(recent.min() > bound)


def apart(bound: float) -> Sees:
    """All recent values are farther from zero, on one side or the other."""
    return lambda recent, before: bool(np.abs(recent).min() > bound)


def below(bound: float) -> Sees:
    """All recent values are."""
    return lambda recent, before: bool(recent.max() < bound)


def grown(factor: float) -> Sees:
    """All recent values are above so many times what was usual before."""
    return lambda recent, before: len(before) > 0 and bool(recent.min() > factor * np.median(before))


def outgrown(factor: float, least: float) -> Sees:
    """All recent values are above so many times the first of all, where that was at least `least`."""
    return lambda recent, before: len(before) > 0 and bool(before[0] >= least and recent.min() > factor * before[0])


WATCHES = (
    # In the sound games on digits it is 0.6 to 0.9, and in the first twentieth at times above.
    Watch(
        "saturated critic", "accuracy", above(0.98),
        "is {now:.3f}: the critic is right about nearly all that it sees",
        "it usually means that the critic has outrun the other side, which then learns little; lower the critic's learning "
        "rate, raise the weight of its gradient penalty, or let the other side move more often",
    ),
    # An active unit is one whose code varies with x at all; with none the decoder has nothing to go by.
    Watch(
        "posterior collapse", "active_units", below(1.0),
        "is {now:.2g}: hardly a dimension of the code depends on the example",
        "it usually means posterior collapse, a decoder that ignores its code; lower beta or raise it slowly, give free bits, "
        "or make the decoder weaker",
    ),
    # 0.1 nats tell a seventh of a yes or no; what little a sound run encodes after its warm-up is above 0.5.
    Watch(
        "posterior collapse", "kl", below(0.1),
        "is {now:.2g} nats: the code tells next to nothing of the example",
        "it usually means posterior collapse, a decoder that ignores its code; lower beta or raise it slowly, give free bits, "
        "or make the decoder weaker",
    ),
    # Gradients of the recipes on digits stay within a factor of 10 of their usual norm.
    Watch(
        "exploding gradient", "grad_norm", grown(100.0),
        "is {now:.3g}, more than a hundred times what was usual in this stage",
        "it usually means that training diverges; lower the learning rate, or clip: "
        "optax.chain(optax.clip_by_global_norm(1.0), ...)",
    ),
    Watch(
        "vanished gradient", "grad_norm", below(1e-10),
        "is {now:.2g}: nothing tells this phase which way to go",
        "it usually means dead or saturated units, or a loss that is cut off from the branches it trains; lower the learning "
        "rate, and look whether the loss depends on them",
    ),
    # Adam at a usual rate moves weights by 1 % of their norm at first, by less soon after, and in 20,000 steps of a recipe they
    # grow to twice their norm at most. At a hundred times that rate the first steps throw them off, and then they hardly move.
    # Both norms are of a piece of steps, see `genjax.pieces.norms`.
    # A few numbers of a small norm, unlike a network's, may have to travel far to where the data are, or belong near 0, where
    # any step is large beside them. A network that explodes has left such norms at once.
    Watch(
        "exploding update", "update_norm", above(0.1),
        "is {now:.2g} of the norm of the parameters that it moves, step after step",
        "it usually means a learning rate that is far too high, so that each step undoes the ones before; lower it tenfold",
        over="params_norm", least=1.0,
    ),
    Watch(
        "exploding update", "params_norm", outgrown(5.0, 5.0),
        "is {now:.3g}, more than five times what this stage began with",
        "it usually means a learning rate that is far too high: the first steps threw the weights off to where little can be "
        "learnt; begin anew with a tenth of it, or with a warm-up",
    ),
    # Two codes used evenly: one bit a place, whatever the codebook's size.
    Watch(
        "dead codes", "perplexity", below(2.0),
        "is {now:.2g}: the codes in use carry less than one bit a place",
        "it usually means a collapsed codebook; lower the learning rate, let dead codes be revived sooner (`dead`), begin from "
        "a larger batch, or take finite scalar quantization, which has no codebook",
    ),
    # Persistent chains of the recipes stay within half a spread of the data's energies, and at the size of the data.
    Watch(
        "diverging chains", "chain_gap", apart(3.0),
        "is {now:.2g} spreads of the data's energies: so far are the mean energies of data and chains apart",
        "it usually means that chains ran away from the data or cannot follow them; lower the learning rate, let chains move "
        "more often or by other steps, or weigh the squared energies more",
        over="spread_data", least=1e-6,
    ),
    Watch(
        "diverging chains", "square_chains", above(9.0),
        "is {now:.3g} times that of the data: the chains have left them",
        "it usually means Langevin steps that are too long for the energy; lower the step or the learning rate, or keep chains "
        "in the box of the data",
        over="square_data",
    ),
    # One of 64 samples' worth of spread; drawn from one mode of ten they would still show a half or more.
    Watch(
        "mode collapse", "spread_ratio", below(0.25),
        "is {now:.2g}: samples lie that much closer to each other than real data do",
        "it usually means mode collapse, a sampler that ignores its noise or its code; lower the learning rates, with a critic "
        "raise the weight of its gradient penalty, and look whether the noise reaches the output",
        share=0.3, lines=2,
    ),
    Watch(
        "mode collapse", "recall", below(0.1),
        "is {now:.2g} of what other real data reach: hardly a real example lies among samples",
        "it usually means dropped modes, or samples that are far from all data; look at samples/, train longer, and strengthen "
        "what keeps samples apart",
        over="recall_of_reals", share=0.3, lines=2,
    ),
    # In float32 the flows of the recipes come back to 1e-6; a hundredth can be seen in pictures.
    Watch(
        "inexact inverse", "inverse_error", above(1e-2),
        "is {now:.2g}: samples do not come back, so far do the two directions of the flow differ",
        "it usually means layers that stretch too much for float32; bound their scales, lower the learning rate or clip "
        "gradients, and do not trust samples or likelihoods before that",
        share=0.3, lines=2,
    ),
)  # fmt: skip
