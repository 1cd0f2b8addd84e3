"""Our UNet against diffusers' UNet2DModel, with random weights: no download.

Theirs is DDPM's: sine features at the step 1000 t, a row and a column of zeros after the image where a side halves.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import unet
from genjax.nets.conv import GroupNorm
from genjax.nets.time import time_features
from tests.parity import let_torchvision_in, need, tensor

torch = need("torch")
let_torchvision_in()  # diffusers imports it wherever it is there
need("diffusers")

WIDTHS, BLOCKS, HEAD, GROUPS, CLASSES, SIDE = (16, 32), 2, 8, 8, 5, 8
CASES = {  # levels that attend, whether it is told a class
    "a level and the middle, classes": ((1, 2), True),
    "the middle": ((2,), False),
    "no attention": ((), False),
}


def their_net(attention, classes):
    from diffusers import UNet2DModel

    kinds = ["Attn" if level in attention else "" for level in range(len(WIDTHS))]
    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=SIDE, in_channels=3, out_channels=2, block_out_channels=WIDTHS, layers_per_block=BLOCKS,
        down_block_types=[f"{kind}DownBlock2D" for kind in kinds], up_block_types=[f"{kind}UpBlock2D" for kind in kinds[::-1]],
        attention_head_dim=HEAD, norm_num_groups=GROUPS, downsample_padding=0, freq_shift=1,
        add_attention=len(WIDTHS) in attention, num_class_embeds=CLASSES if classes else None,
    ).eval()  # fmt: skip
    with torch.no_grad():  # as it starts, norms are one and biases small
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model


def our_net(attention):
    norm = partial(GroupNorm, GROUPS, epsilon=1e-5)
    heads, features = [width // HEAD for width in WIDTHS], partial(time_features, size=WIDTHS[0])
    return unet(WIDTHS, (SIDE, SIDE, 2), blocks=BLOCKS, attention=attention, heads=heads, norm=norm, features=features)


def weights(state):
    """Their weights, or gradients, as parameters of ours."""
    get = {name: jnp.asarray(value.numpy()) for name, value in state.items()}.__getitem__
    there = lambda part: f"{part}.weight" in state
    conv = lambda part: {"kernel": get(f"{part}.weight").transpose(2, 3, 1, 0), "bias": get(f"{part}.bias")}
    dense = lambda part: {"kernel": get(f"{part}.weight").T, "bias": get(f"{part}.bias")}
    norm = lambda part: {"scale": get(f"{part}.weight"), "bias": get(f"{part}.bias")}

    def block(part):
        straight = {"straight": conv(f"{part}.conv_shortcut")} if there(f"{part}.conv_shortcut") else {}
        told = {"told": {"Dense_0": dense(f"{part}.time_emb_proj")}}
        parts = {
            f"{kind}_{n}": make(f"{part}.{kind}{n + 1}") for kind, make in (("norm", norm), ("conv", conv)) for n in (0, 1)
        }
        return parts | told | straight

    def look(part):
        key, value = dense(f"{part}.to_k"), dense(f"{part}.to_v")
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), key, value)
        out = dense(f"{part}.to_out.0")
        return {"norm": norm(f"{part}.group_norm"), "query": dense(f"{part}.to_q"), "key_value": both, "out": out}

    told = {"first": dense("time_embedding.linear_1"), "second": dense("time_embedding.linear_2")}
    told |= {"conditions": {"kernel": get("class_embedding.weight")}} if there("class_embedding") else {}
    params = {"told": told, "first": conv("conv_in"), "last_norm": norm("conv_norm_out"), "last": conv("conv_out")}
    last = len(WIDTHS) - 1
    for level in range(len(WIDTHS)):
        if level:
            params[f"down_{level}_halve"] = conv(f"down_blocks.{level - 1}.downsamplers.0.conv")
            params[f"up_{level}_double"] = conv(f"up_blocks.{last - level}.upsamplers.0.conv")
        ways = (("down", level, BLOCKS), ("up", last - level, BLOCKS + 1))
        for name, part, count in ((f"{way}_{level}", f"{way}_blocks.{place}", count) for way, place, count in ways):
            for number in range(count):
                params[f"{name}_{number}_block"] = block(f"{part}.resnets.{number}")
                if there(f"{part}.attentions.{number}.to_q"):
                    params[f"{name}_{number}_attend"] = look(f"{part}.attentions.{number}")
    for number in (0, 1):
        params[f"middle_{number}_block"] = block(f"mid_block.resnets.{number}")
    if there("mid_block.attentions.0.to_q"):
        params["middle_attend"] = look("mid_block.attentions.0")
    return params


@pytest.mark.parametrize(("attention", "classes"), CASES.values(), ids=CASES)
def test_outputs_and_gradients_are_theirs(attention, classes):
    rng = np.random.default_rng(0)
    x, toward = (rng.standard_normal((3, SIDE, SIDE, channels)).astype(np.float32) for channels in (3, 2))
    step, labels = np.array([3, 400, 977]), np.array([0, 4, 2])
    theirs, ours = their_net(attention, classes), our_net(attention)
    answer = theirs(tensor(x.transpose(0, 3, 1, 2)), tensor(step), tensor(labels) if classes else None).sample
    (answer * tensor(toward.transpose(0, 3, 1, 2))).sum().backward()
    y = jax.nn.one_hot(labels, CLASSES) if classes else None

    @jax.jit
    def both(params):
        apply = lambda params: ours.apply(params, x, step / 1000.0, y)
        return apply(params), jax.grad(lambda params: jnp.sum(apply(params) * toward))(params)

    params = weights({name: value.detach() for name, value in theirs.named_parameters()})
    shapes = jax.eval_shape(ours.init, jax.random.key(0), x, step / 1000.0, y)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
    out, grads = both(params)
    expected = answer.detach().numpy().transpose(0, 2, 3, 1)
    assert expected.std() > 0.3
    np.testing.assert_allclose(out, expected, atol=1e-4)
    wanted = weights({name: value.grad for name, value in theirs.named_parameters()})
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))
    jax.tree.map(close, grads, wanted)
