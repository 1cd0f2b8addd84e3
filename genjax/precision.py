"""Mixed precision: a transform of a network, not a dtype argument through every module.

Parameters stay float32 masters and all that a loss sums stays float32: only what happens inside the network is bfloat16.
"""

import jax
import jax.numpy as jnp

from genjax.nets import Net


def half(net: Net) -> Net:
    """The same network computing in bfloat16 on float32 parameters, inputs and outputs."""

    def apply(params, *inputs):
        return _cast(net.apply(*_cast((params, *inputs), jnp.bfloat16)), jnp.float32)

    return Net(net.init, apply)


def _cast(tree, dtype):
    floating = lambda leaf: jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if floating(leaf) else leaf, tree)
