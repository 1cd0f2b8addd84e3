"""One table of every public constructor and combinator at toy size; the contract, golden and toy tests run over it."""

from collections.abc import Callable, Sequence
from functools import cache

import jax
import jax.numpy as jnp
import optax
import pytest

import genjax
from genjax.augment import color, translation
from genjax.bijections import causal, chain, checkerboard, coupling, halves, logit, reshape
from genjax.conditions import GIVEN
from genjax.densities import discretized_logistic, gaussian
from genjax.families.autoencoder import autoencoder
from genjax.families.autoregressive import autoregressive
from genjax.families.consistency import consistency, renoised
from genjax.families.diffusion import diffusion
from genjax.families.energy import energy, geometric, score_matching
from genjax.families.flow import dequantized, flow
from genjax.families.gan import covering, hinge, implicit, relativistic, seeking, two_sided
from genjax.families.masked import masked
from genjax.families.meanflow import meanflow
from genjax.families.rbm import rbm
from genjax.families.styled import styled
from genjax.families.vae import vae
from genjax.families.vq import vq
from genjax.heads import categorical, normals
from genjax.hybrids.adversarial import adversarial, augmented, reconstructions, samples
from genjax.hybrids.cascade import cascade
from genjax.hybrids.conditioned import conditioned
from genjax.hybrids.distilled import consistent, distilled, halved, straightened
from genjax.hybrids.judged import judged
from genjax.hybrids.latent import latent
from genjax.hybrids.lora import lora
from genjax.hybrids.progressive import progressive
from genjax.hybrids.reaching import reaching
from genjax.hybrids.refined import refined
from genjax.hybrids.rewarded import filtered, likelihood, rewarded
from genjax.hybrids.sees import codes, corrupted, drawn, pairs
from genjax.hybrids.similar import similar
from genjax.hybrids.stepwise import steps_of, stepwise
from genjax.hybrids.tilted import tilted
from genjax.hybrids.unclip import unclip
from genjax.model import Batch, Loss, Model, Phase, as_batch, example_keys, normal, stream
from genjax.nets import (
    Net,
    encoder,
    gpt,
    lstm,
    made,
    minibatch_discrimination,
    mlp,
    on_features,
    packed,
    pixelcnn,
    projection,
    spectral,
)
from genjax.nets.stylegan2 import Styles, each_layer
from genjax.predictions import clean, min_snr
from genjax.quantizers import codebook
from genjax.reverse import discretized_normal
from genjax.samplers import ancestral
from genjax.schedules import cosine, straight
from genjax.splines import affine

SHAPE, LATENT, CLASSES, BATCH = (4, 4, 1), (3,), 3, 8


def adam() -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(1e-2))


def small(out, width=8):
    return mlp((width,), out)


def toy_vae(tx=None, parts=1, **options) -> Model:
    return vae(small((2 * LATENT[0],)), small((*SHAPE[:-1], parts)), LATENT, tx or adam(), **options)


def vae_with_flow(tx=None, **options) -> Model:
    bend = causal(made((8,), 2), affine())
    return vae(small((3 * LATENT[0],)), small(SHAPE), LATENT, tx or adam(), flow=bend, context=LATENT[0], **options)


def toy_gan(tx=None, critic=None, **options) -> Model:
    return adversarial(implicit(small(SHAPE), LATENT), critic or small(()), tx or adam(), tx or adam(), **options)


noising = lambda sees, reach: corrupted(sees, cosine(), reach)
colouring = lambda sees, p: augmented(sees, color, p)


def toy_labelled_gan(tx=None) -> Model:
    generator = implicit(small(SHAPE), LATENT, classes=CLASSES)
    sees = augmented(samples(generator, labelled=True), translation)
    critic = spectral(projection(small((5,)), CLASSES))
    return adversarial(generator, critic, tx or adam(), tx or adam(), sees=sees, game=hinge, gp=1.0, lazy=2)


def toy_styled_gan(tx=None) -> Model:
    def synthesize(params, w, keys=None):
        return inner.apply(params, each_layer(w, 2)) + (0.0 if keys is None else 0.1 * normal(keys, SHAPE))

    inner = small(SHAPE)
    nets = Styles(small((5,)), Net(lambda key, w: inner.init(key, each_layer(w, 2)), synthesize), 2)
    model = styled(nets, LATENT, path_tx=tx or adam(), path_every=2)
    return adversarial(model, small(()), tx or adam(), tx or adam(), sees=samples(styled(nets, LATENT, mixing=0.5)))


