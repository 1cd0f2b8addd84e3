"""Networks: the convolution against the plain one, shapes on any sides, conditions, time, what starts at zero."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from genjax.nets import (
    by_parts,
    conv_critic,
    conv_decoder,
    conv_encoder,
    convolution,
    mlp,
    pooled,
    reading,
    res_decoder,
    res_encoder,
    timed_mlp,
    unet,
    with_waves,
)
from genjax.nets.conv import GroupNorm, depth_to_space, space_to_depth
from genjax.nets.convolution import conv
from genjax.nets.time import time_features

CASES = [  # space, channels, features, window, stride
    ((50,), 5, 3, 3, 1),
    ((51,), 2, 4, 4, 2),
    ((9, 7), 3, 4, 3, 1),
    ((9, 8), 3, 2, 3, 2),
    ((7, 7), 2, 3, 4, 2),
    ((5, 4, 3), 2, 3, 3, 1),
    ((5, 4, 6), 2, 3, 3, 2),
]


def plain(x, kernel, stride):
    """The same convolution with JAX's own derivatives."""
    layout = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}[x.ndim - 2]
    return lax.conv_general_dilated(x, kernel, (stride,) * (x.ndim - 2), "SAME", dimension_numbers=layout)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def operands(space, channels, features, window, size=4):
    return draw(size, *space, channels), draw(*[window] * len(space), channels, features, seed=1)


@pytest.fixture
def products(monkeypatch):
    """One example at a time, so that the toy sizes below take the large sides' way."""
    monkeypatch.setattr(convolution, "CHUNK", 1)


def close(a, b, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * float(jnp.abs(b).max())), a, b)


@pytest.mark.parametrize("case", CASES)
def test_convolution_has_the_derivatives_of_the_plain_one(case, products):
    *sizes, stride = case
    x, kernel = operands(*sizes)
    out, tangent = jax.jvp(lambda x, k: conv(x, k, stride), (x, kernel), (x[::-1], 2 * kernel))
    close((out, tangent), jax.jvp(lambda x, k: plain(x, k, stride), (x, kernel), (x[::-1], 2 * kernel)))

    def pull(conv):
        return jax.jit(lambda x, k: jax.vjp(lambda x, k: conv(x, k, stride), x, k)[1](draw(*out.shape, seed=2)))

    close(pull(conv)(x, kernel), pull(plain)(x, kernel))


def test_the_rule_is_used_on_the_cpu_only():
    x, kernel = draw(2, 28, 28, 32), draw(3, 3, 32, 32)
    gradient = jax.jit(jax.grad(lambda k, x: conv(x, k, 1).sum()))
    count = lambda platform: gradient.trace(kernel, x).lower(lowering_platforms=(platform,)).as_text().count("dot_general")
    assert count("cpu") == 3  # one product a row of the kernel
    assert count("cuda") == count("tpu") == 0


def test_kernels_of_many_seeds_are_taken_in_turn_on_the_cpu_only():
    x, kernels = draw(2, 8, 8, 3), draw(5, 3, 3, 3, 4)
    gradient = jax.jit(jax.vmap(jax.grad(lambda k, x: (conv(x, k) ** 2).sum()), (0, None)))
    loops = lambda platform: gradient.trace(kernels, x).lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")
    assert loops("cpu") >= 2  # forward and backward
    assert loops("cuda") == loops("tpu") == 0


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[6]])
def test_convolution_under_vmap_scan_and_grad_of_grad(case, products):
    *sizes, stride = case
    x, kernel = operands(*sizes)
    kernels = jnp.stack([kernel, 2 * kernel, -kernel])

    def penalty(conv, kernel, x):  # R1: a squared input gradient of something that is not linear
        value = lambda x: jnp.tanh(conv(x, kernel, stride)).sum()
        return (jax.grad(value)(x) ** 2).sum()

    def all_of(conv):
        gradient = jax.grad(partial(penalty, conv))
        value = jax.grad(lambda kernel, x: (conv(x, kernel, stride) ** 2).sum())
        over = lax.scan(lambda total, k: (total + value(k, x), None), jnp.zeros_like(kernel), kernels)[0]
        return jax.vmap(gradient, (0, None))(kernels, x), jax.vmap(value, (0, None))(kernels, x), over

    close(jax.jit(partial(all_of, conv))(), jax.jit(partial(all_of, plain))())


