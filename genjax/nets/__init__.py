"""Networks: the only place that knows Flax. A family takes a `Net`, never a module."""

from genjax.nets.base import Net, as_net, by_parts
from genjax.nets.conv import conv_critic, conv_decoder, conv_encoder, conv_same
from genjax.nets.critics import maxout, minibatch_discrimination, on_features, packed, projection, spectral
from genjax.nets.dcgan import dcgan_critic, dcgan_generator
from genjax.nets.dit import dit
from genjax.nets.growing import growing_critic, growing_generator
from genjax.nets.made import made
from genjax.nets.mlp import mlp, with_waves
from genjax.nets.pixelcnn import pixelcnn
from genjax.nets.resgan import resgan_critic, resgan_generator
from genjax.nets.residual import res_decoder, res_encoder
from genjax.nets.stylegan2 import stylegan2, stylegan2_critic
from genjax.nets.stylegan3 import stylegan3
from genjax.nets.text import lstm, pooled, reading, text_critic
from genjax.nets.time import timed_mlp
from genjax.nets.transformer import encoder, gpt
from genjax.nets.unet import unet

__all__ = [
    "Net",
    "as_net",
    "by_parts",
    "conv_critic",
    "conv_decoder",
    "conv_encoder",
    "conv_same",
    "dcgan_critic",
    "dcgan_generator",
    "dit",
    "encoder",
    "gpt",
    "growing_critic",
    "growing_generator",
    "lstm",
    "made",
    "maxout",
    "minibatch_discrimination",
    "mlp",
    "on_features",
    "packed",
    "pixelcnn",
    "pooled",
    "projection",
    "reading",
    "res_decoder",
    "res_encoder",
    "resgan_critic",
    "resgan_generator",
    "spectral",
    "stylegan2",
    "stylegan2_critic",
    "stylegan3",
    "text_critic",
    "timed_mlp",
    "unet",
    "with_waves",
]
