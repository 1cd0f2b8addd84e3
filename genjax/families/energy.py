"""Energy-based models: p(x) = exp(-E(x)) / Z with a network for E and a Z that nobody knows.

By chains (1903.08689), E = f / T with the network f and a temperature T:

    loss = f(x) - f(x') + alpha ( f(x)^2 + f(x')^2 )                                                       (1) + (2)

x' are where Markov chains of p have come: those of an example rest in `memory` and are moved on a little in each step. Where
they are draws of p the gradient of (1) is T times that of -log p. With Langevin moves of the step s,

    x' <- x' - s/2T grad f(x') + sqrt(s) noise

the usual large gradient step with little noise is a low temperature: step 10 with noise 0.005 is s = 2.5e-5, T = 1.25e-6.

By denoising score matching at levels sigma (1907.05600), from a network of an energy or of a score:

    loss = 1/2 E || sigma score(x + sigma e; sigma) + e ||^2 / D,   score = -grad E                        (3)

The network sees u = x / c of about unit size at every level, c^2 = 1 + sigma^2, and f(u) gives E = f c / sigma, so that
sigma score = -grad f(u) is of unit size too.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import optax

from genjax.chains import Field, Kernel, Run, annealed, contrast, drift, langevin, run, scalar
from genjax.conditions import told
from genjax.model import Batch, Loss, Model, Params, Phase, example_keys, named, normal, stream
from genjax.nets import Net


def energy(
    net: Net,
    shape: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    kernel: Callable[[Field], Kernel] = partial(langevin, step=0.01),
    steps: int = 40,
    sampling_steps: int = 400,
    temperature: float = 1.0,
    start: Callable[[jax.Array, tuple[int, ...]], jax.Array] = jax.random.normal,
    slots: int = 1,
    fresh: float = 0.05,
    alpha: float = 0.0,
    data_noise: float = 0.0,
    classes: int = 0,
) -> Model:
    """An energy-based model with the branch `energy`, learnt from persistent chains.

    Args:
      net: (x, condition) -> (B,), f of (1).
      shape: of one example.
      tx: optimizer.
      kernel: log p -> how chains move, see `genjax.chains`. Give Langevin moves the box of the data (`into`): nothing else
        keeps chains from leaving for where a young network's energy is flat.
      steps: moves of a chain in each training step.
      sampling_steps: moves of a sample from its start.
      temperature: T of E = f / T; the chains of a low one go straight down.
      start: (key, shape) -> where a chain begins.
      slots: chains that an example's place in the batch keeps; one of them, drawn anew in each step, is moved. More of them
        are a longer replay: batch * slots chains in all.
      fresh: the share of chains that begin anew in a step.
      alpha: weight of (2), which keeps f near zero.
      data_noise: standard deviation of normal noise on the data.
      classes: condition on labels 0 .. classes - 1; 0 for none. A chain keeps the label that it began with.

    Returns:
      A Model with `energy` and with rows of `memory`. It has no `log_prob`.
    """
    shape = tuple(shape)
    _check(kernel, steps, sampling_steps, temperature, slots, fresh, alpha)

    def condition(y):
        return told(y, classes)

    def f(params: Params, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return net.apply(params["energy"], x, condition(y))

    def init(key: jax.Array, batch: Batch) -> Params:
        return {"energy": scalar(net, stream(key, "energy"), batch["x"], condition(batch.get("y")))}

    def begin(keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: start(stream(key, "start"), shape))(keys)

    def walk(params: Params, keys: jax.Array, x: jax.Array, y: jax.Array | None, count: int) -> Run:
        return run(kernel(lambda x: -f(params, x, y) / temperature), named(keys, "walk"), x, count)

    def memory(params: Params, key: jax.Array, batch: Batch) -> Batch:
        keys = jax.vmap(lambda key: jax.random.split(key, slots))(example_keys(key, batch))
        labels = {"labels": jnp.repeat(batch["y"][:, None], slots, axis=1)} if classes else {}
        return {"chains": jax.vmap(begin)(keys)} | labels

    def moved(params: Params, keys: jax.Array, batch: Batch) -> tuple[Run, jax.Array | None, Batch]:
        """(one chain an example after its moves, their labels, the memory with them)."""
        slot = jax.vmap(lambda key: jax.random.randint(key, (), 0, slots))(named(keys, "slot"))
        anew = jax.vmap(lambda key: jax.random.bernoulli(key, fresh))(named(keys, "fresh"))
        pick = lambda new, old: _either(anew, new, jax.vmap(lambda rows, k: rows[k])(old, slot))
        put = lambda old, new: jax.vmap(lambda rows, k, row: rows.at[k].set(row))(old, slot, new)
        y = pick(batch["y"], batch["labels"]) if classes else None
        still = jax.lax.stop_gradient((params, y))
        out = walk(still[0], keys, pick(begin(keys), batch["chains"]), still[1], steps)
        labels = {"labels": put(batch["labels"], y)} if classes else {}
        return out, y, {"chains": put(batch["chains"], out.x)} | labels

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        keys = example_keys(key, batch)
        chains, y, rows = moved(params, keys, batch)
        x = batch["x"] + data_noise * normal(named(keys, "data"), shape)
        f_data, f_chains = f(params, x, batch.get("y")), f(params, chains.x, y)
        value, seen = contrast(f_data, f_chains)  # 1. data down, chains up
        value += alpha * jnp.mean(f_data**2 + f_chains**2)  # 2. near zero
        seen |= {"accepted": chains.accepted.mean(), "square_data": jnp.mean(x**2), "square_chains": jnp.mean(chains.x**2)}
        return Loss(value, seen, rows)

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return walk(params, keys, begin(keys), y, sampling_steps).x

    nats = lambda params, x, y=None: f(params, x, y) / temperature
    phase = Phase("contrast", loss, ("energy",), tx)
    return Model(init, ((phase,),), sample, ("energy",), memory=memory, energy=nats)


# ---- denoising score matching --------------------------------------------------------------------------------------------


def minus_gradient(net: Net) -> Callable[..., jax.Array]:
    """sigma times the score from a network of an energy, (u, t, condition) -> (B,)."""
    return lambda params, u, *given: -jax.grad(lambda u: net.apply(params, u, *given).sum())(u)


def direct(net: Net) -> Callable[..., jax.Array]:
    """sigma times the score from a network that says it, (u, t, condition) -> u's shape."""
    return net.apply


