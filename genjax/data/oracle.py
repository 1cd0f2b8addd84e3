"""The oracle of SeqGAN's benchmark (1609.05473): an LSTM of fixed random weights, under which every sequence has a probability.

    i, f, o = s(e W + h U + b),   g = tanh(e W + h U + b),   c <- f c + i g,   h <- o tanh(c)                          (1)
    p(x_t | x_<t) = softmax(h Wout + bout),    e the embedding of x_{t-1}, at first of token 0, and c = h = 0 before    (2)

Its own entropy at 20 places is 5.754 nats a token: a model that scores less gives up some of what it says. In numpy, float32.
"""

import numpy as np

LENGTH, ROWS = 20, 200  # a few at a time stay in the cache
NAMES = ("embedding", *(f"{kind}{gate}" for gate in "ifoc" for kind in "WUb"), "Wout", "bout")
Weights = dict[str, np.ndarray]


def drawn(weights: Weights, rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, LENGTH) int32 tokens: one uniform number each, through the inverse of the distribution function."""
    u = rng.random((count, LENGTH), np.float32)
    return np.concatenate([_drawn(weights, u[first : first + ROWS]) for first in range(0, count, ROWS)])


def nats(weights: Weights, x: np.ndarray) -> np.ndarray:
    """(n,) NLL_oracle of sequences (n, T): the mean nats a token of each.

    Raises:
      ValueError: a token that the oracle does not know.
    """
    x, levels = np.asarray(x), len(weights["bout"])
    if x.min() < 0 or x.max() >= levels:
        raise ValueError(f"tokens are {x.min()} .. {x.max()}, but the oracle knows 0 .. {levels - 1}")
    return np.concatenate([_nats(weights, x[first : first + ROWS]) for first in range(0, len(x), ROWS)])


def _drawn(weights: Weights, u: np.ndarray) -> np.ndarray:
    state, last, out = _start(weights, len(u)), np.zeros(len(u), int), []
    for share in u.T:
        state, logits = _step(weights, state, last)
        mass = np.exp(logits - logits.max(1, keepdims=True)).cumsum(1)
        last = (mass <= share[:, None] * mass[:, -1:]).sum(1)
        out.append(last)
    return np.stack(out, axis=1).astype(np.int32)


def _nats(weights: Weights, x: np.ndarray) -> np.ndarray:
    state, last, total = _start(weights, len(x)), np.zeros(len(x), int), np.zeros(len(x))
    for token in x.T:
        state, logits = _step(weights, state, last)
        top = logits.max(1)
        total += top + np.log(np.exp(logits - top[:, None]).sum(1)) - logits[np.arange(len(x)), token]
        last = token
    return total / x.shape[1]


def _start(weights: Weights, count: int) -> tuple[np.ndarray, np.ndarray]:
    zeros = np.zeros((count, len(weights["bi"])), np.float32)
    return zeros, zeros


def _step(weights: Weights, state: tuple[np.ndarray, np.ndarray], token: np.ndarray) -> tuple[tuple, np.ndarray]:
    """((c, h), logits (n, levels)) after a token (n,)."""
    (c, h), e = state, weights["embedding"][token]
    i, f, o, g = (e @ weights[f"W{gate}"] + h @ weights[f"U{gate}"] + weights[f"b{gate}"] for gate in "ifoc")
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)  # 1
    h = _sigmoid(o) * np.tanh(c)
    return (c, h), h @ weights["Wout"] + weights["bout"]  # 2


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
