"""The denoisers of `benchmarks.step_time`, here and in PyTorch: a UNet and a DiT that predict velocities."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import optax

from genjax.families.diffusion import diffusion
from genjax.model import Model
from genjax.nets import dit, unet
from genjax.nets.conv import GroupNorm
from genjax.nets.dit import positions
from genjax.nets.time import time_features

IMAGE, CHANNELS, GROUPS = (32, 32, 3), (32, 64, 64), 8  # of the UNet, whose coarser two levels and middle attend
PATCH, DIT_WIDTH, DIT_DEPTH, DIT_HEADS = 2, 256, 4, 4


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *IMAGE)).astype(np.float32)


def our_unet(tx: optax.GradientTransformation, **asked: Any) -> Model:
    norm, features = partial(GroupNorm, GROUPS), partial(time_features, size=CHANNELS[0])
    net = unet(CHANNELS, IMAGE, blocks=1, attention=(1, 2, 3), norm=norm, features=features)
    return diffusion(net, IMAGE, tx, **asked)


def their_unet() -> Any:
    """The layers of `our_unet` as diffusers' UNet2DModel, with random weights."""
    from diffusers import UNet2DModel

    looks = [f"Attn{way}Block2D" if level else f"{way}Block2D" for way in ("Down", "Up") for level in range(len(CHANNELS))]
    return UNet2DModel(
        sample_size=IMAGE[0], in_channels=3, out_channels=3, block_out_channels=CHANNELS, layers_per_block=1,
        down_block_types=looks[: len(CHANNELS)], up_block_types=looks[: len(CHANNELS) - 1 : -1],
        attention_head_dim=CHANNELS[-1], norm_num_groups=GROUPS, downsample_padding=0, freq_shift=1,
    ).eval()  # fmt: skip


def our_dit(tx: optax.GradientTransformation) -> Model:
    return diffusion(dit(IMAGE, patch=PATCH, width=DIT_WIDTH, depth=DIT_DEPTH, heads=DIT_HEADS, unroll=DIT_DEPTH), IMAGE, tx)


def torch_velocity(denoise: Callable, data: Any, channels_last: bool) -> Callable:
    """() -> the loss of `diffusion`: noise the images to random times, ask for the velocity."""
    import torch

    x = data.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    def loss():
        t, eps = torch.rand(len(x)), torch.randn_like(x)
        alpha, sigma = (f(0.5 * np.pi * t)[:, None, None, None] for f in (torch.cos, torch.sin))
        return ((denoise(alpha * x + sigma * eps, t) - (alpha * eps - sigma * x)) ** 2).mean()

    return loss


