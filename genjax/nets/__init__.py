"""Networks: the only place that knows Flax. A family takes a `Net`, never a module."""

from genjax.nets.base import Net, as_net
from genjax.nets.mlp import mlp

__all__ = ["Net", "as_net", "mlp"]
