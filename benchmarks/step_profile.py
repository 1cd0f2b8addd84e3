"""Where the time of a denoiser's training step goes, beside PyTorch, on the CPU: what is left of `benchmarks.step_time`.

    pip install torch==2.13.0        (the CPU build)
    python -m benchmarks.step_profile

    forward              the loss alone
    backward             the loss and its gradient, less the forward
    the rest             the whole step less both: norm of the gradient, Adam, running average
    products alone       each convolution and each product with a weight, by itself: forward, and with both of its gradients

All in one process, the two sides in turn; every number is that of the fastest turn, PyTorch with channels last. Everything of
genjax runs in a compiled loop of a few turns, as steps do in `train.py`.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import denoisers
from benchmarks.record import record, row
from benchmarks.step_time import genjax_turn, torch_turn
from genjax.model import Model, as_batch
from genjax.nets.convolution import conv, convolved

Call = Callable[[], object]
LOOP = 4  # turns of a compiled loop


class Net(NamedTuple):
    """One denoiser on both sides."""

    model: Model
    x: np.ndarray
    theirs: Callable


class Product(NamedTuple):
    """Shapes of x and of the weight; the stride of a convolution, 0 for a product of matrices."""

    x: tuple[int, ...]
    weight: tuple[int, ...]
    stride: int


def nets() -> dict[str, Net]:
    tx = optax.adam(1e-3)
    return {
        "UNet 32, 64, 64": Net(denoisers.our_unet(tx), denoisers.images(16), denoisers.torch_unet),
        "DiT, 4 blocks of 256": Net(denoisers.our_dit(tx), denoisers.images(8), denoisers.torch_dit),
    }


def looped(run: Callable, *args: Any) -> Call:
    """A call of `run`, `LOOP` times in one program, each time on its own copy of the arguments, so that it stays inside."""
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * LOOP), args)
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), jax.eval_shape(run, *args))
    program = jax.jit(lambda copies: jax.lax.scan(lambda _, args: (run(*args), None), zeros, copies)[0])
    return lambda: jax.block_until_ready(program(copies))


def fastest(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """{name: ms of the fastest call}, the calls in turn, after one each that compiles."""
    best = {name: np.inf for name in calls if (calls[name](), True)}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - began))
    return best


# ---- the step in three ---------------------------------------------------------------------------------------------------


def ours(net: Net) -> dict[str, Call]:
    """{part: a call of it}, each part with those before it."""
    batch, (phase,) = as_batch(jnp.asarray(net.x)), net.model.stages[0]
    params = jax.jit(net.model.init)(jax.random.key(0), batch)
    loss = lambda params: phase.loss(params, jax.random.key(1), batch).value
    turn, _ = genjax_turn(net.model, net.x, LOOP)
    return {"forward": looped(loss, params), "backward": looped(jax.value_and_grad(loss), params), "the rest": turn}


def theirs(net: Net) -> dict[str, Call]:
    import torch

    params, loss = net.theirs(torch.from_numpy(net.x), True)
    turn = torch_turn(params, loss, torch.get_num_threads(), 1)

    def forward():
        with torch.no_grad():
            loss()

    return {"forward": forward, "backward": lambda: loss().backward(), "the rest": turn}


def parts(net: Net, rounds: int) -> dict[str, tuple[float, float]]:
    """{part: ms here and in PyTorch}, each less the one before."""
    mine, others = ours(net), theirs(net)
    best = fastest({f"genjax {k}": v for k, v in mine.items()} | {f"torch {k}": v for k, v in others.items()}, rounds)
    ends = [np.array([best[f"genjax {part}"] / LOOP, best[f"torch {part}"]]) for part in mine]
    return {part: tuple(end - begin) for part, begin, end in zip(mine, [0 * ends[0], *ends], ends, strict=False)}


# ---- its products alone ----------------------------------------------------------------------------------------------------


def products(jaxpr: Any, times: int = 1) -> Iterator[tuple[Product, int]]:
    """(product with a weight, how often) in a program of the forward pass."""
    for eqn in jaxpr.eqns:
        shapes = [tuple(v.aval.shape) for v in eqn.invars[:2]]
        if eqn.primitive is convolved:
            yield Product(*shapes, 1), times
        elif eqn.primitive.name == "conv_general_dilated":
            yield Product(*shapes, eqn.params["window_strides"][0]), times
        elif eqn.primitive.name == "dot_general" and len(shapes[1]) == 2 and not eqn.params["dimension_numbers"][1][0]:
            yield Product((prod(shapes[0][:-1]), shapes[0][-1]), shapes[1], 0), times
        for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from products(getattr(inner, "jaxpr", inner), times * eqn.params.get("length", 1))


def product_here(kind: Product) -> Callable:
    return partial(conv, stride=kind.stride) if kind.stride else jnp.dot


def alone_here(kind: Product) -> tuple[Call, Call]:
    """(forward, forward and both gradients)."""
    x, weight = (jax.random.normal(jax.random.key(0), shape) for shape in (kind.x, kind.weight))
    run = product_here(kind)
    ones = jnp.ones(jax.eval_shape(run, x, weight).shape)

    def both(x, weight):
        y, back = jax.vjp(run, x, weight)
        return y, back(ones)

    return looped(run, x, weight), looped(both, x, weight)


def alone_there(kind: Product) -> tuple[Call, Call]:
    import torch
    from torch.nn.functional import conv2d

    if kind.stride:
        b, h, w, c = kind.x
        x = torch.randn(b, c, h, w).contiguous(memory_format=torch.channels_last).requires_grad_()
        weight = torch.randn(kind.weight[3], kind.weight[2], *kind.weight[:2]).contiguous(memory_format=torch.channels_last)
        run = partial(conv2d, x, weight.requires_grad_(), stride=kind.stride, padding=kind.weight[0] // 2)
    else:
        x, weight = (torch.randn(shape, requires_grad=True) for shape in (kind.x, kind.weight))
        run = partial(torch.matmul, x, weight)
    ones = torch.ones_like(run())

    def forward():
        with torch.no_grad():
            run()

    return forward, lambda: run().backward(ones)


def alone(net: Net, rounds: int) -> dict[str, tuple[float, float]]:
    """{direction: ms of all products here and in PyTorch}."""
    batch, (phase,) = as_batch(jnp.asarray(net.x)), net.model.stages[0]
    params = jax.eval_shape(net.model.init, jax.random.key(0), batch)
    program = jax.make_jaxpr(lambda params: phase.loss(params, jax.random.key(1), batch).value)(params)
    count, total = Counter(), np.zeros((2, 2))
    for kind, times in products(program.jaxpr):
        count[kind] += times
    for kind, times in count.items():
        calls = dict(zip("abcd", (*alone_here(kind), *alone_there(kind)), strict=True))
        total += times * np.array(list(fastest(calls, rounds).values())).reshape(2, 2) / [[LOOP], [1]]
    return {"products alone, forward": tuple(total[:, 0]), "products alone, with gradients": tuple(total[:, 1])}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args, rows = parser.parse_args(), []
    for name, net in nets().items():
        for part, (here, there) in (parts(net, args.rounds) | alone(net, args.rounds)).items():
            note = f"genjax {here:.1f} ms, PyTorch {there:.1f} ms"
            print(f"{name}, {part}: {here - there:+.1f} ms; {note}", flush=True)
            rows.append(row(name, f"{part}: genjax less PyTorch", [round(here - there, 1)], seeds=[0], unit="ms", note=note))
    if not args.dry:
        record("step_profile", "Where a denoiser's step goes, CPU", "python -m benchmarks.step_profile", rows)


if __name__ == "__main__":
    main()