def toy_progressive(tx=None) -> Model:
    return progressive([small(SHAPE)] * 2, [small(())] * 2, LATENT, tx or adam(), tx or adam(), fade_steps=2)


def toy_diffusion(shape=SHAPE, tx=None, **options) -> Model:
    return diffusion(small(shape), shape, tx or adam(), steps=3, **options)


def toy_consistency(tx=None, **options) -> Model:
    return consistency(toy_diffusion(sampler=renoised(), **options), tx or adam(), intervals=(2, 4))


def toy_distilled(tx=None) -> Model:
    half = distilled(toy_diffusion(tx=tx), toy_diffusion(tx=tx), halved(3), tx or adam())
    student = toy_diffusion(tx=tx, sampler=renoised())
    return distilled(half, student, consistent(student.process, 4), tx or adam())


def told_diffusion(tx=None) -> Model:
    return conditioned(toy_diffusion(tx=tx, classes=GIVEN), reader())


def toy_guided(tx=None) -> Model:
    options = dict(classes=CLASSES, drop=0.2, guidance=2.0, variance=None, chain=10, decoder=discretized_normal(2))
    net = small((*SHAPE[:-1], 2 * SHAPE[-1]))
    return diffusion(net, SHAPE, tx or adam(), steps=3, sampler=ancestral(None), weight=min_snr(), **options)


def vae_gan(tx=None) -> Model:
    return adversarial(toy_vae(tx), small(()), tx or adam(), tx or adam(), sees=reconstructions(toy_vae()), game=hinge)


def toy_similar(tx=None) -> Model:
    trunk, sees = small((6,)), drawn(toy_vae(), LATENT)
    game = adversarial(toy_vae(tx), on_features(trunk, small(())), tx or adam(), tx or adam(), sees=sees)
    return similar(game, lambda params, x: trunk.apply(params["critic"]["trunk"], x), tx or adam())


def toy_reaching_features(tx=None) -> Model:
    trunk, sees = small((6,)), reconstructions(toy_vae())
    critic = on_features(trunk, flattened(()))
    game = reaching(toy_vae(tx), critic, tx or adam(), tx or adam(), noising, every=1, sees=sees)
    return similar(game, lambda params, x: trunk.apply(params["critic"]["trunk"], x), tx or adam())


def toy_bijection(shape=SHAPE):
    return coupling(small((*shape[:-1], 2 * shape[-1])), affine(), checkerboard(shape))


def halved_codes():
    """Not actnorm, which starts where its gradient is zero but for rounding, of which Adam makes full steps."""
    return coupling(small((2 * LATENT[0],)), affine(), halves(LATENT))


def toy_flow(tx=None, **options) -> Model:
    return flow(toy_bijection(), SHAPE, tx or adam(), **options)


def flow_of_codes(tx=None, **options) -> Model:
    return flow(halved_codes(), LATENT, tx or adam(), **options)


def toy_dequantized(tx=None) -> Model:
    inner = flow(chain(logit(0.05), toy_bijection()), SHAPE, tx or adam())
    return dequantized(inner, SHAPE, 2, tx or adam(), toy_bijection())


def toy_pixels(tx=None, **options) -> Model:
    net = pixelcnn(2, width=4, depth=2, window=3, first=3)
    return autoregressive(net, SHAPE, categorical(2), tx or adam(), **options)


def toy_vq(tx=None) -> Model:
    return vq(small((4, 2)), small(SHAPE), codebook(6, 0.9, rounds=1, dead=0.0), (4, 2), tx or adam(), decay=0.9)


def toy_codes(tx=None, places=4) -> Model:
    net = gpt(6, 6, places, width=8, depth=2, heads=2)
    return autoregressive(net, (places,), categorical(6, grid=False), tx or adam())


def toy_reals(places, tx=None) -> Model:
    """Real numbers, one after the other."""
    return autoregressive(gpt(0, 6, places, width=8, depth=1, heads=2), (places,), normals(2), tx or adam())


def vq_gan(tx=None) -> Model:
    return adversarial(toy_vq(tx), small(()), tx or adam(), tx or adam(), sees=reconstructions(toy_vq()), game=hinge)


