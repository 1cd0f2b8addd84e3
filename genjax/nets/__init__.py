"""Networks: the only place that knows Flax. A family takes a `Net`, never a module."""

from genjax.nets.base import Net, as_net
from genjax.nets.conv import conv_critic, conv_decoder, conv_encoder
from genjax.nets.dit import dit
from genjax.nets.made import made
from genjax.nets.mlp import mlp
from genjax.nets.pixelcnn import pixelcnn
from genjax.nets.time import timed_mlp
from genjax.nets.transformer import gpt
from genjax.nets.unet import unet

__all__ = [
    "Net",
    "as_net",
    "conv_critic",
    "conv_decoder",
    "conv_encoder",
    "dit",
    "gpt",
    "made",
    "mlp",
    "pixelcnn",
    "timed_mlp",
    "unet",
]