def torch_told(size: int, width: int) -> tuple[Any, Callable]:
    """(two layers, t -> what they are told)."""
    import torch

    frequency = 1000.0 * 10000.0 ** -torch.linspace(0, 1, size // 2)
    layers = torch.nn.Sequential(torch.nn.Linear(size, width), torch.nn.SiLU(), torch.nn.Linear(width, width))
    features = lambda t: torch.cat([(t[:, None] * frequency).cos(), (t[:, None] * frequency).sin()], -1)
    return layers, lambda t: torch.nn.functional.silu(layers(features(t)))


def torch_unet(data: Any, channels_last: bool) -> tuple[list, Callable]:
    """The layers of `genjax.nets.unet` with one block a level on the way down."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, before, width):
            super().__init__()
            self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, size, eps=1e-6) for size in (before, width))
            self.convs = nn.ModuleList(nn.Conv2d(size, width, 3, padding=1) for size in (before, width))
            self.told = nn.Linear(4 * CHANNELS[0], width)
            self.straight = nn.Identity() if before == width else nn.Conv2d(before, width, 1)

        def forward(self, x, told):
            h = self.convs[0](functional.silu(self.norms[0](x))) + self.told(told)[:, :, None, None]
            return self.straight(x) + self.convs[1](functional.silu(self.norms[1](h)))

    class Attend(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norm, self.qkv, self.out = (
                nn.GroupNorm(GROUPS, width, eps=1e-6),
                nn.Linear(width, 3 * width),
                nn.Linear(width, width),
            )

        def forward(self, x):
            q, k, v = self.qkv(self.norm(x).flatten(2).mT).chunk(3, -1)
            mixed = functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
            return x + self.out(mixed).mT.reshape(x.shape)

    low, *_, high = CHANNELS
    layers, tell = torch_told(low, 4 * low)
    attend = lambda level, width: Attend(width) if level else nn.Identity()
    conv = lambda a, b, stride=1: nn.Conv2d(a, b, 3, stride=stride, padding=1)
    halves = nn.ModuleList(conv(a, a, 2) for a in CHANNELS[:-1])
    doubles = nn.ModuleList(conv(a, a) for a in CHANNELS[1:])
    down = nn.ModuleList(
        nn.ModuleList([Block(a, b), attend(level, b)]) for level, (a, b) in enumerate(pairwise((low, *CHANNELS)))
    )
    middle = nn.ModuleList([Block(high, high), Attend(high), Block(high, high)])
    skips = lambda level: (CHANNELS[level], CHANNELS[max(level - 1, 0)])
    came = lambda level, k: CHANNELS[level] if k or level == len(CHANNELS) - 1 else CHANNELS[level + 1]
    up = nn.ModuleList(
        nn.ModuleList(nn.ModuleList([Block(came(level, k) + skips(level)[k], width), attend(level, width)]) for k in (0, 1))
        for level, width in enumerate(CHANNELS)
    )
    first, last, norm = conv(3, low), conv(low, 3), nn.GroupNorm(GROUPS, low, eps=1e-6)
    nets = nn.ModuleList([layers, halves, doubles, down, middle, up, first, last, norm])
    if channels_last:
        nets.to(memory_format=torch.channels_last)

    def denoise(x, t):
        told, h = tell(t), first(x)
        left = [h]
        for level, (block, look) in enumerate(down):
            if level:
                left.append(h := halves[level - 1](h))
            left.append(h := look(block(h, told)))
        h = middle[2](middle[1](middle[0](h, told)), told)
        for level in reversed(range(len(CHANNELS))):
            for block, look in up[level]:
                h = look(block(torch.cat([h, left.pop()], 1), told))
            if level:
                h = doubles[level - 1](functional.interpolate(h, scale_factor=2.0))
        return last(functional.silu(norm(h)))

    return [*nets.parameters()], torch_velocity(denoise, data, channels_last)


def torch_dit(data: Any, channels_last: bool) -> tuple[list, Callable]:
    """The blocks of `genjax.nets.dit`."""
    import torch
    from torch import nn
    from torch.nn import functional

    places = torch.from_numpy(positions([side // PATCH for side in IMAGE[:-1]], DIT_WIDTH))
    width, pixels = DIT_WIDTH, PATCH**2 * IMAGE[-1]
    normal = lambda h: functional.layer_norm(h, (width,), eps=1e-6)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.told, self.qkv, self.out = nn.Linear(width, 6 * width), nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, h, told):
            scale, shift, gate, inner_scale, inner_shift, inner_gate = self.told(told)[:, None].chunk(6, -1)
            qkv = self.qkv((1 + scale) * normal(h) + shift).view(*h.shape[:2], 3, DIT_HEADS, -1).permute(2, 0, 3, 1, 4)
            h = h + gate * self.out(functional.scaled_dot_product_attention(*qkv).transpose(1, 2).reshape(h.shape))
            inner = functional.gelu(self.up((1 + inner_scale) * normal(h) + inner_shift), approximate="tanh")
            return h + inner_gate * self.down(inner)

    layers, tell = torch_told(256, width)
    first, last_told, last = nn.Linear(pixels, width), nn.Linear(width, 2 * width), nn.Linear(width, pixels)
    blocks = nn.ModuleList(Block() for _ in range(DIT_DEPTH))

    def denoise(x, t):
        told, h = tell(t), first(functional.pixel_unshuffle(x, PATCH).flatten(2).mT) + places
        for block in blocks:
            h = block(h, told)
        scale, shift = last_told(told)[:, None].chunk(2, -1)
        h = last((1 + scale) * normal(h) + shift).mT.unflatten(2, [side // PATCH for side in IMAGE[:-1]])
        return functional.pixel_shuffle(h, PATCH)

    params = [p for net in (layers, first, last_told, last, blocks) for p in net.parameters()]
    return params, torch_velocity(denoise, data, channels_last)
