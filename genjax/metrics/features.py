"""Feature spaces: where two sets of examples are compared. A distance without the name of its space means nothing.

The classifier is a small network, trained on the data set by the library's own step, once, and kept in the user's cache folder.
Its features are the last hidden layer. Numbers in its space compare only where `about` has the same hash of its weights.
"""

import json
import os
import re
import zipfile
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax.checkpoint import warn
from genjax.data import Dataset, Split, feed, fetch, identity, row_block, unit
from genjax.data.base import Spec, take
from genjax.model import Batch, Loss, Model, Params, Phase, stream
from genjax.nets import conv_encoder, mlp
from genjax.step import init, make_step

ROWS = 60_000  # at most so many are trained on
AT_ONCE = 256  # examples in one call of a network
CHUNK = 50  # steps in one dispatch


class Features(NamedTuple):
    """A named map from shown examples to vectors."""

    name: str
    apply: Callable[[np.ndarray], np.ndarray]  # shown examples (n, H, W, C) in [0, 1], or points (n, 2) -> (n, d) float64
    about: dict[str, Any]  # JSON: all that is needed to have the same space again
    classify: Callable[[np.ndarray], np.ndarray] | None = None  # shown examples -> (n,) predicted labels
    probabilities: Callable[[np.ndarray], np.ndarray] | None = None  # shown examples -> (n, classes) of each label


def raw() -> Features:
    """The values themselves, flattened."""
    return Features("raw", lambda x: np.asarray(x, np.float64).reshape(len(x), -1), {"space": "raw values"})


class Plan(NamedTuple):
    """How a classifier is trained: with the rows and the seed it decides the weights."""

    convolutional: bool
    widths: tuple[int, ...]
    features: int
    steps: int
    batch: int
    lr: float


def plan_for(spec: Spec) -> Plan:
    """Images a convolutional net, small for small ones; anything else, like points and tables, an MLP."""
    if len(spec.shape) < 3:
        return Plan(False, (256,), 64, 2000, 128, 1e-3)
    small = max(spec.shape[:2]) <= 16
    return Plan(True, (16, 32), 64, 800, 128, 2e-3) if small else Plan(True, (16, 32), 128, 1200, 128, 3e-3)


def classifier(dataset: Dataset, cache: Path | None = None, seed: int = 0) -> Features:
    """The last hidden layer of a classifier of the data set's labels: 64 features up to 16 x 16 pixels, 128 above.

    Args:
      dataset: its `train` is trained on, its `test` gives the accuracy in `about`.
      cache: folder where trained weights are kept and looked for; None is the user's cache folder.
      seed: of the weights and the order of the rows.

    Raises:
      ValueError: the data set has no labels.
    """
    if not dataset.spec.classes or dataset.splits["train"].y is None:
        raise ValueError(
            f"{dataset.name} has no labels, so no classifier can be trained on it: use raw features (--features raw)"
        )
    plan, spec = plan_for(dataset.spec), dataset.spec
    split = some_rows(dataset.splits["train"], seed)
    recipe = {"data": dataset.name, "rows": hash_of(split.x, split.y), "seed": seed, "classes": spec.classes} | plan._asdict()
    path = (cache or cache_folder()) / f"{filename(dataset.name)}-{sha256(json.dumps(recipe).encode()).hexdigest()[:16]}.npz"
    shape = jax.eval_shape(lambda: first_params(plan, spec, seed))
    params, accuracy = stored(path, shape) or trained(plan, dataset, split, seed, path)
    about = {"space": "classifier", "accuracy": accuracy, "weights": hash_of(*jax.tree.leaves(params))} | recipe
    run = jax.jit(lambda params, x: layers(plan, spec, params, x))
    both = lambda x: in_groups(lambda group: run(params, group), x)
    name = f"classifier of {dataset.name} ({plan.features} features, {about['weights'][:8]})"
    softmax = lambda logits: np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    return Features(name, lambda x: both(x)[0], about, lambda x: both(x)[1].argmax(1), lambda x: softmax(both(x)[1]))


# ---- the network and its training ------------------------------------------------------------------------------------