def toy_judged(net, tx=None) -> Model:
    tokens = autoregressive(net, SHAPE, categorical(2), tx or adam())
    return judged(tokens, small(()), tx or adam(), tx or adam(), cuts=2, rollouts=2)


def toy_masked(tx=None) -> Model:
    net = encoder(7, 6, 4, width=8, depth=1, heads=2)
    return masked(net, (4,), categorical(6, grid=False), tx or adam(), steps=2)


def toy_energy(tx=None, **options) -> Model:
    return energy(small(()), SHAPE, tx or adam(), steps=3, sampling_steps=4, **options)


def toy_scores(tx=None, **options) -> Model:
    return score_matching(small(()), SHAPE, tx or adam(), sigmas=geometric(1.0, 0.1, 3), moves=2, **options)


def toy_implicit() -> Model:
    return implicit(small(SHAPE), LATENT)


def flattened(out) -> Net:
    """One network of all its inputs (B, ...)."""
    net, flat = small(out), lambda given: jnp.concatenate([part.reshape(len(part), -1) for part in given], axis=1)
    return Net(lambda key, *given: net.init(key, flat(given)), lambda params, *given: net.apply(params, flat(given)))


def toy_autoencoder(tx=None) -> Model:
    return autoencoder(small(LATENT), small(SHAPE), LATENT, tx or adam())


def half_size(tx=None, shape=(2, 2, 1)) -> Model:
    return vae(small((2 * LATENT[0],)), small(shape), LATENT, tx or adam(), likelihood=gaussian(0.5))


def reader(out=(4,)) -> Net:
    """A network that reads labels (B,)."""
    net = small(out)
    told = lambda y: jax.nn.one_hot(y, CLASSES)
    return Net(lambda key, y: net.init(key, told(y)), lambda params, y: net.apply(params, told(y)))


def brightness(x, y=None):
    return x.mean(range(1, x.ndim))


def chains(tx=None) -> Model:
    """Not a model of the library: the smallest one with rows that ride with the next batch (an energy model's chains)."""

    def loss(params, key, batch):
        rows = 0.9 * batch["chains"] + normal(example_keys(key, batch), SHAPE)
        value = jnp.mean((params["mean"] - batch["x"]) ** 2) + jnp.mean(params["mean"] * jax.lax.stop_gradient(rows))
        return Loss(value, {"spread": rows.std()}, {"chains": rows})

    def start(params, key, batch):
        return {"chains": normal(example_keys(key, batch), SHAPE)}

    sample = lambda params, keys, y=None: params["mean"] + normal(keys, SHAPE)
    phase = Phase("energy", loss, ("mean",), tx or adam())
    return Model(lambda key, batch: {"mean": jnp.zeros(SHAPE), "unused": jnp.ones(3)}, ((phase,),), sample, memory=start)


