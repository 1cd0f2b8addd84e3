"""judged(model, critic): a model of sequences that earns a critic's verdict on them, token by token (SeqGAN, 1609.05473).

    stages 1 ..   the model's own, its maximum likelihood
    stage n       critic      min  E log(1 + e^-D(x)) + E log(1 + e^D(x')),   x data, x' ~ model, which rests        (1)
    stage n + 1   critic      the same, and
                  generator   max  E_x' sum_t A_t log p(x'_t | x'_<t)                                                (2)
                  A_t = V(c') - V(c),  c < t <= c' neighbouring cuts,  V(c) = E[ s(D(x'')) | x'' begins x'_1 .. x'_c ]

s(D) is the critic's probability that a sequence is real; V(c) is its mean over Monte Carlo roll-outs of the first c tokens, and
V(T) that of the sequence itself. With a cut at every place V(t) is the paper's action value Q of token t, and V(t - 1), the
value before it, the baseline: it knows nothing of token t, so (2) has the gradient of E s(D(x')), exact on average.

It stays exact with fewer cuts, since the model drew what lies between t and the next cut as well; that trades variance for
time. Cuts are drawn anew for each example, one in each of as many equal stretches; cut 0, where samples are fresh, is the
baseline of the first tokens. The length of a prefix is data to `complete`, so the roll-outs of all examples, cuts and repeats
are one batch of one compiled loop, whatever T; what it draws inside of prefixes, about half, is thrown away.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from genjax.hybrids.adversarial import adversarial
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, need, stream
from genjax.nets import Net


def judged(
    model: Model,
    critic: Net,
    tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
    *,
    cuts: int | None = None,
    rollouts: int = 16,
    when: Callable[[jax.Array], jax.Array] | None = None,
    name: str = "critic",
) -> Model:
    """The model with the branch `name` more, and two stages: the critic alone, then both.

    Args:
      model: an autoregressive one: with `by_place` and `complete`.
      critic: x -> (B,) logits, high for real.
      tx: optimizer of the generator's move.
      critic_tx: optimizer of the critic's.
      cuts: prefixes that each sequence is rolled out from, beside the empty one; None for every place but the last, as in
        the paper, 0 for the verdict on whole sequences alone (REINFORCE).
      rollouts: of each prefix.
      when: step of the last stage -> whether the generator moves.
      name: of the critic's branch.
    """
    terms, complete = need(model, "by_place", "judged"), need(model, "complete", "judged")
    if rollouts < 1:
        raise ValueError(f"judged needs rollouts >= 1, not {rollouts}")

    def verdict(params: Params, x: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(critic.apply(params[name], x))

    def values(params: Params, key: jax.Array, batch: Batch, opening: jax.Array, at: jax.Array) -> jax.Array:
        """V (B, K) of prefixes of lengths `at` (B, K); that of the empty one, the first, is one for all."""
        number = jnp.arange(at.shape[1] * rollouts)
        keys = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(example_keys(key, batch), number).reshape(-1)
        opening, y = (rows if rows is None else jnp.repeat(rows, len(number), axis=0) for rows in (opening, batch.get("y")))
        x = complete(params, keys, opening, y, known=jnp.repeat(at.reshape(-1), rollouts))
        v = verdict(params, x).reshape(*at.shape, rollouts).mean(-1)
        return v.at[:, 0].set(v[:, 0].mean())

    def please(params: Params, key: jax.Array, batch: Batch) -> Loss:
        still = jax.lax.stop_gradient(params)
        x = model.sample(still, example_keys(stream(key, "draw"), batch), batch.get("y"))
        log_p = terms(params, batch | {"x": x})
        opening, log_p = x.reshape(len(x), -1, *x.shape[log_p.ndim :]), log_p.reshape(len(x), -1)
        at, earned = prefixes(stream(key, "cuts"), batch, log_p.shape[1], cuts), verdict(still, x)
        v = jnp.concatenate([values(still, stream(key, "rollouts"), batch, opening, at), earned[:, None]], axis=1)
        before = jnp.sum(at[:, None] <= jnp.arange(log_p.shape[1])[:, None], axis=-1) - 1  # of each token, the cut
        gain = jnp.take_along_axis(jnp.diff(v), before, axis=1)
        value = -jnp.mean(jnp.sum(gain * log_p, axis=1))  # 2
        return Loss(value, {"reward": earned.mean(), "reward_spread": earned.std(), "advantage": jnp.abs(gain).mean()})

    whole = adversarial(model, critic, tx, critic_tx, name=name)
    moves = whole.stages[-1][len(model.stages[-1]) :]
    judging = tuple(move for move in moves if move.name != f"{name}/generator")  # 1
    move = Phase(f"{name}/generator", please, model.generates, tx, when)
    return whole._replace(stages=(*model.stages, judging, (*judging, move)))


def prefixes(key: jax.Array, batch: Batch, places: int, cuts: int | None = None) -> jax.Array:
    """(B, cuts + 1) rising lengths of prefixes: 0, and one in each of `cuts` equal stretches of 1 .. places - 1."""
    most = places - 1
    cuts = most if cuts is None else cuts
    if not 0 <= cuts <= most:
        raise ValueError(f"judged cuts a sequence of {places} places at 0 .. {most} of them, not cuts={cuts}")
    keys = example_keys(key, batch)
    shift = jax.vmap(lambda key: jax.random.randint(key, (1,), 0, max(1, most)))(keys)
    return jnp.concatenate([0 * shift, 1 + (jnp.arange(cuts) * most + shift) // max(1, cuts)], axis=1)
