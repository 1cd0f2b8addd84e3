"""Our transformer against the GPT-2 of Hugging Face transformers, with random weights: no download.

Ours is fed a start and x_1 .. x_{T-1}, theirs tokens alone: the start is the embedding of a token that opens the text.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.families.autoregressive import autoregressive
from genjax.heads import categorical
from genjax.nets import gpt
from tests.parity import let_torchvision_in, need, tensor

torch = need("torch")
let_torchvision_in()  # transformers imports it wherever it is there
transformers = need("transformers")

LEVELS, WIDTH, DEPTH, HEADS, CONTEXT = 61, 32, 3, 4, 20
OPENING = 7
layer_norm = partial(nn.LayerNorm, epsilon=1e-5)


@pytest.fixture(scope="module")
def theirs():
    config = transformers.GPT2Config(
        vocab_size=LEVELS, n_positions=CONTEXT, n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # as it starts, biases are zero, norms one, and all tokens about as likely
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model


def net(**more):
    return gpt(LEVELS, LEVELS, CONTEXT, width=WIDTH, depth=DEPTH, heads=HEADS, rotary=False, norm=layer_norm, bias=True, **more)


def weights(theirs, opening=OPENING):
    """Their weights as parameters of ours; the prefix and the head share the embeddings of the tokens."""
    state = {name: jnp.asarray(value.numpy()) for name, value in theirs.state_dict().items()}
    stack = lambda part: jnp.stack([state[f"transformer.h.{k}.{part}"] for k in range(DEPTH)])
    dense = lambda part: {"kernel": stack(f"{part}.weight"), "bias": stack(f"{part}.bias")}
    norm = lambda part: {"scale": stack(f"{part}.weight"), "bias": stack(f"{part}.bias")}
    tokens = state["transformer.wte.weight"]
    return {
        "token": {"embedding": tokens},
        "prefix": {"embedding": tokens},
        "start": tokens[opening],
        "position": {"embedding": state["transformer.wpe.weight"]},
        "blocks": {
            "LayerNorm_0": norm("ln_1"),
            "qkv": dense("attn.c_attn"),
            "out": dense("attn.c_proj"),
            "LayerNorm_1": norm("ln_2"),
            "up": dense("mlp.c_fc"),
            "down": dense("mlp.c_proj"),
        },
        "last_norm": {"scale": state["transformer.ln_f.weight"], "bias": state["transformer.ln_f.bias"]},
        "head": {"kernel": tokens.T, "bias": jnp.zeros(LEVELS)},
    }


def some_tokens(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, LEVELS, shape)


def their_logits(theirs, tokens):
    with torch.no_grad():
        return theirs(input_ids=tensor(tokens)).logits.numpy()


def our_walk(net, params, tokens, condition):
    """(B, T, levels) logits by the cache of keys and values."""
    state, step = net.walk(params, len(tokens), tokens.shape[1:], condition)
    before = jnp.concatenate([jnp.zeros_like(tokens[:, :1]), tokens[:, :-1]], axis=1)  # the first is ignored

    def one(state, place):
        return step(state, place, before[:, place])

    return jax.lax.scan(one, state, jnp.arange(tokens.shape[1]))[1].swapaxes(0, 1)


def test_every_weight_has_its_place(theirs):
    tokens = jnp.asarray(some_tokens(2, 5))
    shapes = jax.eval_shape(net(prefix_levels=LEVELS).init, jax.random.key(0), tokens, tokens)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, weights(theirs))
    ours = sum(leaf.size for leaf in jax.tree.leaves(weights(theirs)))
    twice = 2 * LEVELS * WIDTH + WIDTH + LEVELS  # prefix and head, the start, and a bias that theirs does not have
    assert ours - twice == sum(weight.numel() for weight in theirs.parameters())


@pytest.mark.parametrize("prefix", [0, 6])
def test_logits_are_theirs_cached_or_not(theirs, prefix):
    tokens, before = some_tokens(3, CONTEXT - prefix), some_tokens(3, prefix, seed=1)
    ours, params = net(prefix_levels=LEVELS if prefix else 0), weights(theirs)
    condition = jnp.asarray(before) if prefix else None
    fed = np.concatenate([before, np.full((3, 1), OPENING), tokens[:, :-1]], axis=1)
    expected = their_logits(theirs, fed)[:, prefix:]
    assert expected.std() > 1
    np.testing.assert_allclose(jax.jit(ours.apply)(params, jnp.asarray(tokens), condition), expected, atol=1e-4)
    walked = jax.jit(partial(our_walk, ours))(params, jnp.asarray(tokens), condition)
    np.testing.assert_allclose(walked, expected, atol=1e-4)


@pytest.fixture(scope="module")
def greedy(theirs):
    """What theirs continues four openings with, by its cache and without."""
    openings = np.array([[3], [OPENING], [20], [44]])
    go_on = lambda cache: theirs.generate(
        tensor(openings), attention_mask=tensor(np.ones_like(openings)), do_sample=False, use_cache=cache,
        max_new_tokens=CONTEXT - 1, pad_token_id=0,
    )[:, 1:].numpy()  # fmt: skip
    assert (go_on(True) == go_on(False)).all()
    return openings[:, 0], go_on(True)


@pytest.mark.parametrize("cached", [True, False])
def test_greedy_tokens_are_theirs_cached_or_not(theirs, greedy, cached):
    openings, expected = greedy
    assert len(np.unique(expected)) > 10  # it does not go round in a small circle
    head = categorical(LEVELS, grid=False, top_k=1)
    model = autoregressive(net(), (CONTEXT - 1,), head, None, cached=cached)
    sample = jax.jit(lambda params: model.sample({"net": params}, jax.random.split(jax.random.key(0), 1))[0])
    tokens = [sample(weights(theirs, opening)) for opening in openings]
    np.testing.assert_array_equal(tokens, expected)
