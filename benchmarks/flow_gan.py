"""Flow-GAN on MNIST (1705.08868, table 1): the same flow trained by likelihood, by a critic, and by both.

    python -m benchmarks.flow_gan                            # three runs of three seeds, about 25 min of one core
    python -m benchmarks.flow_gan --ways MLE --steps 100 --dry

The generator is a NICE of logits of pixels, so that every run has an exact likelihood: four additive couplings of every other
pixel, each read off the other half by an MLP, between two diagonal scales. Test NLL is in nats of dequantized pixels in
[0, 1]; bits/dim follow from it. MODE is of 5000 samples, by the classifier that genjax trains on MNIST. Not as there: 1500
steps (four epochs) for 500 epochs, normal noise for logistic, two hidden layers of 256 for five of 1000, a non-saturating game
with R1 and a critic's move a step for WGAN-GP with five, and in the hybrid two moves of the flow, each with its own Adam, for
one weighted sum: the ratio of their rates is its weight. (At 3e-4 for 3e-5 the hybrid of seed 0 lost 207 nats of likelihood.)
The running average after the last step is scored once.
"""

import argparse
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks.record import kept, record, row
from benchmarks.training import Plan, begun, trained
from genjax.bijections import Bijection, actnorm, chain, coupling, logit, reshape
from genjax.data import Dataset, Split, dequantize, load
from genjax.families.flow import flow
from genjax.hybrids.adversarial import adversarial
from genjax.metrics.features import classifier, shown_reals
from genjax.metrics.likelihood import Likelihood, likelihood
from genjax.metrics.modes import mode_score
from genjax.model import Model
from genjax.nets import Net, mlp
from genjax.splines import Rule

SHAPE, PIXELS, IMAGES, WIDTH, LAYERS, SAMPLES = (28, 28, 1), 784, 50_000, 256, 4, 5000
PLAN, VERDICT, MOVE, PREPARE = Plan(1500, 128, 1e-3), 3e-4, 3e-5, dequantize(256)
PAPER = {"MLE": (-3334.56, 7.42), "ADV": (-1604.09, 9.24), "hybrid": (-3342.95, 9.37)}  # nats, MODE
SOURCE = "1705.08868, table 1: 500 epochs"


def additive() -> Rule:
    """z = x + t (1410.8516). Scales that a critic moves, as in affine couplings, give single test images absurd likelihoods."""
    return Rule(1, lambda theta, x: (x + theta[..., 0], jnp.zeros_like(x)), lambda theta, z: z - theta[..., 0])


