"""The algebra: a model is a record of pure functions over one tree of parameters.

Training is a sequence of moves (`Phase`): each has a loss, the branches it may change, an optimizer and a time. A hybrid
of models is again a `Model`, so whatever trains, resumes, samples and shards a small one does so for a large one.

    params   a plain nested dict; its top-level entries are the branches, addressed by path: "encoder", "prior/denoiser"
    batch    a dict of arrays whose first axis is the example: `x`, `index` (its place in the global batch), and where the
             data has them `y` (labels), or a model asks for them, rows of `memory`
    key      a typed `jax.random.key`; `stream` and `example_keys` derive every other key from it, nothing is ever split twice
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import optax

from genjax.densities import LatentCode
from genjax.families import CAPABLE
from genjax.schedules import Process

Params = dict[str, Any]
Batch = dict[str, jax.Array]


class Loss(NamedTuple):
    """What a loss returns: what is descended, what is looked at, what rides with the next batch."""

    value: jax.Array  # scalar
    metrics: dict[str, jax.Array] = {}  # name -> scalar
    memory: Batch = {}  # name -> rows, first axis the example


class Phase(NamedTuple):
    """One move of a training step."""

    name: str  # unique in its stage; also names its stream of random numbers and its metrics
    loss: Callable[[Params, jax.Array, Batch], Loss]
    trains: tuple[str, ...]  # paths of the branches it may change; all others are constant to it
    tx: optax.GradientTransformation
    when: Callable[[jax.Array], jax.Array] | None = None  # step of the stage -> moves now? (n_critic, lazy penalties)


class Model(NamedTuple):
    """A generative model. Capabilities beyond the first three are optional fields, never subclasses."""

    init: Callable[[jax.Array, Batch], Params]  # (key, batch) -> params
    stages: tuple[tuple[Phase, ...], ...]  # each stage trains in turn
    sample: Callable[..., jax.Array]  # (params, keys, y=None) -> x; one key a sample, so sample k depends on key k alone
    generates: tuple[str, ...] = ()  # the branches through which `sample` can be trained
    encode: Callable[[Params, jax.Array, Batch], jax.Array] | None = None  # (params, key, batch) -> codes
    decode: Callable[..., jax.Array] | None = None  # (params, codes, y=None) -> x
    log_prob: Callable[[Params, Batch], jax.Array] | None = None  # exact, nats per example; a bound never has this name
    bound: Callable[..., jax.Array] | None = None  # (params, key, batch, samples=1) -> lower bound on log_prob, nats
    by_place: Callable[[Params, Batch], jax.Array] | None = None  # (B, *places) whose sum is log_prob, each given those before
    complete: Callable[..., jax.Array] | None = None  # (params, keys, opening (B, L, ...), y=None) -> x; beside a `by_place`
    # also known=(B,), how many places of each row's opening hold: prefixes of many lengths in one program
    memory: Callable[[Params, jax.Array, Batch], Batch] | None = None  # the rows that ride with the first batch
    latent_code: LatentCode | None = None  # what bits-back and lossy compression need
    energy: Callable[..., jax.Array] | None = None  # (params, x, y=None) -> (B,) nats, -log p(x) up to an unknown constant
    denoise: Callable[..., jax.Array] | None = None  # (params, x_t, t, y=None) -> E[x_0 | x_t]; t (B,) or one for all
    process: Process | None = None  # which noised x_t
    infer: Callable[..., tuple[jax.Array, jax.Array]] | None = None  # (params, key, batch) -> z ~ q(z|x), log p(x|z)/q(z|x)


# ---- random numbers: fold by name, by step, by example; so nothing depends on what else was drawn --------------------


def stream(key: jax.Array, name: str) -> jax.Array:
    """An independent key for one purpose."""
    return jax.random.fold_in(key, crc32(name.encode()))


def named(keys: jax.Array, name: str) -> jax.Array:
    """(B,) independent keys for one purpose, one from each."""
    return jax.vmap(lambda key: stream(key, name))(keys)


def example_keys(key: jax.Array, batch: Batch) -> jax.Array:
    """(B,) keys, one an example: the same noise bit for bit on one device, on a sharded batch and under pmap."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])


def normal(keys: jax.Array, shape: Sequence[int]) -> jax.Array:
    """(B, *shape) standard normal noise, one key an example."""
    return jax.vmap(lambda key: jax.random.normal(key, tuple(shape)))(keys)


def as_batch(x: jax.Array, y: jax.Array | None = None) -> Batch:
    """A batch from plain arrays."""
    return {"x": x, "index": jnp.arange(x.shape[0])} | ({} if y is None else {"y": y})


