"""Bijections against their Jacobians and inverses, densities against one, and data with known probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import bijections as b
from genjax.families import flow as f
from genjax.model import as_batch
from genjax.nets import conv_same, made, mlp
from genjax.splines import affine, spline

IMAGE = (4, 4, 1)
few = lambda out: mlp((8,), (out,))
image_net = lambda out: mlp((8,), out)
masked = lambda parts: made((8, 8), parts)

# name -> (bijection, shape of x, range of x); at most 16 dimensions
BIJECTIONS = {
    "actnorm": (b.actnorm(), (2, 2, 2), (-2, 2)),
    "mix": (b.mix(3), (2, 3), (-2, 2)),
    "planar": (b.planar(3), (3,), (-2, 2)),
    "flip": (b.flip(), (5,), (-2, 2)),
    "reshape": (b.reshape((2, 3), (6,)), (2, 3), (-2, 2)),
    "squeeze": (b.squeeze((4, 2, 1)), (4, 2, 1), (-2, 2)),
    "logit": (b.logit(0.05), (4,), (0, 1)),
    "factor_out": (b.factor_out(b.actnorm(), (2, 4)), (2, 4), (-2, 2)),
    "coupling, affine": (b.coupling(few(8), affine(), b.halves((4,))), (4,), (-2, 2)),
    "coupling, spline": (b.coupling(few(4 * 11), spline(4), b.halves((4,))), (4,), (-7, 7)),
    "coupling, checkerboard": (b.coupling(image_net((2, 4, 2)), affine(), b.checkerboard((2, 4, 1))), (2, 4, 1), (-2, 2)),
    "causal, affine": (b.causal(masked(2), affine()), (5,), (-2, 2)),
    "causal, spline": (b.causal(masked(11), spline(4)), (5,), (-7, 7)),
    "inverse of causal": (b.invert(b.causal(masked(2), affine())), (4,), (-2, 2)),
    "coupling_flow": (f.coupling_flow(few, 3, 2, spline(3)), (3,), (-2, 2)),
    "maf": (f.maf(masked, 2), (4,), (-2, 2)),
    "realnvp": (f.realnvp(image_net, IMAGE, 2, 1), IMAGE, (-2, 2)),
    "glow": (f.glow(image_net, (4, 2, 2), 1, 1), (4, 2, 2), (-2, 2)),
}
each = pytest.mark.parametrize("name", BIJECTIONS)


def shaken(part, x):
    """Parameters away from where they start, where most layers are the identity."""

    @jax.jit
    def start(x):
        leaves, tree = jax.tree.flatten(part.init(jax.random.key(0), x))
        keys = jax.random.split(jax.random.key(1), max(len(leaves), 1))
        return tree.unflatten([a + 0.3 * jax.random.normal(k, a.shape, a.dtype) for a, k in zip(leaves, keys, strict=False)])

    return start(x)


def points(name, count=4):
    _, shape, (low, high) = BIJECTIONS[name]
    return jax.random.uniform(jax.random.key(2), (count, *shape), minval=low, maxval=high)


@each
def test_log_det_is_the_jacobians_and_the_inverse_comes_back(name):
    with jax.enable_x64(True):
        part, x = BIJECTIONS[name][0], points(name)
        assert x.dtype == jnp.float64
        params = shaken(part, x)

        @jax.jit
        def both(x):
            alone = lambda row: part.forward(params, row[None])[0].ravel()
            return part.forward(params, x), jax.vmap(jax.jacfwd(alone))(x), part.inverse(params, part.forward(params, x)[0])

        (_, log_det), jacobian, back = both(x)
        jacobian = np.asarray(jacobian).reshape(len(x), x[0].size, x[0].size)
        np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-10)
        np.testing.assert_allclose(back, x, atol=1e-7)


@pytest.mark.parametrize("build", [f.realnvp, f.glow])
def test_couplings_of_images_start_as_the_identity_and_learn(build):
    """A zero that is multiplied with another one, of the network's last layer, has no gradient."""
    part, x = build(lambda out: conv_same(4, out), (4, 4, 1), 2, 1), jax.random.normal(jax.random.key(0), (8, 4, 4, 1))
    params = jax.jit(part.init)(jax.random.key(1), x)
    skewed = lambda params: -jnp.mean(part.forward(params, x)[0] ** 3)
    slopes, _ = jax.tree_util.tree_flatten_with_path(jax.jit(jax.grad(skewed))(params))
    gains = [np.abs(slope).max() for path, slope in slopes if "gain" in jax.tree_util.keystr(path)]
    assert len(gains) >= 2 and min(gains) > 0
    assert all((gain == 0).all() for path, gain in jax.tree_util.tree_flatten_with_path(params)[0] if "gain" in str(path[-1]))


def test_every_dimension_of_an_order_learns():
    """The first is conditional on nothing: no network speaks of it."""
    part, x = b.causal(masked(11), spline(4)), jax.random.normal(jax.random.key(0), (8, 3))
    params = jax.jit(part.init)(jax.random.key(1), x)
    slope = jax.jit(jax.grad(lambda params: jnp.mean((part.forward(params, x)[0] - 1.0) ** 2)))(params)
    moved, _ = part.forward(jax.tree.map(lambda p, s: p - 0.1 * s, params, slope), x)
    assert (np.abs(moved - x).max(0) > 1e-4).all()


@each
def test_inverse_in_single_precision(name):
    part, x = BIJECTIONS[name][0], points(name)
    back = jax.jit(lambda x: part.inverse(p := part.init(jax.random.key(0), x), part.forward(p, x)[0]))(x)
    np.testing.assert_allclose(back, x, atol=1e-5)


