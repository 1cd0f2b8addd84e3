"""Augmentations through which a gradient passes (2006.10738), each (key, one example (*space, C)) -> example.

    color          brightness + U(-1/2, 1/2), saturation x U(0, 2), contrast x U(1/2, 3/2)
    translation    by up to an eighth of each side, zeros moved in
    cutout         a window of half of each side set to zero

A GAN on few data augments all that its critic sees, reals and fakes by the same law, so that the critic cannot learn the few
reals by heart, and what the generator makes does not look augmented:

    adversarial(model, critic, ..., sees=augmented(samples(model), chain(color, translation, cutout)))

Values are taken to lie around 0, as in [-1, 1], so that zeros are grey.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Augment = Callable[[jax.Array, jax.Array], jax.Array]


def chain(*augments: Augment) -> Augment:
    """One after the other, each with draws of its own."""

    def augment(key: jax.Array, x: jax.Array) -> jax.Array:
        for number, each in enumerate(augments):
            x = each(jax.random.fold_in(key, number), x)
        return x

    return augment


def sometimes(augment: Augment, p: float | jax.Array) -> Augment:
    """With probability p, else nothing (2006.06676); p may be a traced number."""

    def perhaps(key: jax.Array, x: jax.Array) -> jax.Array:
        coin, rest = jax.random.split(key)
        return jnp.where(jax.random.uniform(coin) < p, augment(rest, x), x)

    return perhaps


def color(key: jax.Array, x: jax.Array) -> jax.Array:
    """Brightness, saturation and contrast, in this order; of one channel there is no saturation to change."""
    _image("color", x)
    brightness, saturation, contrast = jax.random.uniform(key, (3,))
    x = x + brightness - 0.5
    grey = x.mean(-1, keepdims=True)
    x = grey + 2.0 * saturation * (x - grey)
    middle = x.mean()
    return middle + (0.5 + contrast) * (x - middle)


def translation(key: jax.Array, x: jax.Array, ratio: float = 0.125) -> jax.Array:
    """By whole places, up to `ratio` of each side in each direction."""
    _image("translation", x)
    for axis, side in enumerate(x.shape[:-1]):
        most = int(side * ratio + 0.5)
        by = jax.random.randint(jax.random.fold_in(key, axis), (), 0, 2 * most + 1)
        pads = [(most, most) if a == axis else (0, 0) for a in range(x.ndim)]
        x = jax.lax.dynamic_slice_in_dim(jnp.pad(x, pads), by, side, axis)
    return x


def cutout(key: jax.Array, x: jax.Array, ratio: float = 0.5) -> jax.Array:
    """A window of `ratio` of each side, its centre anywhere, set to zero where it lies inside."""
    _image("cutout", x)
    inside = jnp.ones((1,) * x.ndim, bool)
    for axis, side in enumerate(x.shape[:-1]):
        size = int(side * ratio + 0.5)
        first = jax.random.randint(jax.random.fold_in(key, axis), (), 0, side + (size + 1) % 2) - size // 2
        place = jnp.arange(side).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        inside = inside & (first <= place) & (place < first + size)
    return jnp.where(inside, 0.0, x)


def _image(who: str, x: jax.Array) -> None:
    if x.ndim < 2:
        raise ValueError(f"{who} wants examples (*space, channels), but one is {x.shape}: augment images or signals only")
