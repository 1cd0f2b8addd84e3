"""genjax: deep generative models and their hybrids as a small closed algebra. See `genjax.model`."""

from genjax.model import Batch, Loss, Model, Params, Phase
from genjax.step import State, init, make_step, next_stage

__all__ = ["Batch", "Loss", "Model", "Params", "Phase", "State", "init", "make_step", "next_stage"]
__version__ = "0.1.0"
