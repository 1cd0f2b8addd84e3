"""Every family and combinator learns: toys with a known answer, and real digits, all through the one step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax.data import feed, identity, load, row_block, unit
from genjax.densities import gaussian
from genjax.families.diffusion import diffusion
from genjax.families.gan import implicit, relativistic
from genjax.families.vae import vae
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.latent import latent
from genjax.model import as_batch, stream
from genjax.nets import mlp, timed_mlp

BATCH = 128
OPTIMIZED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}  # unlike the other tests
if jax.__version_info__ < (0, 11):
    OPTIMIZED["xla_cpu_use_fusion_emitters"] = True


def start(model, name, prepare):
    """The untrained state."""
    data = {"x": jnp.asarray(load(name).splits["train"].x[:BATCH])}
    first = feed(prepare)(data, jax.random.key(1), jnp.arange(BATCH))
    return jax.jit(lambda key, batch: genjax.init(model, key, batch))(jax.random.key(0), first)


def train(model, name, steps, prepare=identity):
    """Train all stages as `train.py` does, whole stages in one dispatch; returns (state, metrics of the last stage)."""
    split, begins = load(name).splits["train"], 0
    data, make = {"x": jnp.asarray(split.x)}, feed(prepare)
    state = start(model, name, prepare)
    for stage, count in enumerate(steps):
        state = genjax.next_stage(model, state, stage) if stage else state
        step = genjax.make_step(model, stage, begins=begins, ema_decay=0.99)

        def one(state, rows, step=step):
            return step(state, make(data, stream(jax.random.fold_in(state.key, state.step), "prepare"), rows))

        chosen = row_block(0, begins, count, BATCH, len(split.x))
        run = jax.jit(lambda state, rows, one=one: jax.lax.scan(one, state, rows), compiler_options=OPTIMIZED)
        state, metrics = run(state, chosen)
        begins += count
    assert int(state.skipped) == 0
    return state, metrics


def decayed(lr, steps):
    return optax.adam(optax.cosine_decay_schedule(lr, steps))


def draw(model, state, count=1000):
    return np.asarray(jax.jit(model.sample)(state.ema, jax.random.split(jax.random.key(7), count)))


def modes(x, near=0.15):
    """(how many of the ring's 8 modes have a sample near them, the share of samples that are near some mode)."""
    angle = np.arange(8) * np.pi / 4
    distance = np.linalg.norm(x[:, None] - np.stack([np.cos(angle), np.sin(angle)], -1), axis=-1)
    return len(set(distance.argmin(1)[distance.min(1) < near])), (distance.min(1) < near).mean()


def test_vae_on_moons_comes_near_the_entropy_and_never_below():
    data = load("moons")
    encoder, decoder = mlp((64, 64), (4,)), mlp((64, 64), (4,))
    model = vae(encoder, decoder, (2,), decayed(5e-3, 2000), likelihood=gaussian(), samples=10, importance=True)
    state, _ = train(model, "moons", [2000])
    test = as_batch(jnp.asarray(data.splits["test"].x[:2000]))
    nll = -np.asarray(jax.jit(lambda p: model.bound(p, jax.random.key(3), test, 100))(state.ema))
    standard_error = nll.std() / len(nll) ** 0.5
    assert data.entropy - 3 * standard_error < nll.mean() < data.entropy + 0.2


def test_diffusion_covers_the_ring():
    model = diffusion(timed_mlp((128, 128), (2,)), (2,), decayed(5e-3, 3000), steps=40)
    state, _ = train(model, "ring", [3000])
    found, share = modes(draw(model, state))
    assert found == 8
    assert share > 0.5  # of N(0, I), 2 % lie there


def test_penalized_gan_covers_the_ring():
    tx = optax.adam(1e-3, b1=0.0, b2=0.99)
    model = adversarial(implicit(mlp((64, 64), (2,)), (4,)), mlp((64, 64), ()), tx, tx, game=relativistic, r1=0.1, r2=0.1)
    state, _ = train(model, "ring", [2500])
    found, share = modes(draw(model, state), near=0.25)
    assert found == 8
    assert share > 0.6


@pytest.mark.slow
def test_latent_diffusion_draws_the_codes_that_a_normal_prior_misses():
    """An autoencoder with a weak KL leaves holes in N(0, I): its own samples stray, those of latent(vae, diffusion) do not."""
    tx = optax.adam(2e-3)
    alone = vae(mlp((64, 64), (4,)), mlp((64, 64), (2,)), (2,), tx, likelihood=gaussian(0.05), beta=0.01)
    model = latent(alone, diffusion(timed_mlp((128, 128), (2,)), (2,), tx, steps=40))
    state, _ = train(model, "ring", [1000, 2000])
    _, prior = modes(draw(model, state))
    _, normal = modes(np.asarray(alone.sample(state.ema["autoencoder"], jax.random.split(jax.random.key(7), 1000))))
    assert prior > normal + 0.2


def autoencoder(critic):
    plain = vae(mlp((64,), (16,)), mlp((64,), (8, 8, 1)), (8,), optax.adam(2e-3))
    if not critic:
        return plain
    tx = optax.adam(2e-4, b1=0.0)
    return adversarial(plain, mlp((64,), ()), tx, tx, sees=reconstructions(plain), r1=1.0)


DIGITS = {
    "adversarial(implicit)": (
        lambda: adversarial(implicit(mlp((64,), (8, 8, 1)), (8,)), mlp((64,), ()), optax.adam(1e-3), optax.adam(1e-3), r1=1.0),
        [400],
    ),
    "adversarial(vae)": (lambda: autoencoder(critic=True), [400]),
    "latent(vae, diffusion)": (
        lambda: latent(autoencoder(critic=False), diffusion(timed_mlp((64,), (8,)), (8,), optax.adam(2e-3))),
        [400, 400],
    ),
    "latent(adversarial(vae), diffusion)": (
        lambda: latent(autoencoder(critic=True), diffusion(timed_mlp((64,), (8,)), (8,), optax.adam(2e-3))),
        [400, 400],
    ),
}


inside = ("adversarial(implicit)", "adversarial(vae)", "latent(vae, diffusion)")  # of the last one


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in inside else ()) for n in DIGITS])
def test_hybrids_learn_digits(name):
    """Samples are nearer to the mean and spread of real digits than the untrained model's, and not all the same."""
    build, steps = DIGITS[name]
    model = build()
    state, _ = train(model, "digits", steps, unit(17))
    untrained = start(model, "digits", unit(17))
    real = load("digits").splits["test"].x / 16.0

    def distance(x):
        return np.abs(x.mean(0) - real.mean(0)).mean() + np.abs(x.std(0) - real.std(0)).mean()

    samples = draw(model, state)
    assert np.isfinite(samples).all()
    assert distance(samples) < 0.5 * distance(draw(model, untrained))