def geometric(largest: float, smallest: float, count: int) -> tuple[float, ...]:
    """Noise levels that fall by one factor."""
    return tuple(float(largest * (smallest / largest) ** (k / max(count - 1, 1))) for k in range(count))


def score_matching(
    net: Net,
    shape: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    sigmas: Sequence[float] = geometric(10.0, 0.01, 10),
    as_score: Callable[[Net], Callable[..., jax.Array]] = minus_gradient,
    step: float = 0.2,
    moves: int = 10,
    classes: int = 0,
) -> Model:
    """Energies or scores of noisy data at several levels, with the branch `energy`; samples by annealed Langevin moves.

    Args:
      net: (u, t, condition) -> (B,), or u's shape where `as_score` is `direct`; t (B,) is 1 at the largest sigma, 0 at the
        smallest.
      shape: of one example, scaled to about unit variance.
      tx: optimizer.
      sigmas: falling; the first near the largest distance between two data, the last hardly seen, so many that neighbours
        overlap: in D dimensions the factor between them comes to about 1 + 3 / sqrt(2 D) (2006.09011).
      as_score: `minus_gradient` or `direct`: what the network says.
      step: of a Langevin move at level sigma in units of sigma^2.
      moves: at each level.
      classes: condition on labels 0 .. classes - 1; 0 for none.

    Returns:
      A Model whose samples end with the mean of x given the last level's. With `minus_gradient` it has `energy`, that of data
      with the smallest noise.
    """
    shape, levels = tuple(shape), jnp.asarray(sigmas, jnp.float32)
    if len(sigmas) < 2 or min(sigmas) <= 0 or list(sigmas) != sorted(sigmas, reverse=True):
        raise ValueError(f"sigmas must be 2 or more levels that fall and stay above 0, not {tuple(sigmas)}")
    last = levels[-1], jnp.zeros(())
    drift(lambda x: x, step)  # refuses a step that is none
    if moves < 1:
        raise ValueError(f"annealed Langevin sampling needs moves >= 1 at each level, not moves={moves}")
    scaled_score, times = as_score(net), jnp.linspace(1.0, 0.0, len(sigmas))

    def given(level: tuple[jax.Array, jax.Array], x: jax.Array, y: jax.Array | None) -> tuple:
        """What the network is given at a level (sigma, t), each () or (B,)."""
        sigma, t = (jnp.broadcast_to(part, x.shape[:1]) for part in level)
        u = x / jnp.sqrt(1 + sigma**2).reshape(-1, *[1] * len(shape))
        return u, t, told(y, classes)

    def init(key: jax.Array, batch: Batch) -> Params:
        inputs = given(last, batch["x"], batch.get("y"))
        if as_score is minus_gradient:
            return {"energy": scalar(net, stream(key, "energy"), *inputs)}
        params = net.init(stream(key, "energy"), *inputs)
        if (got := jax.eval_shape(scaled_score, params, *inputs).shape) != batch["x"].shape:
            raise ValueError(f"a score has the shape of its data, {batch['x'].shape}; this network gives {got}")
        return {"energy": params}

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        keys, x = example_keys(key, batch), batch["x"]
        which = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(sigmas)))(named(keys, "level"))
        sigma, e = levels[which], normal(named(keys, "noise"), shape)
        noisy = x + sigma.reshape(-1, *[1] * len(shape)) * e
        out = scaled_score(params["energy"], *given((sigma, times[which]), noisy, batch.get("y")))
        return Loss(0.5 * jnp.mean((out + e) ** 2))  # 3

    def sample(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        at = lambda level, x: scaled_score(params["energy"], *given(level, x, y))
        kernel_at = lambda level: drift(lambda x: at(level, x) / level[0], step * level[0] ** 2)
        start = sigmas[0] * normal(named(keys, "start"), shape)
        x = annealed(kernel_at, named(keys, "walk"), start, (levels, times), moves).x
        return x + sigmas[-1] * at(last, x)

    def nats(params: Params, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        return net.apply(params["energy"], *given(last, x, y)) * (1 + sigmas[-1] ** 2) ** 0.5 / sigmas[-1]

    phase = Phase("denoise", loss, ("energy",), tx)
    return Model(init, ((phase,),), sample, ("energy",), energy=nats if as_score is minus_gradient else None)


# ---- parts -------------------------------------------------------------------------------------------------------------


def _either(which: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    """Row by row."""
    return jnp.where(which.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def _check(kernel, steps, sampling_steps, temperature, slots, fresh, alpha) -> None:
    """Refuse numbers with which no chain moves."""
    kernel(lambda x: jnp.zeros(len(x)))  # a step below zero is refused here rather than in the first training step
    for name, value in (("steps", steps), ("sampling_steps", sampling_steps), ("slots", slots)):
        if value < 1:
            raise ValueError(f"an energy model needs {name} >= 1, not {name}={value}")
    if not temperature > 0 or not 0 <= fresh <= 1:
        raise ValueError(f"an energy model needs temperature > 0 and 0 <= fresh <= 1, not {temperature} and {fresh}")
    if not alpha >= 0:
        raise ValueError(f"alpha weighs what keeps energies near zero, so alpha >= 0, not alpha={alpha}")
