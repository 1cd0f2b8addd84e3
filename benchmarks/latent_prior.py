"""What a learned prior is worth to a VAE: -ELBO of binary MNIST in nats, the same frozen VAE under N(0, I) and under a prior of
its codes (LSGM's table, 2106.05931, in small).

    python -m benchmarks.latent_prior                        # two VAEs, two priors each: about 15 min of one core
    python -m benchmarks.latent_prior --beta 1 --priors flow
    python -m benchmarks.latent_prior --scale 0.02 --dry     # schedules a fiftieth as long, prints only

An MLP VAE of 16 codes, every batch binarized anew, and test once. `beta` weighs its KL in training: 1 is the ELBO; at 0.5
codes carry more, which N(0, I) pays for and a prior that is learned afterwards does not. Its parameters are then frozen and a
prior is trained on codes drawn from q(z | x): a flow of eight spline couplings, whose density is exact, or a diffusion,
scored by all 1000 terms of its variational bound, on the first 2000 images of test. Nothing is chosen on test: the running
average after the last step is scored once. All bounds are means over draws of z, so none is importance weighted; differences
are of the same images with the same pixels drawn. The likelihood of the same diffusion's probability flow stands beside.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks.frey import elbo
from benchmarks.record import kept, record, row
from benchmarks.training import Plan, begun, trained
from genjax.data import Dataset, Split, binarize, load
from genjax.densities import normal_log_prob
from genjax.families.diffusion import diffusion
from genjax.families.flow import coupling_flow, flow
from genjax.families.vae import vae
from genjax.hybrids.latent import latent
from genjax.metrics.likelihood import by_row
from genjax.model import Model
from genjax.nets import mlp, timed_mlp

SHAPE, CODES, WIDTH, PREPARE = (28, 28, 1), 16, 256, binarize(256)
CHAIN, SOME, FEW = 1000, 2000, 250  # steps of the diffusion's bound, images scored by it, by its probability flow
VAE = Plan(8000, 100, 1e-3)
SOURCE = "LSGM has 78.47 with NVAE's networks"


def adam(plan: Plan) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(100.0), optax.adam(optax.cosine_decay_schedule(plan.lr, plan.steps)))


def autoencoder(beta: float, plan: Plan) -> Model:
    nets = mlp((WIDTH, WIDTH), (2 * CODES,)), mlp((WIDTH, WIDTH), SHAPE)
    return vae(*nets, (CODES,), adam(plan), beta=beta)


def by_flow(plan: Plan) -> Model:
    return flow(coupling_flow(lambda out: mlp((128, 128), (out,)), CODES), (CODES,), adam(plan))


def by_diffusion(plan: Plan, **options) -> Model:
    """The larger variance: of a step back in which next to nothing of a density's detail is left unknown but the noise."""
    net, of_bound = timed_mlp((256, 256, 256), (CODES,)), dict(variance=1.0, chain=CHAIN, decoder=normal_log_prob)
    return diffusion(net, (CODES,), adam(plan), **of_bound, **options)


PRIORS: dict[str, tuple[Callable[..., Model], Plan]] = {
    "flow": (by_flow, Plan(3000, 128, 1e-3)),
    "diffusion": (by_diffusion, Plan(16_000, 256, 1e-3)),
}


def nelbo(model: Model, params: genjax.Params, split: Split, draws: int = 8) -> np.ndarray:
    """(n,) nats of each image, a mean over draws of z."""
    return -by_row(partial(elbo, model, draws=draws), params, split, PREPARE, jax.random.key(0), 250)


def variational(model: Model, params: genjax.Params, split: Split) -> np.ndarray:
    """(n,) nats of each image, at one draw of z, all terms of the prior's chain."""
    score = lambda params, key, batch: model.bound(params, key, batch, CHAIN)
    return -by_row(score, params, split, PREPARE, jax.random.key(0), 250)


def with_prior(name: str, coder: Model, weights: genjax.Params, plan: Plan, data: Dataset, seed: int) -> tuple:
    """(latent(frozen VAE, prior), its averaged parameters, processor minutes)."""
    model = latent(coder, PRIORS[name][0](plan))
    state = begun(model, plan, PREPARE, data, seed)
    params = state.params | {"autoencoder": weights}
    state = state._replace(params=params, ema=jax.tree.map(jnp.copy, params))
    state = jax.tree.map(jnp.copy, genjax.next_stage(model, state, 1))  # the VAE's weights are wanted again
    state, minutes = trained(model, state, plan, PREPARE, data, seed, stage=1)
    return model, state.ema, minutes


def told(base: np.ndarray, learned: np.ndarray) -> str:
    """The mean difference in words."""
    gain = base[: len(learned)] - learned
    return f"{gain.mean():.2f} ± {gain.std() / len(gain) ** 0.5:.2f} nats better than N(0, I)"


def by_probability_flow(coder: Model, params: genjax.Params, plan: Plan, test: Split, base: np.ndarray) -> str:
    """The diffusion prior's gain where its density is that of the probability flow."""
    model = latent(coder, by_diffusion(plan, flow_steps=80))
    return f"by the probability flow on {FEW} images {told(base, nelbo(model, params, Split(test.x[:FEW]), 1))}"


def lines_of(beta: float, priors: list[str], seed: int, scale: float) -> Iterator[dict]:
    """The rows of one VAE, each as soon as it is there."""
    shorter = lambda plan: plan._replace(steps=int(plan.steps * scale))
    first, data = shorter(VAE), load("mnist")
    coder = autoencoder(beta, first)
    test = Split(data.splits["test"].x)
    state, minutes = trained(coder, begun(coder, first, PREPARE, data, seed), first, PREPARE, data, seed)
    base = nelbo(coder, state.ema, test, 8)
    nats, what = float(base.mean()), f"VAE of {CODES} codes, KL weight {beta:g}, binary MNIST"
    print(f"{what}: {nats:.2f} under N(0, I), {minutes:.1f} min", flush=True)
    about = dict(seeds=[seed], unit="nats", keywords={"width": WIDTH} | first._asdict())
    note = f"{minutes:.1f} processor minutes of training; standard error over images {base.std() / len(base) ** 0.5:.2f}"
    yield row(f"{what}, N(0, I)", f"test NELBO, {len(base)} images", [nats], note=note, **about)
    for name in priors:
        then = shorter(PRIORS[name][1])
        model, params, minutes = with_prior(name, coder, state.ema, then, data, seed)
        exact = name == "flow"
        found = nelbo(model, params, test) if exact else variational(model, params, Split(test.x[:SOME]))
        note = f"{told(base, found)}; {minutes:.1f} processor minutes of training beside the VAE's"
        nats = float(base[: len(found)].mean())
        note += "" if exact else f"; {by_probability_flow(coder, params, then, test, base)}"
        print(f"{what}: {found.mean():.2f} under a {name}; {note}", flush=True)
        bar = dict(bar=f"<= {nats - 2:.2f}, 2 below N(0, I) on the same images", met=bool(found.mean() <= nats - 2))
        about |= {"keywords": then._asdict(), "note": note, "source": SOURCE}
        yield row(f"{what}, {name} prior", f"test NELBO, {len(found)} images", [float(found.mean())], **bar, **about)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beta", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--priors", nargs="*", choices=PRIORS, default=list(PRIORS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="of every schedule")
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    title = "A learned prior over the codes of a frozen VAE"
    for line in itertools.chain(*(lines_of(beta, args.priors, args.seed, args.scale) for beta in args.beta)):
        if not args.dry:
            record("latent_prior", title, "python -m benchmarks.latent_prior", kept("latent_prior", [line]))


if __name__ == "__main__":
    main()
