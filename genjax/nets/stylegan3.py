"""StyleGAN3 (2106.12423), small and in the manner of its configuration T: a synthesis that moves its picture smoothly.

    input     cos(2 pi (f . (p - t) + phase)),  p: place, t: translation that w asks for, |f| below the first cutoff       (1)
    layer     modulated convolution, bias, then the nonlinearity between an upsampling and a downsampling by
              windowed sincs, so that what it adds above the layer's cutoff is gone before it could fold back              (2)
    cutoffs   f_i = f_0 (f_N / f_0)^(i / (N - 1)) cycles a picture: half the sampling rate in the last two layers          (3)

Each layer has its cutoff and transition band; the canvas is larger than the picture by a margin, so that its border hardly
tells a layer where it is: the less the larger the margin, at the cost of the canvas. Left out: the running normalization of
magnitudes, rotations of the input, and radial filters.
"""

from collections.abc import Sequence
from math import sqrt

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.nets.base import as_net
from genjax.nets.fir import resample
from genjax.nets.stylegan2 import Linear, Modulated, Styles, act, coarsest, each_layer, mapping

TAPS = 6  # of a filter, for each sample of the coarser grid


Band = tuple[float, float, int]  # cutoff, half the width of the transition band, sampling rate: cycles or samples a picture


def stylegan3(
    widths: Sequence[int], out: Sequence[int], style: int = 128, depth: int = 2, levels: int = 2, margin: int = 2
) -> Styles:
    """Mapping and synthesis, whose apply also takes a translation: (w, keys, shift (B, axes) in pixels of the picture).

    Args:
      widths: channels of the layers, the last first.
      out: (*space, channels); sides must halve evenly levels - 1 times.
      style: numbers in w.
      depth: layers of the mapping.
      levels: how many sampling rates there are, each twice the one below.
      margin: of the canvas on each side, in samples of the coarsest rate.
    """
    coarsest(out, levels)  # refuses sides that do not halve
    plan = bands(len(widths), max(out[:-1]), levels)
    synthesis = _Synthesis(tuple(reversed(widths)), tuple(out), margin * 2 ** (levels - 1), plan)
    return Styles(mapping(style, depth), as_net(synthesis), len(widths) + 2)


# ---- filters ---------------------------------------------------------------------------------------------------------


def bands(layers: int, rate: int, levels: int) -> tuple[Band, ...]:
    """(3) for the input and for each layer's output, in a picture of `rate` pixels a side.

    Cutoffs go from 2 to half the rate, ends of the transition bands from 2^2.1 to 2^0.3 times that, as in the paper.
    """
    part = np.minimum(np.arange(layers + 1) / max(1, layers - 1), 1.0)
    cutoffs, stops = 2.0 * (rate / 4.0) ** part, 2.0**2.1 * (rate / 2 * 2**0.3 / 2.0**2.1) ** part
    rates = rate // 2 ** np.clip(np.floor(np.log2(rate / (2 * stops))), 0, levels - 1).astype(int)
    cutoffs = np.minimum(cutoffs, rates / 2)
    widths = np.maximum(stops, rates / 2) - cutoffs
    return tuple((float(c), float(w), int(r)) for c, w, r in zip(cutoffs, widths, rates, strict=True))


def lowpass(cutoff: float, width: float, rate: float, taps: int) -> tuple[float, ...]:
    """A sinc of `cutoff` under a Kaiser window for a transition band of twice `width`, at a sampling rate; taps sum to 1."""
    drop = 2.285 * (taps - 1) * np.pi * (2 * width) / (rate / 2) + 7.95  # dB in the stopband, by Kaiser's formula
    low = max(drop - 21.0, 0.0)
    beta = 0.1102 * (drop - 8.7) if drop > 50 else 0.5842 * low**0.4 + 0.07886 * low
    h = np.sinc(2 * cutoff / rate * (np.arange(taps) - (taps - 1) / 2)) * np.kaiser(taps, beta)
    return tuple((h / h.sum()).tolist())


def filtered_act(h: jax.Array, before: Band, after: Band) -> jax.Array:
    """(2): h at the rate of one band -> the rate of the other, the nonlinearity at twice the higher one."""
    fine = 2 * max(before[2], after[2])
    up, down = fine // before[2], fine // after[2]
    h = resample(h, lowpass(before[0], before[1], fine, TAPS * up), up=up)
    return resample(act(h), lowpass(after[0], after[1], fine, TAPS * down), down=down)


# ---- the network -----------------------------------------------------------------------------------------------------


class _Synthesis(nn.Module):
    widths: tuple[int, ...]  # the first layer first
    out: tuple[int, ...]
    margin: int  # pixels of the picture
    plan: tuple[Band, ...]

    @nn.compact
    def __call__(self, w: jax.Array, keys: jax.Array | None = None, shift: jax.Array | None = None) -> jax.Array:
        del keys  # this synthesis has no noise
        w = each_layer(w, len(self.widths) + 2)
        h = self._input(w[:, 0], shift)
        for number, width in enumerate(self.widths, 1):
            h = Modulated(width)(h, w[:, number])
            h = h + self.param(f"bias_{number}", nn.initializers.zeros, (width,))
            h = filtered_act(h, self.plan[number - 1], self.plan[number])
        h = h[(slice(None), *[slice(self.margin, self.margin + side) for side in self.out[:-1]])]
        rgb = Modulated(self.out[-1], window=1, demodulate=False)(h, w[:, -1])
        return 0.25 * (rgb + self.param("bias", nn.initializers.zeros, (self.out[-1],)))

    def _input(self, w: jax.Array, shift: jax.Array | None) -> jax.Array:
        """(1), its channels mixed."""
        space, channels = self.out[:-1], self.widths[0]
        cutoff, _, rate = self.plan[0]
        rng, pixels = np.random.default_rng(0), max(space)
        f = rng.standard_normal((len(space), channels))
        radius = np.linalg.norm(f, axis=0)
        f, phase = f / (radius * np.exp(radius**2 / 4)) * cutoff, rng.random(channels)
        move = Linear(len(space))(w) + (0.0 if shift is None else shift / pixels)
        angle = jnp.asarray(phase, jnp.float32) - (move @ jnp.asarray(f, jnp.float32)).reshape(-1, *[1] * len(space), channels)
        for axis, side in enumerate(space):
            count = (side + 2 * self.margin) * rate // pixels
            p = (np.arange(count) + 0.5) / rate - self.margin / pixels
            place = (p[:, None] * f[axis]).reshape([count if a == axis else 1 for a in range(len(space))] + [channels])
            angle = angle + jnp.asarray(place, jnp.float32)
        mix = self.param("mix", nn.initializers.normal(1.0), (channels, channels))
        return jnp.cos(2 * jnp.pi * angle) * sqrt(2.0) @ mix / sqrt(channels)
