"""Nottingham's folk tunes as piano rolls, by a transformer of a VAE's codes: chords hold, melodies blur; 12 min of one core.

latent(vae, autoregressive) on continuous codes: the VAE sees four time steps at a time, the transformer tells how one such part
follows the others. Needs a data folder with `polymusic` (--data-dir or GENJAX_DATA).
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, unit
from genjax.densities import bernoulli
from genjax.families.autoregressive import autoregressive
from genjax.families.vae import vae
from genjax.heads import normals
from genjax.hybrids.latent import latent
from genjax.nets import by_parts, gpt, mlp

data = "polymusic/nottingham"


def recipe(
    spec: Spec,
    part: int = 4,
    codes: int = 12,
    width: int = 256,
    depth: int = 3,
    mixtures: int = 8,
    steps: tuple[int, int] = (8000, 2500),
    batch: int = 32,
    lr: Positive = 1e-3,
) -> Recipe:
    """First the VAE of parts; then, on its frozen codes, the transformer that writes them one number after the other.

    Args:
      spec: of the data, (time steps, notes).
      part: time steps that the VAE sees at once.
      codes: numbers that tell a part.
      width: of the two hidden layers of the VAE's networks; the transformer is half as wide.
      depth: of the transformer.
      mixtures: normals in the density of a number.
      steps: of the VAE and of the transformer.
      batch: pieces in a step.
      lr: peak learning rate of Adam, which a cosine takes to zero in each stage.
    """
    length, notes = spec.shape
    shape, falling = (length // part, codes), lambda count: optax.adam(optax.cosine_decay_schedule(lr, count))
    encoder, decoder = mlp((width, width), (1, 2 * codes)), mlp((width, width), (part, notes))
    autoencoder = vae(by_parts(encoder, part), by_parts(decoder, 1), shape, falling(steps[0]), likelihood=bernoulli())
    net = gpt(0, 3 * mixtures, shape[0] * codes, width=width // 2, depth=depth, heads=4, unroll=depth)
    prior = autoregressive(net, shape, normals(mixtures), falling(steps[1]))
    roll = lambda x: x.swapaxes(1, 2)[:, ::-1, :, None]  # pitch upwards, time to the right
    return Recipe(latent(autoencoder, prior), steps, batch, unit(spec.levels), show=roll, chunk=20)