def of_half(even: bool) -> Net:
    """(B, PIXELS) -> (B, PIXELS), the shift of every other pixel, read off the rest."""
    inner = mlp((WIDTH, WIDTH), (PIXELS // 2,))

    def apply(params, x, *given):
        found = inner.apply(params, x[:, (0 if even else 1) :: 2], *given)
        pair = (jnp.zeros_like(found), found) if even else (found, jnp.zeros_like(found))
        return jnp.stack(pair, axis=2).reshape(len(x), -1)

    return Net(lambda key, x, *given: inner.init(key, x[:, ::2], *given), apply)


def couplings() -> Bijection:
    even = np.arange(PIXELS) % 2 == 0
    layer = lambda k: coupling(of_half(k % 2 == 0), additive(), even if k % 2 == 0 else ~even)
    return chain(reshape(SHAPE, (PIXELS,)), logit(0.05), actnorm(), *map(layer, range(LAYERS)), actnorm())


def build(way: str, plan: Plan) -> Model:
    """The flow, and for ADV and hybrid the critic; ADV has no move for the likelihood."""
    falling = lambda lr: optax.cosine_decay_schedule(lr, plan.steps)  # both, or the end were the critic's alone
    generator = flow(couplings(), SHAPE, optax.chain(optax.clip_by_global_norm(50.0), optax.adam(falling(plan.lr))))
    if way == "MLE":
        return generator
    play = lambda lr: optax.chain(optax.clip_by_global_norm(50.0), optax.adam(falling(lr), b1=0.0, b2=0.99))
    generator = generator._replace(stages=((),)) if way == "ADV" else generator
    move = play(VERDICT if way == "ADV" else MOVE)
    return adversarial(generator, mlp((WIDTH, WIDTH), ()), move, play(VERDICT), r1=1.0)


def mode_of(model: Model, params: genjax.Params, data: Dataset, count: int) -> tuple[float, float]:
    """(MODE of samples, MODE of the test images)."""
    seen, draw = classifier(data), jax.jit(model.sample)
    keys = jax.random.split(jax.random.key(2026), count).reshape(-1, min(count, 500))
    x = np.concatenate([np.clip(np.nan_to_num(np.asarray(draw(params, some))), 0.0, 1.0) for some in keys])
    shares = np.bincount(data.splits["train"].y, minlength=10)
    score = lambda shown: mode_score(seen.probabilities(shown), shares)
    return score(x), score(shown_reals(data.spec, data.splits["test"].x))


class Found(NamedTuple):
    """What one run reached."""

    likelihood: Likelihood  # of test
    mode: float
    real: float  # MODE of the test images
    minutes: float  # of the processor


def measured(way: str, plan: Plan, seed: int) -> Found:
    data, model = load("mnist"), build(way, plan)
    state, minutes = trained(model, begun(model, plan, PREPARE, data, seed), plan, PREPARE, data, seed)
    nats = likelihood(model, state.ema, Split(data.splits["test"].x), PREPARE, cell=-np.log(256), at_once=500)
    found = Found(nats, *mode_of(model, state.ema, data, SAMPLES), minutes)
    seen = f"{nats.nats:.1f} nats ({nats.bits:.3f} bits/dim), MODE {found.mode:.2f} of {found.real:.2f}"
    print(f"{way}, seed {seed}: {seen}, {minutes:.1f} min", flush=True)
    return found


def means(runs: list[Found]) -> tuple[float, float]:
    """(nats, MODE) over the seeds."""
    return float(np.mean([run.likelihood.nats for run in runs])), float(np.mean([run.mode for run in runs]))


def bars(way: str, found: dict[str, list[Found]]) -> tuple[dict, dict]:
    """(bar and whether it is met, of the NLL, of MODE): the table's three signs."""
    if way == "MLE" or "MLE" not in found:
        return {}, {}
    (base_nats, base_mode), (nats, mode) = means(found["MLE"]), means(found[way])
    if way == "ADV":
        least = base_nats + 1500
        return dict(bar=f">= {least:.0f}, MLE's + 1500: a critic alone destroys it", met=nats >= least), {}
    nll = dict(bar=f"<= {base_nats:.1f}, MLE's", met=nats <= base_nats)
    return nll, dict(bar=f"> {base_mode:.2f}, MLE's", met=mode > base_mode)


def lines_of(way: str, found: dict[str, list[Found]], plan: Plan, seeds: list[int]) -> list[dict]:
    """The two rows of a way to train."""
    runs, (nll, score) = found[way], bars(way, found)
    rates = {} if way == "MLE" else {"verdict": VERDICT, "move": VERDICT if way == "ADV" else MOVE}
    about = dict(seeds=seeds, keywords=plan._asdict() | rates, source=SOURCE)
    minutes, bits, error = (np.mean([each(run) for run in runs]) for each in (
        lambda run: run.minutes, lambda run: run.likelihood.bits, lambda run: run.likelihood.error))  # fmt: skip
    spent = f"{minutes:.1f} processor minutes of training, {plan.steps * plan.batch / IMAGES:.1f} epochs"
    told = f"{bits:.3f} bits/dim; standard error over images {error:.1f}; {spent}"
    shown, what = f"{SAMPLES} samples; the test images have {runs[0].real:.2f}", f"Flow-GAN, MNIST: {way}"
    nats, modes = [run.likelihood.nats for run in runs], [run.mode for run in runs]
    return [row(what, "test NLL", nats, unit="nats", reference=PAPER[way][0], note=told, **nll, **about),
            row(what, "MODE score", modes, reference=PAPER[way][1], note=shown, **score, **about)]  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=PAPER, default=list(PAPER), help="bars are told beside MLE only")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=PLAN.steps)
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    plan, seeds, found = PLAN._replace(steps=args.steps), list(range(args.seeds)), {}
    for way in args.ways:
        found[way] = [measured(way, plan, seed) for seed in seeds]
        if not args.dry:
            lines = lines_of(way, found, plan, seeds)
            record("flow_gan", "Flow-GAN on MNIST in a stated time", "python -m benchmarks.flow_gan", kept("flow_gan", lines))


if __name__ == "__main__":
    main()