TABLE: dict[str, Callable[..., Model]] = {
    "vae": toy_vae,
    "vae gaussian": lambda tx=None: toy_vae(tx, 2, likelihood=gaussian(), beta=4.0, free_bits=0.1),
    "vae logistic": lambda tx=None: toy_vae(tx, 2, likelihood=discretized_logistic(17), samples=2),
    "iwae conditional": lambda tx=None: toy_vae(tx, samples=3, importance=True, classes=CLASSES),
    "implicit, adversarial": lambda tx=None: toy_gan(tx, r1=1.0, r2=1.0, game=relativistic),
    "implicit conditional, adversarial": toy_labelled_gan,
    "styled, adversarial": toy_styled_gan,
    "progressive": toy_progressive,
    "adversarial, n_critic": lambda tx=None: toy_gan(tx, when=lambda step: step % 2 == 1),
    "adversarial, unrolled": lambda tx=None: toy_gan(tx, unroll=2, r1=1.0),
    "adversarial, packed": lambda tx=None: toy_gan(tx, packed(small(()), 2), r1=1.0),
    "adversarial, minibatch discrimination": lambda tx=None: toy_gan(tx, minibatch_discrimination(small((5,)), 3, 2)),
    "diffusion": lambda tx=None: toy_diffusion(tx=tx, classes=CLASSES),
    "diffusion, guided, learned variance": toy_guided,
    "adversarial(vae)": vae_gan,
    "vae with a flow": lambda tx=None: vae_with_flow(tx, classes=CLASSES),
    "similar(adversarial(vae))": toy_similar,
    "similar(vae)": lambda tx=None: similar(
        toy_vae(tx, 2, likelihood=gaussian(), classes=CLASSES), lambda params, x: x.mean(axis=2), tx or adam(), beta=2.0
    ),
    "similar(reaching(vae))": toy_reaching_features,
    "latent(similar(adversarial(vae)), flow)": lambda tx=None: latent(toy_similar(tx), flow_of_codes(tx)),
    "latent(vae, diffusion)": lambda tx=None: latent(toy_vae(tx), toy_diffusion(LATENT, tx)),
    "latent(adversarial(vae), diffusion)": lambda tx=None: latent(vae_gan(tx), toy_diffusion(LATENT, tx)),
    "latent(vae, adversarial(implicit))": lambda tx=None: latent(
        toy_vae(tx), adversarial(implicit(small(LATENT), LATENT), small(()), tx or adam(), tx or adam())
    ),
    "latent(vae, autoregressive)": lambda tx=None: latent(toy_vae(tx), toy_reals(*LATENT, tx)),
    "latent(vae, energy)": lambda tx=None: latent(
        toy_vae(tx), energy(small(()), LATENT, tx or adam(), steps=3, sampling_steps=4, slots=2, fresh=0.3, alpha=0.1)
    ),
    "latent(vae with a flow, flow)": lambda tx=None: latent(vae_with_flow(tx), flow_of_codes(tx)),
    "latent(vae, latent(flow, autoregressive))": lambda tx=None: latent(
        toy_vae(tx), latent(flow_of_codes(tx), toy_reals(*LATENT, tx), scaled=False)
    ),
    "flow": lambda tx=None: toy_flow(tx, classes=CLASSES),
    "dequantized flow": toy_dequantized,
    "adversarial(flow)": lambda tx=None: adversarial(
        toy_flow(tx), small(()), tx or adam(), tx or adam(), r1=1.0, game=relativistic
    ),
    "latent(flow, autoregressive)": lambda tx=None: latent(
        toy_flow(tx), autoregressive(made((16,), 6), SHAPE, normals(2), tx or adam())
    ),
    "autoregressive": lambda tx=None: toy_pixels(tx, classes=CLASSES),
    "masked": lambda tx=None: masked(
        encoder(3, 2, 16, width=8, depth=1, heads=2), SHAPE, categorical(2), tx or adam(), steps=4, classes=CLASSES
    ),
    "latent(vq, masked)": lambda tx=None: latent(toy_vq(tx), toy_masked(tx), scaled=False),
    "vq": toy_vq,
    "adversarial(vq)": vq_gan,
    "latent(adversarial(vq), autoregressive)": lambda tx=None: latent(vq_gan(tx), toy_codes(tx), scaled=False),
    "latent(vq, autoregressive)": lambda tx=None: latent(toy_vq(tx), toy_codes(tx), scaled=False),
    "consistency": lambda tx=None: consistency(
        toy_diffusion(sampler=renoised(), classes=CLASSES), tx or adam(), intervals=(2, 4)
    ),
    "meanflow": lambda tx=None: meanflow(small(SHAPE), SHAPE, tx or adam(), apart=0.5, classes=CLASSES),
    "distilled(distilled(diffusion))": toy_distilled,
    "distilled(diffusion), straight": lambda tx=None: distilled(
        toy_diffusion(tx=tx), toy_diffusion(tx=tx), straightened(2), tx or adam()
    ),
    "distilled(diffusion), guided": lambda tx=None: distilled(
        toy_diffusion(tx=tx, prediction=clean, classes=CLASSES, drop=0.2, guidance=2.0),
        toy_diffusion(tx=tx, prediction=clean, classes=CLASSES, drop=0.2),
        halved(2),
        tx or adam(),
    ),
    "distilled(conditioned(diffusion))": lambda tx=None: distilled(
        told_diffusion(tx), told_diffusion(tx), halved(2), tx or adam()
    ),
    "distilled(meanflow), begun anew": lambda tx=None: distilled(
        meanflow(small(SHAPE), SHAPE, tx or adam()),
        toy_diffusion(tx=tx, process=straight(), sampler=renoised()),
        consistent(straight(), 4),
        tx or adam(),
        copied=False,
    ),
    "lora(vae)": lambda tx=None: lora(toy_vae(tx), 1),
    "lora(latent(adversarial(vae), diffusion))": lambda tx=None: lora(latent(vae_gan(tx), toy_diffusion(LATENT, tx)), 1),
    "lora(autoregressive)": lambda tx=None: lora(toy_pixels(tx), 2),
    "refined(adversarial(implicit), diffusion)": lambda tx=None: refined(toy_gan(tx), toy_diffusion(tx=tx), 0.6, steps=2),
    "refined(flow, refined(vae, diffusion))": lambda tx=None: refined(
        toy_flow(tx), refined(toy_vae(tx), toy_diffusion(tx=tx), 0.5, steps=2), 0.3, steps=2
    ),
    "tilted(flow)": lambda tx=None: tilted(toy_flow(tx), small(()), tx or adam(), steps=2, alpha=0.1),
    "latent(vae, tilted(flow))": lambda tx=None: latent(
        toy_vae(tx), tilted(flow_of_codes(tx), small(()), tx or adam(), steps=2)
    ),
    "rewarded(adversarial(implicit))": lambda tx=None: rewarded(toy_gan(tx), brightness, tx or adam()),
    "rewarded(lora(adversarial(implicit)))": lambda tx=None: rewarded(
        lora(toy_gan(tx), 1, waits=True), brightness, tx or adam()
    ),
    "rewarded(autoregressive)": lambda tx=None: rewarded(toy_pixels(tx), brightness, tx or adam(), likelihood(0.1)),
    "judged(autoregressive)": lambda tx=None: judged(
        toy_pixels(tx), small(()), tx or adam(), tx or adam(), cuts=2, rollouts=2
    ),
    "judged(autoregressive), lstm": lambda tx=None: toy_judged(lstm(2, 2, width=4, embedding=3), tx),
    "judged(autoregressive), gpt": lambda tx=None: toy_judged(gpt(2, 2, 16, width=8, depth=1, heads=2), tx),
    "rewarded(latent(vae, diffusion))": lambda tx=None: rewarded(
        latent(toy_vae(tx), toy_diffusion(LATENT, tx)), brightness, tx or adam(), filtered(0.5)
    ),
    "latent(autoencoder, flow)": lambda tx=None: latent(toy_autoencoder(tx), flow_of_codes(tx)),
    "tilted(autoregressive)": lambda tx=None: tilted(
        autoregressive(made((16,), 6), SHAPE, normals(2), tx or adam()), small(()), tx or adam(), steps=2
    ),
    "tilted(flow of an order)": lambda tx=None: tilted(
        flow(chain(reshape(SHAPE, (16,)), causal(made((16,), 2), affine())), SHAPE, tx or adam(), classes=CLASSES),
        small(()), tx or adam(), steps=2,
    ),
    "cascade(vae, diffusion)": lambda tx=None: cascade(half_size(tx), toy_diffusion(tx=tx, classes=GIVEN)),
    "cascade(adversarial(implicit), vae)": lambda tx=None: cascade(
        adversarial(implicit(small((2, 2, 1)), LATENT), small(()), tx or adam(), tx or adam(), r1=1.0),
        toy_vae(tx, classes=GIVEN),
    ),
    "cascade(cascade(vae, diffusion), diffusion)": lambda tx=None: cascade(
        cascade(half_size(tx, (1, 1, 1)), toy_diffusion((2, 2, 1), tx, classes=GIVEN)), toy_diffusion(tx=tx, classes=GIVEN)
    ),
    "refined(vae, diffusion), told": lambda tx=None: refined(
        toy_vae(tx), toy_diffusion(tx=tx, classes=GIVEN), 0.9, steps=2, told=True
    ),
    "conditioned(diffusion)": lambda tx=None: conditioned(
        toy_diffusion(tx=tx, classes=GIVEN, drop=0.2, guidance=2.0), reader()
    ),
    "conditioned(vae), frozen": lambda tx=None: conditioned(toy_vae(tx, classes=GIVEN), reader(), along=()),
    "conditioned(adversarial(implicit))": lambda tx=None: conditioned(
        adversarial(implicit(small(SHAPE), LATENT, classes=GIVEN), small(()), tx or adam(), tx or adam()),
        reader(),
        along=("critic/generator",),
    ),
    "unclip(diffusion, diffusion)": lambda tx=None: unclip(
        toy_diffusion(LATENT, tx, classes=GIVEN),
        toy_diffusion(tx=tx, classes=GIVEN),
        small(LATENT),
        reader(LATENT),
        tx or adam(),
    ),
    "unclip(flow, vae)": lambda tx=None: unclip(
        flow_of_codes(tx, classes=GIVEN),
        toy_vae(tx, classes=GIVEN),
        small(LATENT),
        reader(LATENT),
        tx or adam(),
    ),
    "unclip(vae, adversarial(implicit))": lambda tx=None: unclip(
        vae(small((4,)), small(LATENT), (2,), tx or adam(), likelihood=gaussian(0.5), classes=GIVEN),
        adversarial(implicit(small(SHAPE), LATENT, classes=GIVEN), small(()), tx or adam(), tx or adam()),
        small(LATENT),
        reader(LATENT),
        tx or adam(),
    ),
    "adversarial(autoencoder) on pairs": lambda tx=None: adversarial(
        toy_autoencoder()._replace(stages=((),)),
        flattened(()),
        tx or adam(),
        tx or adam(),
        game=two_sided,
        sees=pairs(toy_autoencoder(), LATENT),
        trains=("encoder", "decoder"),
    ),
    "adversarial(autoencoder) on codes": lambda tx=None: adversarial(
        toy_autoencoder(tx), small(()), tx or adam(), tx or adam(), sees=codes(toy_autoencoder(), LATENT), trains=("encoder",)
    ),
    "adversarial(adversarial(implicit)), dual": lambda tx=None: adversarial(
        adversarial(toy_implicit(), flattened(()), tx or adam(), tx or adam(), game=covering()),
        flattened(()),
        tx or adam(),
        tx or adam(),
        game=seeking(),
        name="seeking",
    ),
    "reaching(implicit)": lambda tx=None: reaching(
        toy_implicit(), flattened(()), tx or adam(), tx or adam(), noising, every=1
    ),
    "reaching(implicit) by augmenting": lambda tx=None: reaching(
        toy_implicit(), small(()), tx or adam(), tx or adam(), colouring, first=0.5, every=1
    ),
    "reaching(adversarial(implicit))": lambda tx=None: reaching(
        toy_gan(tx), flattened(()), tx or adam(), tx or adam(), noising, every=1, name="noised"
    ),
    "reaching(vae) by augmenting": lambda tx=None: reaching(
        toy_vae(tx), small(()), tx or adam(), tx or adam(), colouring, first=0.5, every=1, sees=reconstructions(toy_vae())
    ),
    "reaching(flow)": lambda tx=None: reaching(
        toy_flow(tx), flattened(()), tx or adam(), tx or adam(), noising, every=1, game=two_sided
    ),
    "adversarial(stepwise)": lambda tx=None: adversarial(
        stepwise(flattened(SHAPE), SHAPE, LATENT, cosine(), 2),
        flattened(()),
        tx or adam(),
        tx or adam(),
        sees=steps_of(flattened(SHAPE), LATENT, cosine(), 2),
    ),
    "memory": chains,
    "energy": lambda tx=None: toy_energy(tx, slots=2, fresh=0.3, alpha=0.1, data_noise=0.1, classes=CLASSES),
    "score matching": lambda tx=None: toy_scores(tx, classes=CLASSES),
    "rbm": lambda tx=None: rbm(5, SHAPE, tx or adam(), steps=2, sampling_steps=4),
    "rbm, CD": lambda tx=None: rbm(5, SHAPE, tx or adam(), persistent=False, sampling_steps=4),
}
COVERS = {  # public constructor -> its rows
    "genjax.families.vae.vae": "vae",
    "genjax.families.gan.implicit": "implicit, adversarial",
    "genjax.families.styled.styled": "styled, adversarial",
    "genjax.hybrids.progressive.progressive": "progressive",
    "genjax.families.diffusion.diffusion": "diffusion",
    "genjax.families.flow.flow": "flow",
    "genjax.families.flow.dequantized": "dequantized flow",
    "genjax.families.autoregressive.autoregressive": "autoregressive",
    "genjax.families.masked.masked": "masked",
    "genjax.families.energy.energy": "energy",
    "genjax.families.energy.score_matching": "score matching",
    "genjax.families.rbm.rbm": "rbm",
    "genjax.families.vq.vq": "vq",
    "genjax.families.consistency.consistency": "consistency",
    "genjax.families.meanflow.meanflow": "meanflow",
    "genjax.hybrids.distilled.distilled": "distilled(distilled(diffusion))",
    "genjax.hybrids.adversarial.adversarial": "adversarial(vae)",
    "genjax.hybrids.latent.latent": "latent(vae, diffusion)",
    "genjax.families.autoencoder.autoencoder": "latent(autoencoder, flow)",
    "genjax.hybrids.similar.similar": "similar(adversarial(vae))",
    "genjax.hybrids.cascade.cascade": "cascade(vae, diffusion)",
    "genjax.hybrids.conditioned.conditioned": "conditioned(diffusion)",
    "genjax.hybrids.unclip.unclip": "unclip(diffusion, diffusion)",
    "genjax.hybrids.reaching.reaching": "reaching(implicit)",
    "genjax.hybrids.stepwise.stepwise": "adversarial(stepwise)",
    "genjax.hybrids.lora.lora": "lora(vae)",
    "genjax.hybrids.refined.refined": "refined(adversarial(implicit), diffusion)",
    "genjax.hybrids.tilted.tilted": "tilted(flow)",
    "genjax.hybrids.judged.judged": "judged(autoregressive)",
    "genjax.hybrids.rewarded.rewarded": "rewarded(adversarial(implicit))",
}