def layers(plan: Plan, spec: Spec, params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(features (B, F), logits (B, classes)) of examples in [0, 1]."""
    body, head = nets(plan, spec)
    h = jax.nn.gelu(body.apply(params["body"], x))
    return h, head.apply(params["head"], h)


def nets(plan: Plan, spec: Spec) -> tuple:
    """(body, head)."""
    body = conv_encoder if plan.convolutional else mlp
    return body(plan.widths, (plan.features,)), mlp((), (spec.classes,))


def first_params(plan: Plan, spec: Spec, seed: int) -> Params:
    """Weights before training."""
    key, x, h = jax.random.key(seed), jnp.zeros((1, *spec.shape)), jnp.zeros((1, plan.features))
    body, head = nets(plan, spec)
    return {"body": body.init(stream(key, "body"), x), "head": head.init(stream(key, "head"), h)}


def model_of(plan: Plan, spec: Spec, seed: int) -> Model:
    """The classifier as a model of one phase, so that the library's step trains it."""

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        _, logits = layers(plan, spec, params, batch["x"])
        return Loss(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean())

    def nothing(params: Params, keys: jax.Array, y: jax.Array | None = None) -> jax.Array:
        raise ValueError("a classifier has no samples")

    tx = optax.adamw(optax.cosine_onecycle_schedule(plan.steps, plan.lr), weight_decay=1e-2)
    phase = Phase("classify", loss, ("body", "head"), tx)
    return Model(lambda key, batch: first_params(plan, spec, seed), ((phase,),), nothing)


def trained(plan: Plan, dataset: Dataset, split: Split, seed: int, path: Path) -> tuple[Params, float]:
    """(weights, test accuracy), which are also kept."""
    model, prepare = model_of(plan, dataset.spec, seed), feed(scaled(dataset.spec))
    step, data = make_step(model), jax.device_put(fetch(split))

    @partial(jax.jit, donate_argnums=0)
    def run(state, data, rows):
        one = lambda state, rows: (step(state, prepare(data, state.key, rows))[0], None)
        return jax.lax.scan(one, state, rows)[0]

    state = init(model, jax.random.key(seed), prepare(data, jax.random.key(seed), jnp.arange(1)))
    for first in range(0, plan.steps, CHUNK):
        count = min(CHUNK, plan.steps - first)
        state = run(state, data, row_block(seed, first, count, plan.batch, len(split.x)))
    params = jax.device_get(state.params)
    accuracy = tested(plan, dataset, params)
    store(path, params, accuracy)
    return params, accuracy


def tested(plan: Plan, dataset: Dataset, params: Params) -> float:
    """Share of the test rows that are named rightly."""
    run = jax.jit(lambda params, x: layers(plan, dataset.spec, params, x))
    test = fetch(dataset.splits["test"])
    logits = in_groups(lambda group: run(params, group), shown_reals(dataset.spec, test["x"]))[1]
    return float((logits.argmax(1) == test["y"]).mean())


# ---- examples --------------------------------------------------------------------------------------------------------


def scaled(spec: Spec) -> Callable:
    """The preparation to [0, 1] of discrete values; continuous ones stay."""
    return unit(spec.levels) if spec.levels else identity


def shown_reals(spec: Spec, x: np.ndarray) -> np.ndarray:
    """Stored examples as a recipe shows its samples: float32, discrete values in [0, 1]."""
    return np.asarray(x, np.float32) / np.float32(spec.levels - 1 if spec.levels else 1)


def some_rows(split: Split, seed: int) -> Split:
    """All rows, or ROWS of them in their order."""
    if len(split.x) <= ROWS:
        return split
    return take(split, np.sort(np.random.default_rng(seed).permutation(len(split.x))[:ROWS]))


def in_groups(function: Callable[[np.ndarray], tuple], x: np.ndarray) -> tuple[np.ndarray, ...]:
    """A function of AT_ONCE examples applied to any number: one program, whose last call repeats some. float64."""
    parts = []
    for first in range(0, len(x), AT_ONCE):
        rows = np.arange(first, min(first + AT_ONCE, len(x)))
        out = function(np.asarray(x[np.resize(rows, AT_ONCE)], np.float32))
        parts.append([np.asarray(a, np.float64)[: len(rows)] for a in out])
    return tuple(np.concatenate(some) for some in zip(*parts, strict=True))


# ---- the cache -------------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Beside the compiled programs, in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genjax" / "features"


def filename(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)


def hash_of(*arrays: Any) -> str:
    """sha256 of the bytes of arrays, in order, with their shapes."""
    found = sha256()
    for array in arrays:
        array = np.ascontiguousarray(array[:])
        found.update(f"{array.shape} {array.dtype.str}".encode() + array.tobytes())
    return found.hexdigest()


def stored(path: Path, shape: Params) -> tuple[Params, float] | None:
    """(weights, test accuracy) as `store` wrote them, or None where there are none or they cannot be read."""
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            leaves, tree = jax.tree.flatten(shape)
            params = [file[f"leaf_{i}"].reshape(leaf.shape) for i, leaf in enumerate(leaves)]
            return jax.tree.unflatten(tree, params), float(file["accuracy"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        warn(f"{path} is damaged ({error}); the classifier is trained anew")
        return None


def store(path: Path, params: Params, accuracy: float) -> None:
    """Written beside and renamed: whole or not at all. A folder that cannot be written costs the next start its training."""
    aside = path.with_name(f".{os.getpid()}_{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        leaves = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(params))}
        np.savez(aside, accuracy=accuracy, **leaves)
        os.replace(aside, path)
    except OSError as error:
        warn(f"{path} could not be written ({error}); the classifier will be trained again next time")
