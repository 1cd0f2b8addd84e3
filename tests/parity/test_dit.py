"""Our DiT against diffusers' DiTTransformer2DModel, with random weights: no download.

Theirs keeps the layers that embed time and label once a block, all alike where trained: here the first's are given to all, and
the gradient of ours is the sum of theirs.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import dit
from genjax.nets.time import time_features
from tests.parity import let_torchvision_in, need, tensor

torch = need("torch")
let_torchvision_in()  # diffusers imports it wherever it is there
need("diffusers")

WIDTH, DEPTH, HEADS, CLASSES, SIDE, PATCH = 32, 3, 4, 5, 8, 2
EMBEDDERS = ("timestep_embedder.linear_1", "timestep_embedder.linear_2", "class_embedder.embedding_table")


@pytest.fixture(scope="module")
def theirs():
    from diffusers import DiTTransformer2DModel

    torch.manual_seed(0)
    model = DiTTransformer2DModel(
        num_attention_heads=HEADS, attention_head_dim=WIDTH // HEADS, in_channels=3, out_channels=6, num_layers=DEPTH,
        sample_size=SIDE, patch_size=PATCH, num_embeds_ada_norm=CLASSES, norm_eps=1e-6,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        for block in model.transformer_blocks:
            block.norm1.emb.load_state_dict(model.transformer_blocks[0].norm1.emb.state_dict())
    return model


def weights(state, join):
    """Their weights, or gradients, as parameters of ours; `join` makes one embedder out of those of all blocks."""
    get = {name: jnp.asarray(value.numpy()) for name, value in state.items()}.__getitem__
    dense = lambda part: {"kernel": get(f"{part}.weight").T, "bias": get(f"{part}.bias")}
    stack = lambda make: jax.tree.map(lambda *a: jnp.stack(a), *(make(f"transformer_blocks.{k}") for k in range(DEPTH)))
    embedder = lambda part: join(stack(lambda block: get(f"{block}.norm1.emb.{part}")))
    beside = lambda *parts: jax.tree.map(lambda *a: jnp.concatenate(a, axis=-1), *parts)

    def block(part):
        return {
            "told": scale_first(dense(f"{part}.norm1.linear"), (1, 0, 2, 4, 3, 5)),
            "qkv": beside(*(dense(f"{part}.attn1.to_{name}") for name in "qkv")),
            "out": dense(f"{part}.attn1.to_out.0"),
            "up": dense(f"{part}.ff.net.0.proj"),
            "down": dense(f"{part}.ff.net.2"),
        }

    def scale_first(layer, order):
        """Theirs answers shift, scale (and gate), ours scale, shift (and gate)."""
        parts = {name: jnp.split(value, len(order), axis=-1) for name, value in layer.items()}
        return {name: jnp.concatenate([values[k] for k in order], axis=-1) for name, values in parts.items()}

    layer = lambda part: {"kernel": embedder(f"{part}.weight").T, "bias": embedder(f"{part}.bias")}
    kernel = get("pos_embed.proj.weight").transpose(2, 3, 1, 0).reshape(-1, WIDTH)
    told = {name: layer(part) for name, part in zip(("first", "second"), EMBEDDERS, strict=False)}
    return {
        "told": told | {"conditions": {"kernel": embedder(f"{EMBEDDERS[2]}.weight")}},
        "first": {"kernel": kernel, "bias": get("pos_embed.proj.bias")},
        "blocks": stack(block),
        "last_told": scale_first(dense("proj_out_1"), (1, 0)),
        "last": dense("proj_out_2"),
    }


def test_outputs_and_gradients_are_theirs(theirs):
    rng = np.random.default_rng(0)
    x, toward = (rng.standard_normal((3, SIDE, SIDE, channels)).astype(np.float32) for channels in (3, 6))
    step, labels = np.array([3, 400, 977]), np.array([0, CLASSES, 2])  # the one after the last is "no class"
    answer = theirs(tensor(x.transpose(0, 3, 1, 2)), tensor(step), tensor(labels)).sample
    (answer * tensor(toward.transpose(0, 3, 1, 2))).sum().backward()
    features = partial(time_features, size=256)
    ours = dit((SIDE, SIDE, 6), patch=PATCH, width=WIDTH, depth=DEPTH, heads=HEADS, features=features)
    y = jax.nn.one_hot(labels, CLASSES + 1)

    @jax.jit
    def both(params):
        apply = lambda params: ours.apply(params, x, step / 1000.0, y)
        return apply(params), jax.grad(lambda params: jnp.sum(apply(params) * toward))(params)

    params = weights({name: value.detach() for name, value in theirs.named_parameters()}, lambda all: all[0])
    shapes = jax.eval_shape(ours.init, jax.random.key(0), x, step / 1000.0, y)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
    out, grads = both(params)
    expected = answer.detach().numpy().transpose(0, 2, 3, 1)
    assert expected.std() > 0.3
    np.testing.assert_allclose(out, expected, atol=1e-4)
    wanted = weights({name: value.grad for name, value in theirs.named_parameters()}, lambda all: all.sum(0))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))
    jax.tree.map(close, grads, wanted)
