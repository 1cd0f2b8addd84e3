"""Digits of 8 x 8 pixels from five families in one tree: most are legible; 5 min of CPU time, no GPU needed.

refined(latent(adversarial(vae, critic), latent(flow, autoregressive)), diffusion): a transformer writes codes, a flow gives
their density, a VAE decodes them, a GAN sharpens, a diffusion polishes
"""

import optax

from genjax.config import Positive, Recipe
from genjax.data import Spec, symmetric
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
      critic, couplings, transformer, polish: leave one out, to see what it does; the couplings are the flow.
    """
    encoder, decoder = mlp((width, width), (2 * codes,)), mlp((width, width), spec.shape)
    model = vae(encoder, decoder, (codes,), optax.adam(lr), likelihood=gaussian(0.2), beta=0.5)
    if critic:
        tx = optax.adam(verdict, b1=0.0, b2=0.99)
        model = adversarial(model, mlp((width, width), ()), tx, tx, sees=reconstructions(model), r1=1.0)
    prior = None
    if couplings:
        prior = flow(coupling_flow(lambda out: mlp((width,), (out,)), codes, layers=4), (codes,), optax.adam(lr))
    if transformer:
        written = autoregressive(gpt(0, normals().parts, codes, width=64, depth=2), (codes,), normals(), optax.adam(lr))
        prior = latent(prior, written, scaled=False) if prior else written
    model = latent(model, prior) if prior else model
    if polish:
        denoiser = timed_mlp((2 * width,) * 3, spec.shape)
        model = refined(model, diffusion(denoiser, spec.shape, optax.adam(optax.cosine_decay_schedule(lr, steps[3]))), start)
    taken = (True, couplings, transformer, polish)
    steps = tuple(count for count, part in zip(steps, taken, strict=True) if part)
    return Recipe(model, steps, batch, prepare=symmetric(spec.levels), show=lambda x: 0.5 * x + 0.5)
