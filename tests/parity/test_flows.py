"""Flows against nflows and zuko, in double precision: the layers of ours are given weights, theirs the same ones, mapped."""

from functools import partial
from math import inf

import jax
import numpy as np
import pytest

from genjax import bijections as b
from genjax.families.flow import flow, maf
from genjax.model import as_batch
from genjax.nets import made
from genjax.splines import affine, spline
from tests.parity import need, tensor

torch = need("torch")
pytestmark = pytest.mark.filterwarnings("ignore:torch.triangular_solve")  # which nflows calls

BINS, BOUND, SMALLEST, WIDTH = 6, 3.0, 1e-3, 12
ONE = np.log(np.expm1(1 - SMALLEST))  # our slopes are 1 where the raw number is 0, those of nflows where it is this
close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def normals(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def shaken(params, seed=0):
    """Parameters of the same shapes, all of them away from zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: a + 0.4 * rng.standard_normal(a.shape), params)


def agree(ours, theirs, params, x, to_theirs=lambda x: x):
    """z, log-determinant, x of other z, and the log-determinant there."""
    both = lambda params, x: (*ours.forward(params, x), *b.invert(ours).forward(params, x))
    z, log_det, from_z, from_z_log_det = jax.jit(both)(params, x)
    with torch.no_grad():
        expected, expected_log_det = theirs.forward(tensor(to_theirs(x)))
        back, back_log_det = theirs.inverse(tensor(to_theirs(x)))
    assert abs(expected - tensor(to_theirs(x))).max() > 0.5  # they do something
    close(to_theirs(np.asarray(z)), expected)
    close(log_det, expected_log_det)
    close(to_theirs(np.asarray(from_z)), back, atol=1e-7)
    close(from_z_log_det, back_log_det, atol=1e-7)


def test_spline_is_that_of_nflows():
    theirs = need("nflows.transforms.splines.rational_quadratic").unconstrained_rational_quadratic_spline
    rule, x = spline(BINS, BOUND, SMALLEST), 2 * normals(500)
    theta = 2 * normals(500, 3 * BINS - 1, seed=1)
    raw = [tensor(part) for part in np.split(theta, [BINS, 2 * BINS], axis=1)]
    raw[2] += ONE
    smallest = dict(min_bin_width=SMALLEST, min_bin_height=SMALLEST, min_derivative=SMALLEST)
    call = partial(theirs, tensor(x), *raw, tail_bound=BOUND, **smallest)
    assert 0.5 < (abs(x) < BOUND).mean() < 1
    z, log_slope = rule.forward(theta, x)
    expected, expected_log_slope = call()
    close(z, expected)
    close(log_slope, expected_log_slope)
    back, back_log_slope = call(inverse=True)
    close(rule.inverse(theta, x), back, atol=1e-7)
    close(-rule.forward(theta, rule.inverse(theta, x))[1], back_log_slope, atol=1e-7)


def lu_weights(layer, params, permutation):
    """Their layer with our triangles, in which their diagonal passes through a softplus."""
    low, up, log_s = (np.asarray(params[name]) for name in ("lower", "upper", "log_s"))
    with torch.no_grad():
        layer.lower_entries.copy_(tensor(low[np.tril_indices(len(low), -1)]))
        layer.upper_entries.copy_(tensor(up[np.triu_indices(len(up), 1)]))
        layer.unconstrained_upper_diag.copy_(tensor(np.log(np.expm1(np.exp(log_s) - layer.eps))))
    return layer


def positive_mix(channels):
    """A seed whose rotation has a positive diagonal, which is all that nflows knows, and its permutation P."""
    from scipy.linalg import lu

    for seed in range(1000):
        permutation, _, upper = lu(np.linalg.qr(np.random.default_rng(seed).standard_normal((channels, channels)))[0])
        if (np.diag(upper) > 0).all() and (permutation != np.eye(channels)).any():
            return b.mix(channels, seed=seed), permutation
    raise AssertionError("no such rotation")


def test_lu_linear_is_that_of_nflows():
    transforms = need("nflows.transforms")
    ours, permutation = positive_mix(4)
    x = normals(50, 4)
    params = shaken(ours.init(jax.random.key(0), x))
    after = transforms.Permutation(torch.tensor(permutation.argmax(1)))  # z = P (L U x)
    layer = lu_weights(transforms.LULinear(4).double(), params, permutation)
    agree(ours, transforms.CompositeTransform([layer, after]), params, x)


def test_invertible_convolution_is_that_of_nflows():
    transforms = need("nflows.transforms")
    ours, permutation = positive_mix(3)
    x = normals(5, 4, 6, 3)
    params = shaken(ours.init(jax.random.key(0), x))
    first = lu_weights(transforms.OneByOneConvolution(3).double(), params, permutation)
    first.permutation._permutation = torch.arange(3)  # theirs permutes before, ours after
    after = transforms.Permutation(torch.tensor(permutation.argmax(1)))
    agree(ours, transforms.CompositeTransform([first, after]), params, x, lambda x: np.moveaxis(x, -1, 1))


def test_actnorm_starts_where_that_of_nflows_does():
    transforms = need("nflows.transforms")
    x, theirs = 3 * normals(2000, 4, 2, 3) + [1, 2, 3], transforms.ActNorm(3).double().train()
    ours = b.actnorm()
    params = ours.init(jax.random.key(0), x)
    z, log_det = ours.forward(params, x)
    expected, expected_log_det = theirs(tensor(np.moveaxis(x, -1, 1)))
    np.testing.assert_allclose(z, np.moveaxis(expected.detach().numpy(), 1, -1), atol=1e-3)  # n and n - 1 in the variance
    np.testing.assert_allclose(log_det, expected_log_det.detach(), atol=1e-2)


# ---- masked autoregressive flows -----------------------------------------------------------------------------------------


def masked_layers(params):
    """(kernel (in, out), bias) of each layer of one of our MADEs."""
    return [[np.asarray(layer[part]) for part in ("kernel", "bias")] for _, layer in sorted(params["net"].items())]


def give(theirs, ours):
    """Weights to their dense layers."""
    with torch.no_grad():
        for layer, (kernel, bias) in zip(theirs, ours, strict=True):
            layer.weight.copy_(tensor(kernel.T))
            layer.bias.copy_(tensor(bias))


def through_gain(params):
    """Layers of one of our MADEs, the gain and the shift of its outputs, (D, parts), as part of the last."""
    *first, (kernel, bias) = masked_layers(params)
    gain, shift = (np.asarray(params[part]).ravel() for part in ("gain", "shift"))
    return [*first, [kernel * gain, bias * gain + shift]]


def test_spline_maf_is_that_of_nflows():
    transforms = need("nflows.transforms")
    dims, layers, x = 5, 2, 1.5 * normals(40, 5)
    ours = maf(lambda parts: made((WIDTH, WIDTH), parts), layers, spline(BINS, BOUND, SMALLEST))
    params = shaken(jax.jit(ours.init)(jax.random.key(0), x))
    theirs = []
    for number in range(layers):
        norm, layer = params[str(3 * number)], params[str(3 * number + 1)]
        actnorm = transforms.ActNorm(dims).double().eval()
        actnorm.log_scale.data = tensor(norm["log_scale"])
        actnorm.shift.data = tensor(-norm["shift"] * np.exp(norm["log_scale"]))
        causal = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            dims, WIDTH, num_bins=BINS, tails="linear", tail_bound=BOUND, num_blocks=1, use_residual_blocks=False,
            min_bin_width=SMALLEST, min_bin_height=SMALLEST, min_derivative=SMALLEST,
        ).double()  # fmt: skip
        *hidden, (kernel, bias) = through_gain(layer)
        slopes = np.where(np.arange(3 * BINS - 1) < 2 * BINS, 0, ONE)
        made_of_theirs = causal.autoregressive_net
        blocks = [made_of_theirs.initial_layer, *(block.linear for block in made_of_theirs.blocks), made_of_theirs.final_layer]
        give(blocks, [*hidden, [kernel, bias + np.tile(slopes, dims)]])
        theirs += [actnorm, causal, transforms.ReversePermutation(dims)]
    agree(ours, transforms.CompositeTransform(theirs[:-1]), params, x)


def test_affine_maf_has_the_density_and_the_samples_of_zukos():
    zuko = need("zuko")
    dims, layers, x = 4, 3, normals(40, 4)
    # Limits of the log scale differ in kind, so both are lifted.
    bijection = maf(lambda parts: made((WIDTH, WIDTH), parts), layers, affine(limit=1e9))
    model = flow(bijection, (dims,), None)
    params = shaken(jax.jit(model.init)(jax.random.key(0), as_batch(x)))
    for number in range(0, 3 * layers, 3):  # zuko has no actnorm
        params["flow"][str(number)] = {"shift": np.zeros(dims), "log_scale": np.zeros(dims)}
    univariate = partial(zuko.transforms.MonotonicAffineTransform, slope=inf)
    theirs = zuko.flows.MAF(dims, transforms=layers, hidden_features=(WIDTH, WIDTH), univariate=univariate).double()
    for number, layer in enumerate(theirs.transform.transforms):
        ours = params["flow"][str(3 * number + 1)]
        give(list(layer.hyper)[::2], in_their_order(through_gain(ours), dims, number % 2 == 1))
    with torch.no_grad():
        expected, transform = theirs().log_prob(tensor(x)), theirs().transform
        z, back = transform(tensor(x)).numpy(), transform.inv(tensor(x)).numpy()
    close(jax.jit(model.log_prob)(params, as_batch(x)), expected)
    turned = slice(None, None, -1 if layers % 2 == 0 else 1)  # ours turns after each layer but the last
    close(jax.jit(model.encode)(params, None, as_batch(x)), z[:, turned])
    close(jax.jit(model.decode)(params, x[:, turned]), back, atol=1e-7)


def in_their_order(layers, dims, backwards):
    """Theirs says shift, then scale; and its odd layers go through the dimensions backwards where ours turns the data."""
    layers = [[kernel, bias] for kernel, bias in layers]
    turn = slice(None, None, -1 if backwards else 1)
    layers[0][0] = layers[0][0][turn]
    layers[-1] = [part.reshape(*part.shape[:-1], dims, 2)[..., turn, ::-1].reshape(part.shape) for part in layers[-1]]
    return layers
