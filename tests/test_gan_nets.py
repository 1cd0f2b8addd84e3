"""Networks of GANs: modulation, filters, translation, growth, any sides; each against numpy or a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import (
    dcgan_critic,
    dcgan_generator,
    growing_critic,
    growing_generator,
    maxout,
    minibatch_discrimination,
    mlp,
    resgan_critic,
    resgan_generator,
    stylegan2,
    stylegan2_critic,
    stylegan3,
)
from genjax.nets.convolution import conv
from genjax.nets.fir import doubled, halved, resample
from genjax.nets.growing import pool, repeat
from genjax.nets.stylegan2 import modulated_conv
from genjax.nets.stylegan3 import bands, filtered_act, lowpass

KEY = jax.random.key(0)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def shape(net, *inputs):
    """Of the output, without computing it."""
    return jax.eval_shape(net.apply, jax.eval_shape(net.init, KEY, *inputs), *inputs).shape


# ---- any sides -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [(28, 20), (7,), (5, 4, 6)])
def test_nets_fit_any_sides(space):
    out, z, y = (*space, 2), jnp.zeros((4, 5)), jnp.zeros((4, 3))
    x = jnp.zeros((4, *out))
    assert shape(dcgan_generator((4, 6, 8), out), z, y) == shape(resgan_generator((4, 6, 8), out, 1), z, y) == (4, *out)
    assert shape(dcgan_critic((4, 6)), x) == shape(resgan_critic((4, 6), blocks=1, spread=2), x) == (4,)
    assert shape(stylegan2_critic((4, 6, 8)), x) == shape(minibatch_discrimination(dcgan_critic((4,), (6,))), x) == (4,)
    assert shape(resgan_critic((4, 6), (5,), blocks=1), x, y) == (4, 5)


@pytest.mark.parametrize("space", [(12, 8), (16,), (4, 4, 8)])
def test_styles_fit_sides_that_halve(space):
    out, w, keys = (*space, 2), jnp.zeros((4, 5)), jax.random.split(KEY, 4)
    for nets in (stylegan2((4, 6), out), stylegan3((4, 4, 6), out)):
        assert shape(nets.synthesis, w, keys) == shape(nets.synthesis, jnp.zeros((4, nets.count, 5)), keys) == (4, *out)
        assert shape(nets.mapping, w, jnp.zeros((4, 3))) == (4, 128)


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"sides \(28, 28\) do not halve evenly 3 times to 2 or more, as 4 widths ask for"):
        stylegan2((4,) * 4, (28, 28, 1))
    with pytest.raises(ValueError, match=r"sides \(2, 4\) do not halve evenly 1 times to 2 or more"):
        stylegan2((4, 4), (2, 4, 1))
    with pytest.raises(ValueError, match="do not halve evenly"):
        growing_generator((4,) * 3, (10, 10, 1))
    with pytest.raises(ValueError, match=r"5 levels halve sides \(8, 8\) to nothing"):
        dcgan_generator((4,) * 5, (8, 8, 1))
    with pytest.raises(ValueError, match="give fewer widths, or images"):
        resgan_generator((4, 4), (2,))
    with pytest.raises(ValueError, match="a DCGAN critic wants x"):
        dcgan_critic((4,)).init(KEY, jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match="this synthesis takes 4 styles an example, but was given 3"):
        shape(stylegan2((4, 6), (8, 8, 1)).synthesis, jnp.zeros((2, 3, 5)))


# ---- critics that see the batch --------------------------------------------------------------------------------------


def test_closeness_by_loops():
    trunk, x = mlp((), (4,)), draw(5, 3)
    net = minibatch_discrimination(trunk, kernels=2, dims=3)
    params = jax.jit(net.init)(KEY, x)
    h = np.asarray(trunk.apply(params["trunk"], x))
    m = (h @ params["head"]["Closeness_0"]["Dense_0"]["kernel"]).reshape(5, 2, 3)
    o = [[sum(np.exp(-np.abs(m[i, b] - m[j, b]).sum()) for j in range(5) if j != i) for b in range(2)] for i in range(5)]
    dense = params["head"]["Dense_0"]
    np.testing.assert_allclose(
        net.apply(params, x), (np.concatenate([h, o], 1) @ dense["kernel"] + dense["bias"])[:, 0], rtol=1e-4
    )


def test_maxout_by_hand():
    net, x = maxout((3,), 2), draw(4, 5)
    params = jax.jit(net.init)(KEY, x)
    pieces = np.asarray(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]).reshape(4, 3, 2)
    np.testing.assert_allclose(net.apply(params, x), (pieces.max(-1) @ params["Dense_1"]["kernel"])[:, 0], rtol=1e-5)


# ---- StyleGAN2 -------------------------------------------------------------------------------------------------------


def test_modulation_is_a_kernel_of_each_example():
    x, kernel, s = draw(3, 6, 5, 4), draw(3, 3, 4, 7, seed=1), draw(3, 4, seed=2)
    out, plain = modulated_conv(x, kernel, s), modulated_conv(x, kernel, s, demodulate=False)
    for i in range(3):
        own = np.asarray(kernel) * np.asarray(s)[i][:, None]
        np.testing.assert_allclose(plain[i], conv(x[i : i + 1], jnp.asarray(own), 1)[0], rtol=1e-4, atol=1e-4)
        own = own / np.sqrt((own**2).sum((0, 1, 2)))
        np.testing.assert_allclose(out[i], conv(x[i : i + 1], jnp.asarray(own), 1)[0], rtol=1e-4, atol=1e-4)


def test_demodulated_features_of_white_noise_have_variance_one():
    out = modulated_conv(draw(2, 64, 64, 8), 5.0 * draw(3, 3, 8, 4, seed=1), 3.0 * draw(2, 8, seed=2))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(np.asarray(out).var((1, 2)), 1.0, atol=0.1)


def test_noise_comes_from_the_key_and_only_by_its_strength():
    synthesis = stylegan2((4,), (4, 4, 1), style=5).synthesis
    w, keys = draw(2, 5), jax.random.split(KEY, 2)
    params = jax.jit(synthesis.init)(KEY, w)
    assert params["_Layer_0"]["noise"] == 0
    apply = jax.jit(synthesis.apply)
    np.testing.assert_allclose(apply(params, w, keys), apply(params, w), rtol=1e-6)
    params["_Layer_0"]["noise"] = jnp.ones(())
    noisy = apply(params, w, keys)
    assert (noisy != apply(params, w, jax.random.split(jax.random.key(1), 2))).any()
    np.testing.assert_allclose(apply(params, w[1:], keys[1:]), noisy[1:], rtol=1e-5)


def test_the_mapping_forgets_the_length_of_z():
    mapping, z = stylegan2((4,), (4, 4, 1), style=5).mapping, draw(3, 6)
    params = jax.jit(mapping.init)(KEY, z)
    np.testing.assert_allclose(mapping.apply(params, 10 * z), mapping.apply(params, z), rtol=1e-4, atol=1e-6)
    assert mapping.apply(params, z).std() > 0.1  # a hundredth of the rate, not of the size


# ---- filters ---------------------------------------------------------------------------------------------------------


def test_resampling_keeps_constants_and_moves_nothing():
    ramp = jnp.broadcast_to(jnp.arange(12.0)[None, :, None, None], (1, 12, 12, 1))
    fine = doubled(ramp)
    np.testing.assert_allclose(fine[0, 4:-4, 8, 0], (np.arange(24) / 2 - 0.25)[4:-4], rtol=1e-5)
    np.testing.assert_allclose(halved(ramp)[0, 1:-1, 3, 0], np.arange(12).reshape(6, 2).mean(1)[1:-1], rtol=1e-5)
    np.testing.assert_allclose(halved(fine)[0, 2:-2, 6, 0], np.arange(12.0)[2:-2], rtol=1e-5)
    assert halved(jnp.ones((1, 7, 5, 1))).shape == (1, 4, 3, 1)
    with pytest.raises(ValueError, match="3 taps have no middle for up=2, down=1"):
        doubled(ramp, (0.25, 0.5, 0.25))


def test_resampling_by_loops():
    x, taps = np.asarray(draw(1, 9, 1))[0, :, 0], (0.1, 0.2, 0.4, 0.3, -0.1, 0.1)
    stuffed = np.zeros(3 * 9)
    stuffed[::3] = x
    before = (6 + 3 - 2 - 1) // 2
    at = lambda k: stuffed[k] if 0 <= k < 27 else 0.0
    wanted = [3 * sum(taps[t] * at(2 * i + t - before) for t in range(6)) for i in range(13)]
    np.testing.assert_allclose(
        resample(jnp.asarray(x)[None, :, None], taps, up=3, down=2)[0, :, 0], wanted, rtol=1e-5, atol=1e-6
    )


def test_lowpass_passes_and_stops():
    """By its Fourier sum: 1 below the cutoff less half the band, under a thousandth above it plus half the band."""
    cutoff, width, rate, taps = 6.0, 3.0, 64, 48
    h = np.array(lowpass(cutoff, width, rate, taps))
    gain = lambda f: abs((h * np.exp(-2j * np.pi * f / rate * np.arange(taps))).sum())
    assert max(abs(gain(f) - 1) for f in np.linspace(0, cutoff - width, 20)) < 2e-3
    assert max(gain(f) for f in np.linspace(cutoff + width, rate / 2, 40)) < 2e-3
    np.testing.assert_allclose(gain(cutoff), 0.5, atol=0.02)


def test_bands_rise_to_half_the_rate():
    cutoff, width, rate = np.array(bands(6, 32, 2)).T
    assert (np.diff(cutoff) >= 0).all() and set(rate) == {16, 32}
    np.testing.assert_allclose((cutoff[0], cutoff[-1]), (2.0, 16.0))
    assert ((cutoff + width)[:-2] >= rate[:-2] / 2 - 1e-9).all()  # the band ends where the grid does


# ---- StyleGAN3 -------------------------------------------------------------------------------------------------------


def sines(shift, side=48):
    """A picture of a few slow waves, moved by `shift` samples, (1, side, 1)."""
    t = (np.arange(side) - shift) / side * 2 * np.pi
    return jnp.asarray(np.cos(3 * t) + np.sin(5 * t) + 0.7 * np.cos(7 * t + 1), jnp.float32)[None, :, None]


def test_the_filtered_nonlinearity_moves_with_half_a_sample():
    """Of waves, where the plain one folds what it adds: the error of the middle, relative to the plain one's."""
    band = (8.0, 6.0, 48)

    def error(layer):
        """After the move by 1/2, against the Fourier move of what was made without it."""
        still, now = np.asarray(layer(sines(0.0)))[0, :, 0], np.asarray(layer(sines(0.5)))[0, :, 0]
        spectrum = np.fft.rfft(still) * np.exp(-2j * np.pi * np.arange(25) / 48 * 0.5)
        return np.abs(np.fft.irfft(spectrum, 48) - now)[12:-12].max()

    def around(x):  # the picture repeats, so that no border disturbs
        return filtered_act(jnp.concatenate([x, x, x], 1), band, band)[:, 48:96]

    assert error(around) < 0.1 * error(lambda x: jnp.sqrt(2.0) * jax.nn.leaky_relu(x, 0.2))


