"""rewarded(model, reward): go on with a trained model so that its samples earn more.

    stage 1 ..   the model's own, while the branch `reference` follows                       branches "model/...", "reference"
    stage n      maximize E r(x), x ~ model, near the reference, by one of three gradients:

    pathwise       -r(G(z)) through the sampler, where it and the reward are differentiable                         (1)
    likelihood     -(r - mean of the others') log p(x), x constant (REINFORCE; 1609.05473 with a critic for reward)   (2)
    filtered       the model's own losses on the best share of its own samples (reward-filtered retraining)          (3)

with `anchor` times log p(x) - log p_ref(x) taken off the reward in (2), which makes it E r - anchor KL(p || reference).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from genjax.families import CAPABLE
from genjax.hybrids.copying import copying
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, memory_under, need, stream, under

Reward = Callable[..., jax.Array]  # (x (B, ...), y=None) -> (B,), more is better
Way = Callable[[Model, Reward], Callable[[Params, Params, jax.Array, Batch], Loss]]  # -> loss(params, reference, key, batch)


def rewarded(model: Model, reward: Reward, tx: optax.GradientTransformation, way: Way | None = None) -> Model:
    """A model with the branches `model` and `reference`, of one stage more.

    Args:
      model: any model; `way` says what it must be able to do.
      reward: of finished samples, as the model gives them. What is not finite skips the step, and is told.
      tx: optimizer of the last stage.
      way: `pathwise()` by default, `likelihood(...)`, `filtered(...)`.
    """
    if not model.generates:
        raise ValueError("rewarded trains the branches through which a model samples; this one names none in `generates`")
    loss = (way or pathwise())(model, reward)

    def init(key: jax.Array, batch: Batch) -> Params:
        params = model.init(stream(key, "model"), batch)
        earned = jax.eval_shape(lambda: reward(*_drawn(model, params, key, batch)))
        if earned.shape != batch["x"].shape[:1]:
            raise ValueError(f"a reward is one number a sample, (B,); this one gives {earned.shape}")
        return {"model": params, "reference": jax.tree.map(jnp.copy, params)}

    def earn(params: Params, key: jax.Array, batch: Batch) -> Loss:
        return loss(params["model"], jax.lax.stop_gradient(params["reference"]), key, batch)

    follow = copying(("model",), ("reference",), "reference/follow")
    first = [tuple(under("model", phase) for phase in stage) for stage in model.stages]
    first[-1] += (follow,)
    trains = tuple(f"model/{path}" for path in model.generates)
    inside = lambda one: one and (lambda params, *inputs, **asked: one(params["model"], *inputs, **asked))
    able = {name: inside(getattr(model, name)) for name in CAPABLE if name != "latent_code"}
    code = model.latent_code
    return Model(
        init,
        (*first, (Phase("reward", earn, trains, tx),)),
        lambda params, keys, y=None: model.sample(params["model"], keys, y),
        trains,
        memory=memory_under({"model": model}),
        latent_code=code and code._replace(posterior=inside(code.posterior), log_mass=inside(code.log_mass)),
        process=model.process,
        **able,
    )


def pathwise(anchor: float = 0.0) -> Way:
    """(1); `anchor` weighs the squared distance to what the reference makes of the same noise."""

    def way(model: Model, reward: Reward):
        def loss(params: Params, reference: Params, key: jax.Array, batch: Batch) -> Loss:
            x, y = _drawn(model, params, key, batch)
            if not jnp.issubdtype(x.dtype, jnp.floating):
                raise ValueError("tokens have no gradient for rewarded by pathwise(): give way=likelihood() or filtered()")
            earned = reward(x, y)
            far = jnp.mean((x - _drawn(model, reference, key, batch)[0]) ** 2) if anchor else 0.0
            return Loss(anchor * far - earned.mean(), {"reward": earned.mean(), "reward_spread": earned.std()})

        return loss

    return way


def likelihood(anchor: float = 0.0) -> Way:
    """(2), for models with `log_prob`: tokens, and everything else that cannot be differentiated."""

    def way(model: Model, reward: Reward):
        density = need(model, "log_prob", "rewarded by likelihood")

        def loss(params: Params, reference: Params, key: jax.Array, batch: Batch) -> Loss:
            x, y = _drawn(model, jax.lax.stop_gradient(params), key, batch)
            log_p, earned = density(params, batch | {"x": x}), reward(x, y)
            drift = jax.lax.stop_gradient(log_p - density(reference, batch | {"x": x}))
            gain = jax.lax.stop_gradient(earned - anchor * drift)
            if len(gain) < 2:
                raise ValueError("rewarded by likelihood() compares samples of a batch on one device: give it 2 rows or more")
            others = (gain.sum() - gain) / (len(gain) - 1)  # a baseline with the sample itself in it would shrink the gradient
            value = -jnp.mean((gain - others) * log_p)
            return Loss(value, {"reward": earned.mean(), "reward_spread": earned.std(), "drift": drift.mean()})

        return loss

    return way


def filtered(share: float = 0.25) -> Way:
    """(3): samples of the reference, of which the best `share` stand for data in the losses that train the sampler last.

    Each example's row is repeated, so that a batch keeps its size.
    """
    if not 0 < share < 1:
        raise ValueError(f"filtered keeps a share of the samples between 0 and 1, not {share}")

    def way(model: Model, reward: Reward):
        if model.memory:
            raise ValueError("rewarded by filtered() repeats the best rows, and a model's memory belongs to each row: give "
                             "way=pathwise()")  # fmt: skip
        own = [phase for phase in model.stages[-1] if set(phase.trains) & set(model.generates)]
        if not own:
            trained = ", ".join(path for phase in model.stages[-1] for path in phase.trains)
            raise ValueError(
                "rewarded by filtered() learns by the model's own losses, and none of its last stage trains its sampler: "
                f"they train {trained}; it samples through {', '.join(model.generates)}. Give way=pathwise() or likelihood()"
            )

        def loss(params: Params, reference: Params, key: jax.Array, batch: Batch) -> Loss:
            x, y = _drawn(model, reference, key, batch)
            earned = reward(x, y)
            best = jnp.resize(jnp.argsort(-earned)[: max(1, round(share * len(x)))], len(x))
            kept = batch | {"x": x[best]} | ({} if y is None else {"y": y[best]})
            value = sum(phase.loss(params, stream(key, phase.name), kept).value for phase in own)
            value = jnp.where(jnp.isfinite(earned).all(), value, jnp.nan)  # a reward of NaN only sorts last
            return Loss(value, {"reward": earned.mean(), "reward_kept": earned[best].mean()})

        return loss

    return way


def _drawn(model: Model, params: Params, key: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array | None]:
    """(samples, the labels they were asked for)."""
    return model.sample(params, example_keys(stream(key, "draw"), batch), batch.get("y")), batch.get("y")
