"""Denoisers: UNet and DiT on any sides, what they start as, what they hear, and what their symmetries and parts promise."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import dit, unet
from genjax.nets.dit import patches, positions, unpatched
from genjax.nets.time import time_features

NETS = {
    "unet": lambda out, **more: unet((4,), out, **{"blocks": 1, "attention": (0, 1), "heads": 2} | more),
    "dit": lambda out, **more: dit(out, **{"width": 24, "depth": 1, "heads": 2} | more),
}
each = pytest.mark.parametrize("make", NETS.values(), ids=NETS)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def shaken(params):
    """No parameter at zero."""
    return jax.tree.map(lambda p: p + 0.1 * np.random.default_rng(p.size).standard_normal(p.shape).astype(p.dtype), params)


def shapes(net, *inputs):
    params = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    return params, jax.eval_shape(net.apply, params, *inputs).shape


def message(net, *inputs):
    with pytest.raises(ValueError) as error:
        jax.eval_shape(net.init, jax.random.key(0), *inputs)
    assert "\n" not in str(error.value)
    return str(error.value)


@each
@pytest.mark.parametrize("space", [(8, 6), (10,), (4, 2, 6)])
def test_any_number_of_space_axes(make, space):
    x, t = jnp.zeros((2, *space, 3)), jnp.zeros(2)
    _, shape = shapes(make((*space, 5)), x, t, jnp.zeros((2, 10)), x[..., :1], jnp.zeros((2, 7, 4)))
    assert shape == (2, *space, 5)


def test_a_unet_of_odd_sides():
    x = jnp.zeros((2, 7, 5, 3))
    assert shapes(unet((4, 8, 8), (7, 5, 1)), x, jnp.zeros(2))[1] == (2, 7, 5, 1)


@each
def test_it_starts_at_zero_and_hears_all_it_is_given(make):
    x, t, y = draw(2, 4, 6, 1), jnp.array([0.1, 0.9]), draw(2, 3, seed=1)
    image, tokens = draw(2, 4, 6, 2, seed=2), draw(2, 5, 3, seed=3)
    net, inputs = make((4, 6, 2)), [x, t, None, y, image, tokens]
    params, apply = jax.jit(net.init)(jax.random.key(0), *inputs), jax.jit(net.apply)
    np.testing.assert_array_equal(apply(params, *inputs), jnp.zeros((2, 4, 6, 2)))
    params = shaken(params)
    base = apply(params, *inputs)
    for place in (0, 1, 3, 4, 5):
        other = [v if i != place else 0.5 * v for i, v in enumerate(inputs)]
        assert jnp.abs(apply(params, *other) - base).max() > 1e-4, f"deaf to input {place}"
    swapped = [*inputs[:5], tokens[:, ::-1]]  # tokens have no order of their own
    np.testing.assert_allclose(apply(params, *swapped), base, atol=1e-4)


@each
def test_every_example_is_its_own(make):
    x, t, y = draw(3, 4, 4, 1), jnp.array([0.2, 0.5, 0.7]), draw(3, 2)
    net = make((4, 4, 1))
    params, apply = shaken(net.init(jax.random.key(0), x, t, y)), jax.jit(net.apply)
    alone = apply(params, x[1:2], t[1:2], y[1:2])
    np.testing.assert_allclose(alone, apply(params, x, t, y)[1:2], rtol=1e-4, atol=1e-5)


# ---- UNet ------------------------------------------------------------------------------------------------------------


def test_a_unet_with_mirrored_kernels_mirrors_the_image():
    """Of one level, since halving and doubling know a first row."""
    net = unet((4,), (7, 5, 1), blocks=1, attention=(0, 1))
    x, t = draw(2, 7, 5, 1), jnp.array([0.3, 0.6])
    params, apply = shaken(net.init(jax.random.key(0), x, t)), jax.jit(net.apply)
    mirrored = jax.tree.map(lambda leaf: leaf[::-1] if leaf.ndim == 4 else leaf, params)
    base = apply(params, x, t)
    np.testing.assert_allclose(apply(mirrored, x[:, ::-1], t)[:, ::-1], base, atol=1e-4)
    assert jnp.abs(apply(params, x[:, ::-1], t)[:, ::-1] - base).max() > 1e-3


def test_attention_of_a_unet_moves_with_the_places():
    """One level, kernels of one place: only attention lets places hear of each other, and none knows where it is."""
    net = unet((4,), (6, 1), blocks=0, attention=(1,), heads=2, norm=partial(nn.LayerNorm, epsilon=1e-6))
    x, t = draw(2, 6, 1), jnp.array([0.3, 0.6])
    params, apply = shaken(net.init(jax.random.key(0), x, t)), jax.jit(net.apply)
    centre = lambda leaf: leaf if leaf.ndim != 3 or leaf.shape[0] != 3 else leaf.at[jnp.array([0, 2])].set(0.0)
    params, order = jax.tree.map(centre, params), jnp.array([3, 0, 5, 1, 4, 2])
    base = apply(params, x, t)
    np.testing.assert_allclose(apply(params, x[:, order], t), base[:, order], atol=1e-5)
    moved = apply(params, x.at[:, 0].add(1.0), t)
    assert jnp.abs(moved - base)[:, 1:].max() > 1e-4


def test_a_unet_has_a_skip_for_every_block_on_the_way_up():
    """Each block of the way up sees what the way down left: its input has the channels of both."""
    x, t = jnp.zeros((1, 8, 8, 1)), jnp.zeros(1)
    params, _ = shapes(unet((4, 8), (8, 8, 1), blocks=2), x, t)
    channels = lambda name: params[f"{name}_block"]["conv_0"]["kernel"].shape[2]
    assert [channels(f"up_1_{k}") for k in range(3)] == [8 + 8, 8 + 8, 8 + 4]
    assert [channels(f"up_0_{k}") for k in range(3)] == [8 + 4, 4 + 4, 4 + 4]
    assert not [name for name in params if "attend" in name]


@pytest.mark.parametrize("space", [(8, 6), (10,)])
def test_a_unet_of_patches_is_the_unet_of_what_lies_in_them(space):
    """The same parameters, on the picture folded by hand; an image beside it is folded too."""
    x, image, t = draw(2, *space, 3), draw(2, *space, 1, seed=1), jnp.array([0.3, 0.6])
    fold = lambda v: patches(v, 2).reshape(2, *[side // 2 for side in space], -1)
    whole, inner = unet((4,), (*space, 3), patch=2, blocks=0), unet((4,), fold(x).shape[1:], blocks=0)
    params = shaken(jax.jit(whole.init)(jax.random.key(0), x, t, image))
    folded = jax.jit(inner.apply)(params, fold(jnp.concatenate([x, image], -1)), t)
    given = jax.jit(whole.apply)(params, x, t, image)
    assert given.shape == x.shape and jnp.abs(given).max() > 1e-3
    np.testing.assert_allclose(fold(given), folded, atol=1e-6)


# ---- DiT -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 6, 2), (6, 1), (2, 4, 2, 3)])
def test_patches_are_blocks_of_the_image_and_come_back(shape):
    x = draw(2, *shape)
    tokens = patches(x, 2)
    assert tokens.shape == (2, np.prod(shape[:-1]) // 2 ** (len(shape) - 1), 2 ** (len(shape) - 1) * shape[-1])
    corner = tuple(slice(side - 2, side) for side in shape[:-1])
    np.testing.assert_array_equal(tokens[:, -1], x[(slice(None), *corner)].reshape(2, -1))
    np.testing.assert_array_equal(unpatched(tokens, 2, shape), x)


def test_positions_tell_places_apart_and_depend_on_their_differences_alone():
    table = positions((5, 7), 32)
    assert table.shape == (35, 32)
    likeness = (table @ table.T).reshape(5, 7, 5, 7)
    np.testing.assert_allclose(likeness[0, 0, 0, 0], 16.0, rtol=1e-5)
    np.testing.assert_allclose(likeness[1, 2, 3, 5], likeness[0, 1, 2, 4], rtol=1e-4)
    assert np.sort(likeness.reshape(35, 35), axis=1)[:, -2].max() < 15.9


def test_every_block_of_a_dit_starts_as_the_identity():
    """With zero modulation nothing but patches, places and the last layers is left, whatever the blocks hold."""
    x, t = draw(2, 4, 4, 1), jnp.array([0.1, 0.9])
    net = dit((4, 4, 1), width=8, depth=2, heads=2)
    params, apply = jax.jit(net.init)(jax.random.key(0), x, t), jax.jit(net.apply)
    fresh = shaken(params)
    fresh["blocks"] = fresh["blocks"] | {"told": params["blocks"]["told"]}
    other = fresh | {"blocks": jax.tree.map(lambda p: 2 * p, fresh["blocks"])}
    np.testing.assert_array_equal(apply(fresh, x, t), apply(other, x, t))
    assert jnp.abs(apply(fresh, x, t)).max() > 1e-2
    awake = fresh | {"blocks": shaken(fresh["blocks"])}
    assert jnp.abs(apply(awake, x, t) - apply(fresh, x, t)).max() > 1e-3


@pytest.mark.parametrize("other", [{"remat": True, "unroll": 2}, {"attention": jax.nn.dot_product_attention}])
def test_a_dit_is_scanned_and_may_be_recomputed_or_attend_by_another_function(other):
    x, t = draw(2, 4, 4, 1), jnp.array([0.1, 0.9])
    plain, again = (dit((4, 4, 1), width=8, depth=2, heads=2, **way) for way in ({}, other))
    params = shaken(plain.init(jax.random.key(0), x, t))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(params["blocks"])} == {2}
    slope = lambda net: jax.jit(jax.grad(lambda params: jnp.sum(net.apply(params, x, t) ** 2)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), slope(again), slope(plain))


def test_a_dit_attends_by_the_function_given():
    """By one that answers every place with its own value, no place sees another."""
    x, t = draw(2, 4, 4, 1), jnp.array([0.1, 0.9])
    net = dit((4, 4, 1), width=8, depth=2, heads=2, attention=lambda q, k, v: v)
    params = shaken(net.init(jax.random.key(0), x, t))
    moved = net.apply(params, x.at[:, :2, :2].add(1.0), t) - net.apply(params, x, t)
    assert jnp.abs(moved[:, :2, :2]).max() > 1e-3
    np.testing.assert_array_equal(moved[:, 2:], 0.0)


# ---- time, wrong input -----------------------------------------------------------------------------------------------


def test_time_features_are_those_of_the_paper():
    """Of DDPM's step 1000 t: step / 10000^(i / (half - 1))."""
    steps, half = np.array([0.0, 1.0, 250.0, 999.0]), 8
    angle = steps[:, None] / 10000.0 ** (np.arange(half) / (half - 1))
    wanted = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(time_features(jnp.asarray(steps / 1000), 2 * half), wanted, atol=2e-4)
    slow = time_features(jnp.linspace(0.0, 1.0, 3), 4, highest=2.0, lowest=1.0)
    np.testing.assert_allclose(slow[1], np.array([np.cos(1.0), np.cos(0.5), np.sin(1.0), np.sin(0.5)]), atol=1e-6)