@pytest.mark.parametrize("by", [2.0, 0.5])
def test_stylegan3_moves_its_picture(by):
    """Its input moved by `by` pixels moves the picture by as much: far nearer to that than to staying where it was."""
    synthesis, w = stylegan3((6, 6, 8, 8), (32, 1), style=5).synthesis, draw(2, 5)
    params = jax.jit(synthesis.init)(KEY, w)
    apply = jax.jit(lambda shift: synthesis.apply(params, w, None, jnp.full((2, 1), shift)))
    still, moved = np.asarray(apply(0.0))[..., 0], np.asarray(apply(by))[..., 0]
    if by == 2.0:
        wanted = np.roll(still, 2, axis=1)
    else:  # half a sample, by a windowed sinc
        taps = np.sinc(np.arange(-8, 8) + 0.5) * np.kaiser(16, 4.0)
        wanted = np.stack([np.convolve(row, taps / taps.sum(), "full")[7:39] for row in still])
    inner = slice(10, -10)
    off = np.abs(moved - wanted)[:, inner].max()
    assert off < 0.15 * np.abs(moved - still)[:, inner].max()


# ---- growth ----------------------------------------------------------------------------------------------------------


def test_a_level_begins_as_the_one_below():
    out, z, x = (8, 8, 2), draw(4, 5), draw(4, 8, 8, 2)
    made, seen = growing_generator((4, 6, 8), out), growing_critic((4, 6, 8), spread=2)
    makes = jax.jit(made[0].init)(KEY, z, jnp.ones(4))
    sees = jax.jit(seen[0].init)(KEY, x, jnp.ones(4))
    zero, one = jnp.zeros(4), jnp.ones(4)
    make = [lambda blend, apply=jax.jit(net.apply): np.asarray(apply(makes, z, blend)) for net in made]
    see = [lambda x, blend, apply=jax.jit(net.apply): np.asarray(apply(sees, x, blend)) for net in seen]
    for level in (1, 2):
        np.testing.assert_allclose(make[level](zero), make[level - 1](one), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(see[level](x, zero), see[level - 1](x, one), rtol=1e-5)
        both = make[level](zero) + make[level](one)
        np.testing.assert_allclose(2 * make[level](0.5 * one), both, rtol=1e-4, atol=1e-5)
    coarse = make[0](one)
    np.testing.assert_array_equal(coarse, repeat(coarse[:, ::4, ::4], 4))
    np.testing.assert_allclose(see[0](x, one), see[0](repeat(pool(pool(x)), 4), one), rtol=1e-4)


def test_pool_and_repeat():
    x = draw(2, 4, 6, 3)
    np.testing.assert_allclose(pool(x)[:, 1, 2], np.asarray(x)[:, 2:4, 4:6].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pool(repeat(x)), x, rtol=1e-6)