@pytest.mark.parametrize("name", ["coupling_flow", "maf"])
def test_density_of_the_plane_integrates_to_one(name):
    part = {"coupling_flow": f.coupling_flow(few, 2, 2, spline(4)), "maf": f.maf(masked, 2)}[name]
    model = f.flow(part, (2,), optax.sgd(0.1))
    side = np.linspace(-15, 15, 1201)
    x = jnp.asarray(np.stack(np.meshgrid(side, side), -1).reshape(-1, 2), jnp.float32)
    params = {"flow": shaken(part, jax.random.normal(jax.random.key(3), (64, 2)))}
    density = np.exp(jax.jit(model.log_prob)(params, as_batch(x)), dtype=np.float64)
    assert abs(density.sum() * (side[1] - side[0]) ** 2 - 1) < 2e-3


def test_spline_is_the_identity_at_zero_and_outside_and_monotone_between():
    rule = spline(5, bound=2.0)
    x = jnp.linspace(-3, 3, 401)
    z, log_slope = rule.forward(jnp.zeros((401, rule.parts)), x)
    np.testing.assert_allclose(z, x, atol=1e-6)
    np.testing.assert_allclose(log_slope, 0, atol=2e-6)
    theta = jnp.broadcast_to(2 * jax.random.normal(jax.random.key(0), (rule.parts,)), (401, rule.parts))
    z, log_slope = rule.forward(theta, x)
    assert (jnp.diff(z) > 0).all()
    assert (jnp.where(jnp.abs(x) >= 2, z == x, True)).all()
    assert jnp.abs(z - x).max() > 0.1


def test_actnorm_starts_from_the_data():
    x = 3 + 5 * jax.random.normal(jax.random.key(0), (200, 2, 2, 3))
    z, _ = b.actnorm().forward(b.actnorm().init(None, x), x)
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(z.std((0, 1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize(("order", "seed"), [(None, None), ((2, 0, 3, 1), None), (None, 3)])
def test_made_sees_only_what_comes_before(order, seed):
    net = made((16, 16), 3, activation=jnp.tanh, order=order, seed=seed)
    x = jax.random.normal(jax.random.key(0), (1, 4))
    params = jax.jit(net.init)(jax.random.key(1), x)
    jacobian = np.abs(jax.jacobian(lambda x: net.apply(params, x)[0])(x))[:, :, 0].sum(1)
    place = np.arange(4) if order is None else np.asarray(order)
    assert ((jacobian > 0) == (place[:, None] > place[None])).all()


@pytest.mark.parametrize("kind", ["uniform", "variational"])
def test_dequantized_probabilities_sum_to_one(kind):
    """One dimension of 4 levels: E[w] is the probability itself, so 4000 draws sum to 1 and agree with a quadrature."""
    part = b.chain(b.logit(0.01), b.actnorm(), b.causal(masked(11), spline(4)))
    noise = b.coupling(few(2), affine(), np.zeros(1, bool)) if kind == "variational" else None
    inner = f.flow(part, (1,), optax.sgd(0.1))
    model = f.dequantized(inner, (1,), 4, optax.sgd(0.1), noise)
    batch = as_batch(jnp.arange(4.0)[:, None] / 3)
    params = jax.jit(model.init)(jax.random.key(0), batch)
    params["model"] = {"flow": shaken(part, jnp.linspace(0.1, 0.9, 9)[:, None])}
    if noise:
        params["noise"]["gain"] = jnp.ones((1, 2))  # log-odds of u of about N(0, 1.8^2): as wide as those of uniform u
        params["noise"]["net"]["Dense_1"] = {"kernel": jnp.full((8, 2), 0.05), "bias": jnp.asarray([-0.6, 0.1])}
    mass = np.exp(jax.jit(lambda key: model.bound(params, key, batch, 4000))(jax.random.key(1)))
    fine = (np.arange(4000) + 0.5) / 4000
    density = np.exp(jax.jit(inner.log_prob)(params["model"], as_batch(jnp.asarray(fine, jnp.float32)[:, None])))
    np.testing.assert_allclose(mass, density.reshape(4, 1000).mean(1) / 4, rtol=0.1)
    assert abs(mass.sum() - 1) < 0.03


def test_samples_of_lower_temperature_are_nearer_to_the_middle():
    part = f.maf(masked, 1)
    x = jax.random.normal(jax.random.key(0), (64, 3))
    keys = jax.random.split(jax.random.key(1), 256)
    params = {"flow": part.init(jax.random.key(2), x)}
    spread = [jax.jit(f.flow(part, (3,), optax.sgd(0.1), temperature=t).sample)(params, keys).std() for t in (1.0, 0.5)]
    np.testing.assert_allclose(spread[1], spread[0] / 2, rtol=0.05)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"squeeze .* \(5, 4, 1\) are not all even"):
        f.glow(image_net, (5, 4, 1), 1, 1)
    with pytest.raises(ValueError, match=r"mix\(3\) .* x is \(4, 2\)"):
        b.mix(3).init(jax.random.key(0), jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"2 numbers a dimension, 8 in all, .* gives \(4,\)"):
        b.coupling(few(4), affine(), b.halves((4,))).init(jax.random.key(0), jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match="squeeze first"):
        b.factor_out(b.actnorm(), (4, 4, 1))
    with pytest.raises(ValueError, match=r"permutation of 0 \.\. 2"):
        made((8,), order=(0, 1, 1)).init(jax.random.key(0), jnp.zeros((1, 3)))