def test_wrong_input_is_told_in_one_line():
    x, t = jnp.zeros((2, 8, 8, 1)), jnp.zeros(2)
    assert "sides (8, 8), but x is (2, 9, 8, 1)" in message(dit((8, 8, 1), width=8, heads=2), jnp.zeros((2, 9, 8, 1)), t)
    assert "name levels in attention=" in message(unet((4,), (8, 8, 1)), x, t, jnp.zeros((2, 5, 3)))
    for make, told in (
        (lambda: unet((4, 8), (8, 8, 1), attention=(3,)), "levels are 0 .. 1, and 2 is the middle"),
        (lambda: unet((4, 8), (8, 8, 1), heads=3), "divides the widths"),
        (lambda: unet((4, 8), (8, 8, 1), heads=(1,)), "one a level"),
        (lambda: unet((), (8, 8, 1)), "needs widths, heads and a patch of 1 or more"),
        (lambda: unet((4,), (8, 8, 1), heads=0), r"not \(4,\), \(0,\) and 1"),
        (lambda: dit((8, 8, 1), depth=0), "patch, width, depth and heads of 1 or more, not 2, 384, 0 and 6"),
        (lambda: dit((7, 8, 1)), "choose another patch="),
        (lambda: unet((4,), (7, 8, 1), patch=2), "choose another patch="),
        (lambda: dit((8, 8, 1), width=30, heads=4), "width 30 must divide"),
    ):
        with pytest.raises(ValueError, match=told):
            make()
