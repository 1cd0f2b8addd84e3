"""The grid: every autoencoder with every prior of its codes, first the one, then, on its frozen codes, the other (2112.10752).

    latent(codes, prior)     {AE, VAE, VQ} x {diffusion, flow, autoregressive, energy}

    python -m genjax.compare --grid --minutes 12 --seeds 2

Codes are numbers (AE, VAE) or tokens (VQ). An autoregressive prior writes either, each with its own head; the others make
numbers only, so that `latent` refuses them for tokens, and its words stand in the table. To add a row or a column, add a
function to `CODES` or `PRIORS`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import NamedTuple

import jax
import optax

from genjax.chains import langevin
from genjax.compare.plan import Entry, built, defaults
from genjax.config import Positive, Recipe, Source, in_words
from genjax.data import Dataset, Spec, unit
from genjax.densities import gaussian
from genjax.families.autoencoder import autoencoder
from genjax.families.autoregressive import autoregressive
from genjax.families.diffusion import diffusion
from genjax.families.energy import energy
from genjax.families.flow import coupling_flow, flow
from genjax.families.vae import vae
from genjax.families.vq import vq
from genjax.heads import categorical, normals
from genjax.hybrids.latent import latent
from genjax.model import Model
from genjax.nets import gpt, mlp, timed_mlp
from genjax.quantizers import codebook

SIZE = 16  # numbers of a code
TOKENS, PLACES, CHANNELS = 64, 8, 8  # vectors of the codebook, codes of an example, numbers of a vector
LAYERS, DEPTH = 4, 2  # of the flow, of the transformer


class Codes(NamedTuple):
    """An autoencoder, and what a prior must know of its codes."""

    model: Model
    shape: Sequence[int]  # of the codes of one example
    tokens: int = 0  # how many there are; 0 where codes are numbers


def halves(spec: Spec, width: int, out: Sequence[int]) -> tuple:
    """Encoder and decoder."""
    return mlp((width, width), out), mlp((width, width), spec.shape)


def of_ae(spec: Spec, width: int, tx: optax.GradientTransformation) -> Codes:
    return Codes(autoencoder(*halves(spec, width, (SIZE,)), (SIZE,), tx), (SIZE,))


def of_vae(spec: Spec, width: int, tx: optax.GradientTransformation) -> Codes:
    return Codes(vae(*halves(spec, width, (2 * SIZE,)), (SIZE,), tx, likelihood=gaussian(0.1), beta=0.5), (SIZE,))


def of_vq(spec: Spec, width: int, tx: optax.GradientTransformation) -> Codes:
    places = (PLACES, CHANNELS)
    return Codes(vq(*halves(spec, width, places), codebook(TOKENS), places, tx), (PLACES,), TOKENS)


def by_diffusion(codes: Codes, width: int, tx: optax.GradientTransformation) -> Model:
    return diffusion(timed_mlp((width, width, width), codes.shape), codes.shape, tx)


def by_flow(codes: Codes, width: int, tx: optax.GradientTransformation) -> Model:
    half = max(1, width // 2)
    return flow(coupling_flow(lambda out: mlp((half, half), (out,)), prod(codes.shape), LAYERS), codes.shape, tx)


def by_autoregression(codes: Codes, width: int, tx: optax.GradientTransformation) -> Model:
    head = categorical(codes.tokens, grid=False) if codes.tokens else normals()
    quarter = 8 * max(1, width // 32)  # a multiple of twice the heads, whatever the width
    net = gpt(codes.tokens, head.parts, prod(codes.shape), width=quarter, depth=DEPTH, heads=4)
    return autoregressive(net, codes.shape, head, tx)


def by_energy(codes: Codes, width: int, tx: optax.GradientTransformation) -> Model:
    half = max(1, width // 2)
    net, kernel = mlp((half, half), (), jax.nn.silu), partial(langevin, step=0.03)
    return energy(net, codes.shape, tx, kernel=kernel, steps=20, sampling_steps=400, slots=20, alpha=0.01)


CODES: dict[str, Callable[..., Codes]] = {"ae": of_ae, "vae": of_vae, "vq": of_vq}
PRIORS: dict[str, Callable[..., Model]] = {
    "diffusion": by_diffusion,
    "flow": by_flow,
    "autoregressive": by_autoregression,
    "energy": by_energy,
}


def cells() -> dict[str, Source]:
    """{AUTOENCODER_PRIOR: what trains it}, each as a recipe with the knobs width, steps, batch and lr."""
    source = lambda a, b: Source(Path(__file__), cell(CODES[a], PRIORS[b]), "digits", f"latent({a}, {b})")
    return {f"{a}_{b}": source(a, b) for a in CODES for b in PRIORS}


def cell(coded: Callable[..., Codes], modelled: Callable[..., Model]) -> Callable[..., Recipe]:
    """The recipe of one cell."""

    def recipe(
        spec: Spec,
        width: int = 256,
        steps: tuple[int, int] = (2000, 2000),
        batch: int = 128,
        lr: Positive = 1e-3,
    ) -> Recipe:
        first, second = (optax.adam(optax.cosine_decay_schedule(lr, count)) for count in steps)
        codes = coded(spec, width, first)
        prior = modelled(codes, width, optax.chain(optax.clip_by_global_norm(10.0), second))
        model = latent(codes.model, prior, scaled=not codes.tokens)
        return Recipe(model, steps, batch, unit(spec.levels), show=lambda x: x)

    return recipe


def tried(cells: dict[str, Source], data: Dataset) -> tuple[list[Entry], dict[str, str]]:
    """(the cells that fit together, {cell: why another does not}); ValueError where none does."""
    found, refused = [], {}
    for name, source in cells.items():
        try:
            found.append(built(name, source, defaults(source), data))
        except ValueError as error:
            refused[name] = in_words(first_cause(error))
    if not found:
        raise ValueError(f"no cell of the grid fits {data.name}: {next(iter(refused.values()))}")
    return found, refused


def first_cause(error: BaseException) -> BaseException:
    """What the whole chain of errors began with."""
    return first_cause(error.__cause__) if error.__cause__ else error
