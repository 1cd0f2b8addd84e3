"""A network as two pure functions, and what all networks share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

# A causal network one place at a time, keeping what it needs of the places before:
# (params, examples, places, *conditions) -> state before the first place, and a step
# (state, place, x at the place before) -> state, output at the place. What can be made ready once is, outside the step.
Walk = Callable[..., tuple[Any, Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]]]


class Net(NamedTuple):
    """A network: parameters are a plain nested dict, inputs are arrays whose first axis is the example."""

    init: Callable[..., Any]  # (key, *inputs) -> params
    apply: Callable[..., jax.Array]  # (params, *inputs) -> output
    walk: Walk | None = None  # causal networks that can say the same place by place
    follow: Callable[..., Any] | None = None  # params {"weights", "vectors"} -> next vectors, which no gradient trains


def as_net(module: nn.Module) -> Net:
    """A Linen module without mutable state as a `Net`."""

    def init(key: jax.Array, *inputs):
        return jax.jit(module.init)(key, *inputs)["params"]

    return Net(init, lambda params, *inputs: module.apply({"params": params}, *inputs))


def by_parts(net: Net, size: int) -> Net:
    """Net (x (B, T, C), *conditions) -> (B, T k / size, D): every `size` places of a sequence by one network.

    Args:
      net: (N, size, C) -> (N, k, D); each part is told what its sequence is.
      size: that divides T.
    """

    def parts(x: jax.Array, *given: jax.Array | None) -> tuple:
        if x.ndim != 3 or x.shape[1] % size:
            raise ValueError(f"parts of {size} places do not make up sequences (B, T, C) of {x.shape}: choose another size")
        told = [c if c is None else jnp.repeat(c, x.shape[1] // size, axis=0) for c in given]
        return x.reshape(-1, size, x.shape[2]), *told

    def apply(params: Any, x: jax.Array, *given: jax.Array | None) -> jax.Array:
        out = net.apply(params, *parts(x, *given))
        return out.reshape(len(x), -1, out.shape[-1])

    return net._replace(init=lambda key, *inputs: net.init(key, *parts(*inputs)), apply=apply, walk=None)


def conditions(*given: jax.Array | None) -> jax.Array | None:
    """The conditions that are there, flattened and joined to (B, C), or None."""
    there = [c.reshape(c.shape[0], -1) for c in given if c is not None]
    return jnp.concatenate(there, axis=-1) if there else None
