"""SeqGAN: the policy gradient by enumeration, roll-outs that keep their prefix, a critic that learns alone first."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genjax
from genjax.families.autoregressive import autoregressive
from genjax.heads import categorical
from genjax.hybrids.judged import judged, prefixes
from genjax.model import as_batch, stream
from genjax.nets import Net, lstm, text_critic
from tests.table import adam, small, toy_vae

T, ROWS = 3, 128
STATES = as_batch(jnp.asarray([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]))
DATA = as_batch(jnp.zeros((ROWS, T), jnp.int32))
TABLE = Net(  # a critic that knows every sequence of two tokens
    lambda key, x: {"logits": 3.0 * jax.random.normal(key, (2**T,))},
    lambda params, x: params["logits"][x @ jnp.asarray([4, 2, 1])],
)


def words(**options) -> genjax.Model:
    return autoregressive(lstm(2, 2, width=4, embedding=3), (T,), categorical(2, grid=False), adam(), **options)


def whole(critic=TABLE, model=None, lr=1e-2, **options) -> genjax.Model:
    return judged(model or words(), critic, optax.adam(lr), optax.adam(lr), **options)


def begun(model, data=DATA):
    return jax.jit(model.init)(jax.random.key(0), data)


def policy_gradients(model, params, count):
    """Of the generator's move, (count, number of parameters), one a key."""
    move = model.stages[-1][-1]

    def one(key):
        return jax.grad(lambda net: move.loss(params | {"net": net}, key, DATA).value)(params["net"])

    grads = jax.jit(partial(jax.lax.map, one))(jax.random.split(jax.random.key(1), count))
    return np.concatenate([np.asarray(leaf).reshape(count, -1) for leaf in jax.tree.leaves(grads)], axis=1)


@pytest.mark.parametrize("cuts", [None, 1, 0])
def test_the_policy_gradient_is_that_of_the_expected_verdict_by_enumeration(cuts):
    model = whole(cuts=cuts, rollouts=2)
    params = begun(model)
    earned = jax.nn.sigmoid(TABLE.apply(params["critic"], STATES["x"]))
    expected = lambda net: -(jnp.exp(model.log_prob(params | {"net": net}, STATES)) * earned).sum()
    exact = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(jax.jit(jax.grad(expected))(params["net"]))])
    seen = policy_gradients(model, params, 64)
    error = seen.std(0) / 8
    assert (np.abs(seen.mean(0) - exact) < 5 * error + 1e-6).all()
    assert np.abs(exact).max() > 10 * error.max()


def test_credit_goes_to_the_token_that_earned_it():
    """A verdict on the second token alone: with a cut at every place no other token gains from it."""
    critic = Net(TABLE.init, lambda params, x: 4.0 * x[:, 1] - 2.0)
    probed = words()._replace(by_place=lambda params, batch: params["probe"])  # its gradient is -gain / ROWS

    def gains(cuts):
        move = whole(critic, probed, cuts=cuts, rollouts=2).stages[-1][-1]
        of = lambda probe: move.loss(begun_model | {"probe": probe}, jax.random.key(3), DATA).value
        return -ROWS * np.asarray(jax.jit(jax.grad(of))(jnp.zeros((ROWS, T))))

    begun_model = begun(whole(critic))
    every, none = gains(None), gains(0)
    assert np.abs(every[:, 1]).max() > 0.2 and np.abs(every[:, 2]).max() < 1e-6
    assert np.abs(every[:, 0].mean()) < 0.1 < np.abs(every[:, 0]).max()  # of two roll-outs, which differ in the second
    assert (np.ptp(none, axis=1) == 0).all() and np.ptp(none) > 0.5
    np.testing.assert_allclose(every.sum(1), none[:, 0], atol=1e-6)  # where V of the empty prefix is the same


def test_rollouts_keep_their_prefix_and_go_on_in_many_ways():
    inner, seen = words(), {}

    def spied(params, keys, opening, y=None, known=None):
        seen.update(opening=opening, known=known, x=inner.complete(params, keys, opening, y, known=known))
        return seen["x"]

    model = whole(model=inner._replace(complete=spied), rollouts=4)

    @jax.jit
    def run(params, key):
        loss = model.stages[-1][-1].loss(params, key, DATA)
        return loss.metrics, dict(seen)

    metrics, got = run(begun(model), jax.random.key(3))
    known, opening, x = (np.asarray(got[name]) for name in ("known", "opening", "x"))
    assert x.shape == (ROWS * T * 4, T)
    np.testing.assert_array_equal(known, np.tile(np.repeat(np.arange(T), 4), ROWS))
    kept = np.arange(T) < known[:, None]
    np.testing.assert_array_equal(np.where(kept, x, 0), np.where(kept, opening, 0))
    free = x.reshape(ROWS, T, 4, T)
    assert all((free[:, cut, :, place].std(1) > 0).mean() > 0.5 for cut in range(T) for place in range(cut, T))
    assert 0 < metrics["advantage"] < 1


def test_prefixes_lie_in_their_stretches_and_everywhere():
    data = as_batch(jnp.zeros((300, 1)))
    np.testing.assert_array_equal(prefixes(jax.random.key(0), data, 5), np.tile(np.arange(5), (300, 1)))
    at = np.asarray(prefixes(jax.random.key(0), data, 20, 3))
    assert at.shape == (300, 4) and (at[:, 0] == 0).all() and (np.diff(at) > 0).all()
    assert set(at[:, 1:].ravel()) == set(range(1, 20))
    assert np.unique(prefixes(jax.random.key(0), data, 20, 0)).tolist() == [0]


def test_the_critic_learns_alone_and_then_the_model_earns_more():
    """Data that begin with 1 and repeat themselves, and a model that begins by guessing."""
    data = as_batch(jnp.ones((64, T), jnp.int32))
    model = whole(text_critic(2, windows=(2,), features=4, embedding=3), lr=0.03, cuts=1, rollouts=2)
    assert [[phase.name for phase in stage] for stage in model.stages] == [
        ["likelihood"], ["critic"], ["critic", "critic/generator"],
    ]  # fmt: skip
    state = jax.jit(partial(genjax.init, model))(jax.random.key(0), data)
    first, ones = state.params["net"], lambda state: float(jnp.exp(model.log_prob(state.params, data)[0]))
    for stage, steps in ((1, 40), (2, 120)):
        state, step = genjax.next_stage(model, state, stage), jax.jit(genjax.make_step(model, stage))
        for _ in range(steps):
            state, metrics = step(state, data)
        if stage == 1:
            assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (first, state.params["net"])), strict=True))
            assert metrics["critic/accuracy"] > 0.8 and ones(state) < 0.3
    assert ones(state) > 0.8
    assert np.isfinite(metrics["critic/generator/reward"])


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="judged needs a model with `by_place`; this one has encode, decode, bound"):
        judged(toy_vae(), small(()), adam(), adam())
    with pytest.raises(ValueError, match="rollouts >= 1, not 0"):
        whole(rollouts=0)
    with pytest.raises(ValueError, match=r"3 places at 0 \.\. 2 of them, not cuts=3"):
        prefixes(stream(jax.random.key(0), "cuts"), DATA, T, 3)