PUBLIC = sorted({*COVERS.values(), "memory"})  # one row for each constructor
# Compiling takes nearly all the time of the tests. Quick ones are of the public rows, of two nested ones, and of two cheap ones
# that no public row is like: a critic of fewer verdicts than examples, a verdict that goes back through an inverse. For several
# devices or seeds of a few rows that each have another reason to depend on them: rows in memory, means over a batch,
# penalties, running means, several stages. `make slow` runs the rest.
NESTED = ("latent(adversarial(vae), diffusion)", "adversarial(autoencoder) on pairs")
QUICK = (*PUBLIC, *NESTED, "adversarial, packed", "adversarial(flow)")
FEW = ("styled, adversarial", "latent(vae, diffusion)", "vq", "memory", "reaching(implicit)")  # fmt: skip


@cache
def batch(seed: int = 0, size: int = BATCH) -> Batch:
    """Binary 4x4 images whose label is how many rows are lit."""
    with jax.ensure_compile_time_eval():  # kept, so never a tracer
        key = jax.random.key(seed)
        y = jax.random.randint(stream(key, "y"), (size,), 0, CLASSES)
        rows = jnp.arange(4)[None, :, None, None] <= y[:, None, None, None]
        x = rows * jax.random.bernoulli(stream(key, "x"), 0.8, (size, *SHAPE))
        return as_batch(x.astype(jnp.float32), y)