# ---- branches by path ------------------------------------------------------------------------------------------------


def get(params: Params, path: str) -> Any:
    """The branch at a path; KeyError lists the branches there are."""
    branch = params
    for name in path.split("/"):
        if not isinstance(branch, dict) or name not in branch:
            raise KeyError(f"no branch {path!r}; there are {', '.join(branches(params))}")
        branch = branch[name]
    return branch


def put(params: Params, path: str, branch: Any) -> Params:
    """The same tree with another branch at a path."""
    name, _, rest = path.partition("/")
    return params | {name: put(params[name], rest, branch) if rest else branch}


def pick(params: Params, paths: Sequence[str]) -> dict[str, Any]:
    """{path: branch}: what a phase differentiates and its optimizer sees."""
    return {path: get(params, path) for path in paths}


def place(params: Params, picked: dict[str, Any]) -> Params:
    """Inverse of `pick`."""
    for path, branch in picked.items():
        params = put(params, path, branch)
    return params


def branches(params: Params, depth: int = 2) -> list[str]:
    """Paths down to `depth`, the addresses a phase would use."""
    paths = []
    for name, branch in params.items():
        paths.append(name)
        if depth > 1 and isinstance(branch, dict):
            paths += [f"{name}/{path}" for path in branches(branch, depth - 1)]
    return paths


def trained_by(stage: Sequence[Phase]) -> tuple[str, ...]:
    """Paths that some phase of the stage trains."""
    return tuple(dict.fromkeys(path for phase in stage for path in phase.trains))


def frozen(params: Params, stage: Sequence[Phase]) -> list[str]:
    """Branches that nobody trains in this stage: the largest subtrees that hold no trained path."""
    trained = trained_by(stage)

    def visit(branch: Any, path: str) -> list[str]:
        if path in trained:
            return []
        if isinstance(branch, dict) and any(t.startswith(f"{path}/") for t in trained):
            return [p for name, child in branch.items() for p in visit(child, f"{path}/{name}")]
        return [path]

    return [p for name, branch in params.items() for p in visit(branch, name)]


# ---- lifting to another place of the tree, with which combinators are written -----------------------------------------


def under(name: str, phase: Phase) -> Phase:
    """The same move for a model whose tree became the branch `name` of a larger one."""

    def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
        out = phase.loss(params[name], key, _inner(name, batch))
        return out._replace(memory={f"{name}/{k}": v for k, v in out.memory.items()})

    return phase._replace(name=f"{name}/{phase.name}", loss=loss, trains=tuple(f"{name}/{path}" for path in phase.trains))


def _inner(name: str, batch: Batch) -> Batch:
    """A batch as the model below `name` knows it: its own memory without the prefix, nobody else's."""
    return {k.removeprefix(f"{name}/"): v for k, v in batch.items() if "/" not in k or k.startswith(f"{name}/")}


def memory_under(models: dict[str, Model], see: Callable | None = None) -> Callable | None:
    """The `memory` of a larger model of which these are branches; None where none of them has any.

    Args:
      see: (name, params, key, batch) -> the batch as the model of that name knows it; the batch itself where not given.
    """
    if not (having := {name: model for name, model in models.items() if model.memory}):
        return None

    def memory(params: Params, key: jax.Array, batch: Batch) -> Batch:
        seen = {name: see(name, params, key, batch) if see else batch for name in having}
        rows = {name: model.memory(params[name], stream(key, name), seen[name]) for name, model in having.items()}
        return {f"{name}/{row}": values for name, some in rows.items() for row, values in some.items()}

    return memory


def need(model: Model, field: str, who: str) -> Callable:
    """The capability `field` of a model, or a ValueError that says which is missing, which there are and who has it."""
    if (capability := getattr(model, field)) is None:
        have = ", ".join(name for name in CAPABLE if getattr(model, name) is not None) or "only `sample`"
        others = ", ".join(CAPABLE[field])
        raise ValueError(f"{who} needs a model with `{field}`; this one has {have}; models that have it: {others}")
    return capability


def check(params: Params, stages: Sequence[Sequence[Phase]]) -> None:
    """Refuse stages that do not fit the tree: an unknown path, a path inside another, two phases of one name."""
    for number, stage in enumerate(stages):
        names = [phase.name for phase in stage]
        if len(set(names)) < len(names):
            raise ValueError(f"stage {number} has two phases of one name: {', '.join(names)}")
        for phase in stage:
            for path in phase.trains:
                get(params, path)
                if any(path != other and path.startswith(f"{other}/") for other in phase.trains):
                    raise ValueError(f"phase {phase.name!r} trains {path!r} twice: it lies inside another of {phase.trains}")
