"""Masked tokens beside closed forms: the loss of known conditionals, exact draws in random order, the schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.families.masked import masked, remaining
from genjax.heads import bernoulli, categorical, normals
from genjax.model import as_batch
from genjax.nets import Net, encoder

JOINT = np.array([[0.4, 0.1], [0.05, 0.45]])  # of two places of two tokens
HEAD = categorical(2, grid=False)


def exact() -> Net:
    """The conditionals of JOINT; token 2 is hidden."""

    def apply(params, tokens, y):
        rows, columns = jnp.asarray(JOINT), jnp.asarray(JOINT.T)
        of = lambda table, other: jnp.where((other == 2)[:, None], table.sum(1), table[:, jnp.clip(other, 0, 1)].T)
        return jnp.log(jnp.stack([of(rows, tokens[:, 1]), of(columns, tokens[:, 0])], axis=1))

    return Net(lambda key, *_: {}, apply)


def test_one_place_at_a_time_in_random_order_is_exact():
    model = masked(exact(), (2,), HEAD, optax.sgd(0.1), steps=2, temperature=1e6)
    x = np.asarray(jax.jit(model.sample)({"net": {}}, jax.random.split(jax.random.key(0), 20_000)))
    seen = np.bincount(2 * x[:, 0] + x[:, 1], minlength=4) / len(x)
    assert (np.abs(seen - JOINT.ravel()) < 5 * np.sqrt(JOINT.ravel() / len(x))).all()


def test_both_at_once_forgets_that_they_depend():
    model = masked(exact(), (2,), HEAD, optax.sgd(0.1), steps=1)
    x = np.asarray(jax.jit(model.sample)({"net": {}}, jax.random.split(jax.random.key(0), 20_000)))
    apart = np.outer(JOINT.sum(1), JOINT.sum(0)).ravel()
    seen = np.bincount(2 * x[:, 0] + x[:, 1], minlength=4) / len(x)
    assert (np.abs(seen - apart) < 5 * np.sqrt(apart / len(x))).all()


def test_the_loss_is_the_mean_entropy_of_what_is_hidden():
    """cos(pi r / 2) > 1/2 for r < 2/3: then both places are hidden, else one of the two."""
    model = masked(exact(), (2,), HEAD, optax.sgd(0.1), steps=1)
    entropy = lambda p: -(p * np.log(p)).sum()
    alone = 0.5 * (entropy(JOINT.sum(0)) + entropy(JOINT.sum(1)))
    given = entropy(JOINT) - alone  # mean of the two conditional entropies
    draws = np.random.default_rng(0).choice(4, 40_000, p=JOINT.ravel())
    batch = as_batch(jnp.asarray(np.stack([draws // 2, draws % 2], 1)))
    out = jax.jit(model.stages[0][0].loss)({"net": {}}, jax.random.key(1), batch)
    np.testing.assert_allclose(out.value, 2 / 3 * alone + 1 / 3 * given, atol=0.01)
    np.testing.assert_allclose(out.metrics["hidden"], 2 / 3 + 1 / 6, atol=0.01)


def test_what_is_known_stays_and_the_rest_follows_it():
    model = masked(exact(), (2,), HEAD, optax.sgd(0.1), steps=2)
    keys = jax.random.split(jax.random.key(0), 20_000)
    x = np.asarray(jax.jit(model.complete)({"net": {}}, keys, jnp.ones((len(keys), 1), jnp.int32)))
    assert (x[:, 0] == 1).all()
    np.testing.assert_allclose(x[:, 1].mean(), JOINT[1, 1] / JOINT[1].sum(), atol=0.02)


@pytest.mark.parametrize(("count", "steps"), [(1, 1), (16, 1), (16, 5), (16, 16), (256, 12), (3, 8), (0, 4)])
def test_fewer_stay_hidden_after_each_step_and_none_at_the_end(count, steps):
    left = np.asarray(remaining(count, steps))
    assert len(left) == min(count, steps)
    assert (np.diff([count, *left]) < 0).all() and (count == 0 or left[-1] == 0)


def test_an_encoder_sees_all_places():
    net, tokens = encoder(3, 2, 4, width=8, depth=1, heads=2), jnp.zeros((1, 4), jnp.int32)
    params = jax.jit(net.init)(jax.random.key(0), tokens, None)
    theta = np.asarray(jax.jit(net.apply)(params, jnp.concatenate([tokens, tokens.at[0, 3].set(1)]), None))
    assert (np.abs(theta[0] - theta[1]).max(-1) > 0).all()
    with pytest.raises(ValueError, match="5 places, but context=4"):
        net.init(jax.random.key(0), jnp.zeros((1, 5), jnp.int32))


def test_bad_input_is_named():
    for head in (bernoulli(), normals(2)):
        with pytest.raises(ValueError, match=r"heads\.categorical"):
            masked(exact(), (2,), head, optax.sgd(0.1), steps=1)
    with pytest.raises(ValueError, match=r"1 \.\. 2 steps.*steps=3"):
        masked(exact(), (2,), HEAD, optax.sgd(0.1), steps=3)
    with pytest.raises(ValueError, match=r"gives \(4, 5\) for one example, but this head needs \(4, 2\)"):
        net = encoder(3, 5, 4, width=8, depth=1, heads=2)
        masked(net, (4,), HEAD, optax.sgd(0.1), steps=1).init(jax.random.key(0), as_batch(jnp.zeros((1, 4), jnp.int32)))
    with pytest.raises(ValueError, match=r"opening is \(B, L\) with L <= 2"):
        model = masked(exact(), (2,), HEAD, optax.sgd(0.1), steps=1)
        model.complete({"net": {}}, jax.random.split(jax.random.key(0), 1), jnp.zeros((1, 3), jnp.int32))