def batches(count: int) -> Batch:
    """`count` batches stacked."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[batch(seed) for seed in range(count)])


@cache
def model(name: str) -> Model:
    return TABLE[name]()


@cache
def start(name: str, stage: int = 0, seed: int = 0) -> genjax.State:
    """The state at the start of a stage (earlier ones untrained)."""
    made = model(name)  # outside of compiled code, where its constants would be tracers
    state = jax.jit(lambda key, batch: genjax.init(made, key, batch))(jax.random.key(seed), batch())
    return genjax.next_stage(model(name), state, stage) if stage else state


@cache
def compiled(name: str, stage: int = 0) -> Callable:
    """The jitted step of a row of the table, compiled once for all tests."""
    return jax.jit(genjax.make_step(model(name), stage))


TOGETHER = {"unclip(diffusion, diffusion)"}  # tell an example from the others of the batch, under pmap from those of its device
BLIND = {  # stages that look at no data
    ("distilled(diffusion), straight", 1),
    ("rewarded(adversarial(implicit))", 1),
    ("rewarded(lora(adversarial(implicit)))", 1),
    ("rewarded(autoregressive)", 1),
    ("rewarded(latent(vae, diffusion))", 2),
}


def every_stage(name: str) -> range:
    """Numbers of a row's stages."""
    return range(len(model(name).stages))


def rows(names: Sequence[str], quick: Sequence[str], stages: Callable[[str], Sequence[int]] | None = None):
    """Parametrizes a test by name, or by name and stage; rows that are not quick are marked slow."""
    found = [(name, stage) for name in names for stage in (stages(name) if stages else [None])]
    marked = lambda name: () if name in quick else pytest.mark.slow
    both = [pytest.param(*((name,) if stages is None else (name, stage)), marks=marked(name)) for name, stage in found]
    return pytest.mark.parametrize(["name"] if stages is None else ["name", "stage"], both)
