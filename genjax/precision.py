"""Mixed precision: a transform of a network, not a dtype argument through every module.

Parameters stay float32 masters and all that a loss sums stays float32: only what happens inside the network is bfloat16.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from genjax.nets import Net


def half(net: Net) -> Net:
    """The same network computing in bfloat16 on float32 parameters, inputs and outputs; also place by place.

    Inputs of one number an example, such as times, come to it in float32: bfloat16 tells only 128 times between 0.5 and 1.
    """
    low, full = partial(_cast, dtype=jnp.bfloat16), partial(_cast, dtype=jnp.float32)

    def apply(params: Any, *inputs: Any) -> jax.Array:
        return full(net.apply(low(params), *low(inputs, least=2)))

    def walk(params: Any, size: int, places: Sequence[int], *conditions: Any) -> tuple[Any, Callable]:
        state, step = net.walk(low(params), size, places, *low(conditions, least=2))

        def in_full(state: Any, place: jax.Array, x: jax.Array) -> tuple[Any, jax.Array]:
            state, out = step(state, place, low(x))
            return state, full(out)

        return state, in_full

    return net._replace(apply=apply, walk=net.walk and walk)


def _cast(tree: Any, dtype: Any, least: int = 0) -> Any:
    """Floating leaves of at least so many axes in another dtype."""
    cast = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.ndim >= least else leaf
    return jax.tree.map(lambda leaf: cast(jnp.asarray(leaf)), tree)
