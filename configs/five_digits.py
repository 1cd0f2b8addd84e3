"""Digits of 8 x 8 pixels from five families in one tree: most are legible; 5 min of CPU time, no GPU needed.

refined(latent(adversarial(vae, critic), latent(flow, autoregressive)), diffusion): a transformer writes codes, a flow gives
their density, a VAE decodes them, a GAN sharpens, a diffusion polishes. Without the VAE the distance doubles, without the flow
or the transformer it grows by a fifth; the critic and the polish do not lower it.
"""

import math

import optax

from genjax.bijections import chain, reshape
from genjax.config import Positive, Recipe
from genjax.data import Spec, dequantize, symmetric
from genjax.densities import gaussian
from genjax.families.autoregressive import autoregressive
from genjax.families.diffusion import diffusion
from genjax.families.flow import coupling_flow, flow
from genjax.families.vae import vae
from genjax.heads import normals
from genjax.hybrids.adversarial import adversarial, reconstructions
from genjax.hybrids.latent import latent
from genjax.hybrids.refined import refined
from genjax.nets import gpt, mlp, timed_mlp

data = "digits"
parents = ("vae", "gan", "flow", "diffusion")


def recipe(
    spec: Spec,
    codes: int = 16,
    width: int = 256,
    start: Positive = 0.3,
    steps: tuple[int, int, int, int] = (5000, 3000, 3000, 5000),
    batch: int = 128,
    lr: Positive = 1e-3,
    verdict: Positive = 1e-4,
    autoencoder: bool = True,
    critic: bool = True,
    couplings: bool = True,
    transformer: bool = True,
    polish: bool = True,
) -> Recipe:
    """First the autoencoder, then the flow of its codes, the transformer of what the flow makes of them, and the diffusion.

    Args:
      spec: of the data.
      codes: dimensions of a code.
      width: of the hidden layers; the denoiser's are twice as wide.
      start: time of the diffusion's process to which a decoded code is noised before it is drawn anew.
      steps: of the VAE with its critic, the flow, the transformer and the diffusion.
      batch: examples in a step.
      lr: learning rate of Adam, but for the critic's game.
      verdict: learning rate of the critic and of the decoder's adversarial move.
      autoencoder, critic, couplings, transformer, polish: leave one out, to see what it does; the couplings are the flow.
        Without the autoencoder they and the transformer are of pixels, and the critic is of the flow's samples.
    """
    if not (autoencoder or couplings):
        raise ValueError("--no-autoencoder leaves the couplings to make pixels: leave out one of the two alone")
    play, dims = optax.adam(verdict, b1=0.0, b2=0.99), codes if autoencoder else math.prod(spec.shape)
    judged = lambda model, **how: adversarial(model, mlp((width, width), ()), play, play, r1=1.0, **how) if critic else model
    followed = lambda first, second, **how: latent(first, second, **how) if second else first
    layers = coupling_flow(lambda out: mlp((width,), (out,)), dims, layers=4)
    net = gpt(0, normals().parts, dims, width=64, depth=2)
    written = autoregressive(net, (dims,), normals(), optax.adam(lr)) if transformer else None
    if autoencoder:
        encoder, decoder = mlp((width, width), (2 * codes,)), mlp((width, width), spec.shape)
        model = vae(encoder, decoder, (codes,), optax.adam(lr), likelihood=gaussian(0.2), beta=0.5)
        prior = followed(flow(layers, (codes,), optax.adam(lr)), written, scaled=False) if couplings else written
        model = followed(judged(model, sees=reconstructions(model)), prior)
    else:
        of_pixels = flow(chain(reshape(spec.shape, (dims,)), layers), spec.shape, optax.adam(lr))
        model = followed(judged(of_pixels), written, scaled=False)
    if polish:
        denoiser = timed_mlp((2 * width,) * 3, spec.shape)
        model = refined(model, diffusion(denoiser, spec.shape, optax.adam(optax.cosine_decay_schedule(lr, steps[3]))), start)
    taken = (autoencoder, couplings, transformer, polish)
    steps = tuple(count for count, part in zip(steps, taken, strict=True) if part)
    smooth = lambda key, x: 2.0 * dequantize(spec.levels)(key, x) - 1.0  # a density of pixels wants no lattice
    prepare = symmetric(spec.levels) if autoencoder else smooth
    return Recipe(model, steps, batch, prepare, show=lambda x: 0.5 * x + 0.5)