def test_depth_to_space_of_a_square_is_its_block():
    blocks = draw(2, 3, 4, 2 * 2 * 5)
    image = depth_to_space(blocks, 2)
    np.testing.assert_array_equal(space_to_depth(image, 2), blocks)
    assert image.shape == (2, 6, 8, 5)
    np.testing.assert_array_equal(image[:, 2:4, 4:6], blocks[:, 1, 2].reshape(2, 2, 2, 5))
    assert depth_to_space(draw(1, 2, 3, 4, 8), 2).shape == (1, 4, 6, 8, 1)
    row = draw(2, 5, 6)  # (B, L, C): three places from one
    np.testing.assert_array_equal(depth_to_space(row, 3)[:, 3:6], row[:, 1].reshape(2, 3, 2))


SPACES = [(28, 20), (7,), (5, 4, 3)]


def made(net, *inputs):
    """(params, output)."""
    params = jax.jit(net.init)(jax.random.key(0), *inputs)
    return params, jax.jit(net.apply)(params, *inputs)


def shape(net, *inputs):
    """Of the output, without computing it."""
    params = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    return jax.eval_shape(net.apply, params, *inputs).shape


@pytest.mark.parametrize("space", SPACES)
def test_nets_fit_any_sides(space):
    x, t, y = jnp.zeros((2, *space, 3)), jnp.zeros(2), jnp.zeros((2, 10))
    coarse = tuple(-(-side // 4) for side in space)
    for code in ((6,), (*coarse, 2)):
        assert shape(conv_encoder((4, 8), code), x, y) == (2, *code)
        assert shape(conv_decoder((4, 8), (*space, 3)), jnp.zeros((2, *code)), None, y) == x.shape
    assert shape(conv_critic((4, 8)), x, y) == (2,)
    assert shape(unet((4, 8), (*space, 2)), x, t, y, x) == (2, *space, 2)


@pytest.mark.parametrize("space", [(8, 12), (16,), (4, 8, 4)])
def test_residual_autoencoders_fit_sides_that_halve_and_tell_how_bright_a_picture_is(space):
    code, y = (*(side // 4 for side in space), 2), jnp.zeros((2, 3))
    bright = jnp.stack([jnp.full((*space, 3), 0.2), jnp.full((*space, 3), 0.8)])
    apart = lambda codes: float(jnp.linalg.norm(codes[0] - codes[1]) / jnp.linalg.norm(codes))
    _, codes = made(res_encoder((4, 8), code, blocks=2), bright, y)
    assert codes.shape == (2, *code) and apart(codes) > 0.3
    assert apart(made(conv_encoder((4, 8), code), bright)[1]) < 0.1  # norms hide it
    assert shape(res_decoder((4, 8), (*space, 3)), codes, y) == bright.shape


def test_unet_starts_at_zero_and_hears_time_conditions_and_images():
    x, t, y, image = draw(2, 5, 3, 1), jnp.array([0.1, 0.9]), draw(2, 3), draw(2, 5, 3, 2)
    net = unet((4, 8), (5, 3, 2))
    inputs = (x, t, None, y, image)
    params = jax.jit(net.init)(jax.random.key(0), *inputs)
    apply = jax.jit(net.apply)
    np.testing.assert_array_equal(apply(params, *inputs), jnp.zeros((2, 5, 3, 2)))
    params = shaken(params)
    base = apply(params, *inputs)
    for place in (0, 1, 3, 4):
        other = [v if i != place else 0.5 * v for i, v in enumerate(inputs)]
        assert jnp.abs(apply(params, *other) - base).max() > 1e-4, f"the UNet is deaf to input {place}"


def shaken(params):
    """No parameter at zero."""
    return jax.tree.map(lambda p: p + 0.1 * np.random.default_rng(p.size).standard_normal(p.shape).astype(p.dtype), params)


def test_critic_gives_one_logit_an_example_from_that_example_alone():
    x, y = draw(5, 6, 5, 1), draw(5, 3)
    net = conv_critic((4, 8))
    params, logits = made(net, x, y)
    assert logits.shape == (5,)
    np.testing.assert_allclose(net.apply(params, x[3:4], y[3:4]), logits[3:4], rtol=1e-5)
    assert jnp.abs(net.apply(params, x, 2 * y) - logits).max() > 1e-3
    assert not [p for p, _ in jax.tree.leaves_with_path(params) if "Norm" in jax.tree_util.keystr(p)]


def test_every_example_of_a_normalized_net_is_its_own():
    x, t = draw(3, 8, 8, 1), jnp.array([0.2, 0.5, 0.7])
    for net, inputs in ((conv_encoder((4,), (6,)), (x,)), (unet((4, 8), (8, 8, 1)), (x, t))):
        params, _ = made(net, *inputs)
        params = shaken(params)
        apply = jax.jit(net.apply)
        together = apply(params, *inputs)
        np.testing.assert_allclose(apply(params, *[v[1:2] for v in inputs]), together[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("space", [(6, 5), (7,), ()])
def test_group_norm_is_that_of_flax(space):
    """Value and gradients in everything; half precision goes out as it came in, its sums taken in full."""
    x, weight, flax_norm = 3.0 * draw(3, *space, 8) + 1.0, draw(3, *space, 8, seed=1), nn.GroupNorm(2, epsilon=1e-5)
    params = {"scale": draw(8, seed=2), "bias": draw(8, seed=3)}
    value = lambda norm, x, params: (norm.apply({"params": params}, x) * weight).sum()
    ours, theirs = (
        jax.jit(jax.value_and_grad(partial(value, norm), (0, 1)))(x, params)
        for norm in (GroupNorm(2, epsilon=1e-5), flax_norm)
    )
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-4)
    half = GroupNorm(2, epsilon=1e-5).apply({"params": params}, x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half, flax_norm.apply({"params": params}, x), atol=0.1)
    with pytest.raises(ValueError, match="8 channels do not divide into 3 groups"):
        GroupNorm(3).init(jax.random.key(0), x)


def test_timed_mlp_starts_at_zero_and_hears_the_time():
    x, t = draw(4, 2), jnp.linspace(0.0, 1.0, 4)
    net = timed_mlp((16, 16), (2,))
    params, out = made(net, x, t, None)
    np.testing.assert_array_equal(out, jnp.zeros((4, 2)))
    params = shaken(params)
    assert jnp.abs(net.apply(params, x, t, None) - net.apply(params, x, t[::-1], None)).max() > 1e-4


def test_time_features_tell_near_times_apart_and_stay_smooth():
    t = jnp.linspace(0.0, 1.0, 1001)
    features = time_features(t)
    assert features.shape == (1001, 64)
    np.testing.assert_allclose((features**2).sum(-1), 32.0, rtol=1e-5)  # cos^2 + sin^2
    assert jnp.linalg.norm(jnp.diff(features, axis=0), axis=1).min() > 0.1
    assert jnp.linalg.norm(time_features(t[:-1] + 1e-6) - features[:-1], axis=1).max() < 0.01


@pytest.mark.parametrize(
    "net, inputs, message",
    [
        (conv_encoder((4,), (2,)), ((3, 64),), r"wants x \(B, \*space, channels\).*\(3, 64\).*mlp"),
        (conv_encoder((4,), (3, 3, 2)), ((2, 8, 8, 1),), r"sides \(4, 4\), but out is \(3, 3, 2\)"),
        (conv_decoder((4,), (8, 8, 1)), ((2, 3, 3, 2),), r"sides \(4, 4\), but z is \(2, 3, 3, 2\)"),
        (res_encoder((4,), (3, 3, 2)), ((2, 8, 8, 1),), r"sides \(8, 8\) from codes 2 times smaller, not \(3, 3\)"),
        (res_decoder((4,), (8, 8, 1)), ((2, 3, 2),), r"sides \(8, 8\) from codes 2 times smaller, not \(3,\)"),
        (conv_critic((4,)), ((2, 8),), r"wants x"),
        (unet((4,), (8, 8, 1)), ((2, 9, 8, 1), (2,)), r"sides \(8, 8\), but x is \(2, 9, 8, 1\)"),
        (unet((4,), (8, 8, 1)), ((2, 8, 8, 1), (2, 1)), r"times are \(B,\).*\(2, 1\)"),
        (timed_mlp((4,), (2,)), ((2, 2), ()), r"times are \(B,\)"),
        (mlp((4,), (2,)), ((),), r"first axis is the example"),
    ],
)
def test_wrong_shapes_are_told_in_one_line(net, inputs, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(net.init, jax.random.key(0), *[jnp.zeros(shape) for shape in inputs])


# ---- waves -----------------------------------------------------------------------------------------------------------


def test_waves_of_points_and_of_nothing_else():
    seen = []
    net = with_waves(mlp((), (1,))._replace(apply=lambda params, *inputs: seen.append(inputs)), (1.0, 3.0))
    x, y, t = draw(4, 2), draw(4, 2, seed=1), draw(4)
    net.apply({}, x, t, y)
    told, *rest = seen[0]
    expected = np.concatenate([x, np.sin(x), np.sin(3 * x), np.cos(x), np.cos(3 * x)], axis=1)
    np.testing.assert_allclose(told, expected, rtol=1e-5, atol=1e-6)
    assert rest[0] is t and rest[1] is y


def test_waves_widen_what_the_net_takes_in():
    x, t, net = draw(4, 2), draw(4), timed_mlp((8,), (2,))
    wide = with_waves(net, (1.0, 2.0, 4.0))
    params, plain = wide.init(jax.random.key(0), x, t), net.init(jax.random.key(0), x, t)
    assert params["Dense_0"]["kernel"].shape[0] == plain["Dense_0"]["kernel"].shape[0] + 2 * 3 * 2
    assert wide.apply(params, x, t).shape == (4, 2)


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_a_reader_sees_as_far_as_it_says():
    net, near = reading(5, 4, width=8, depth=2, window=5), 4  # (window - 1) depth / 2
    text = jnp.asarray(np.random.default_rng(0).integers(5, size=(1, 21)))
    other = text.at[0, 10].set((text[0, 10] + 1) % 5)
    params, one = made(net, text)
    moved = jnp.abs(one - net.apply(params, other)).max((0, 2)) > 1e-5
    np.testing.assert_array_equal(np.flatnonzero(moved), np.arange(10 - near, 10 + near + 1))


def test_a_pooled_reader_knows_a_word_wherever_it_stands():
    net, blank = pooled(reading(5, 4, width=8, depth=2, window=3)), jnp.zeros((1, 20), int)
    at = lambda place: blank.at[0, place : place + 3].set(jnp.array([1, 2, 3]))
    params, one = made(net, at(4))
    np.testing.assert_allclose(one, net.apply(params, at(11)), rtol=1e-5)
    assert jnp.abs(one - net.apply(params, blank.at[0, 4:7].set(jnp.array([3, 2, 1])))).max() > 1e-3


def test_by_parts_sees_each_part_alone_and_tells_it_what_its_sequence_is():
    key = jax.random.key(0)
    inner, x, y = mlp((5,), (3, 4)), jax.random.normal(key, (2, 6, 7)), jnp.array([[1.0], [2.0]])
    net = by_parts(inner, 2)
    params = net.init(key, x, y)
    alone = [inner.apply(params, x[:, first : first + 2], y) for first in (0, 2, 4)]
    np.testing.assert_allclose(net.apply(params, x, y), jnp.concatenate(alone, axis=1), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"parts of 4 places do not make up sequences \(B, T, C\) of \(2, 6, 7\)"):
        by_parts(inner, 4).init(key, x)
