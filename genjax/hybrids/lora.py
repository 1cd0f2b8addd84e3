"""lora(model, rank): the same model, of whose weights only low-rank changes are trained (2106.09685).

    W' = W + (alpha / rank) A B,    A (n, rank) random, B (rank, m) zero at first                              (1)

for every matrix W (n, m); of a stack of matrices (scanned layers, the taps of a convolution) each has its own A and B. Vectors
and numbers, which are few, change freely, so that what follows a mean or a scale still does. The model's own phases train the
changes of the branches that they trained before; or the weights, as ever, and the changes wait for what comes after, such as
the reward of `rewarded(lora(model, rank, waits=True), reward, tx)` (DRaFT-LoRA, 2309.17400).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from genjax.model import Batch, Model, Params, Phase, memory_under, stream, under

CAPABILITIES = ("sample", "encode", "decode", "log_prob", "by_place", "bound", "complete", "memory", "energy", "denoise",
                "infer")  # fmt: skip


def lora(
    model: Model, rank: int, *, alpha: float | None = None, base: Params | None = None, waits: bool = False
) -> Model:
    """The model with the branches `base`, which nobody trains unless the changes wait, and `change`.

    Args:
      model: any model.
      rank: of a change.
      alpha: scale of a change times `rank`; `rank` itself by default.
      base: trained parameters of the model to begin with; its own `init` where not given.
      waits: the model's own phases train the base; the changes are for a combinator around.
    """
    if rank < 1:
        raise ValueError(f"lora needs rank >= 1, not {rank}")
    view = lambda params: merged(params, (alpha or rank) / rank)

    def init(key: jax.Array, batch: Batch) -> Params:
        weights = model.init(stream(key, "base"), batch) if base is None else base
        return {"base": weights, "change": _changes(stream(key, "change"), weights, rank)}

    def low(phase: Phase) -> Phase:
        loss = lambda params, key, batch: phase.loss(view(params), key, batch)
        return phase._replace(loss=loss, trains=tuple(f"change/{path}" for path in phase.trains))

    lifted, seen = (partial(under, "base") if waits else low), _seen_as(model, view)
    return seen._replace(
        init=init,
        memory=memory_under({"base": model}) if waits else seen.memory,
        stages=tuple(tuple(lifted(phase) for phase in stage) for stage in model.stages),
        generates=tuple(f"change/{path}" for path in model.generates),
    )


def merged(params: Params, scale: float = 1.0) -> Params:
    """(1): plain parameters of the inner model; `scale` is alpha / rank."""

    def join(weight: Any, change: Any) -> Any:
        if isinstance(weight, dict):
            return {name: join(weight[name], change[name]) for name in weight}
        return weight + (change["all"] if "all" in change else scale * change["a"] @ change["b"])

    return join(params["base"], params["change"])


def _seen_as(model: Model, view: Callable[[Params], Params]) -> Model:
    """The model with every capability asked of view(params)."""

    def through(capability: Callable) -> Callable:
        return lambda params, *inputs, **asked: capability(view(params), *inputs, **asked)

    there = {name: getattr(model, name) for name in CAPABILITIES}
    lifted = {name: through(capability) for name, capability in there.items() if capability is not None}
    return model._replace(**lifted, latent_code=None)


def _changes(key: jax.Array, weight: Any, rank: int) -> Any:
    if isinstance(weight, dict):
        return {name: _changes(stream(key, name), child, rank) for name, child in weight.items()}
    if weight.ndim < 2:
        return {"all": jnp.zeros_like(weight)}
    *stack, n, m = weight.shape
    a = jax.random.normal(key, (*stack, n, rank), weight.dtype) / n**0.5
    return {"a": a, "b": jnp.zeros((*stack, rank, m), weight.dtype)}
