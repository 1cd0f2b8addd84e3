"""Size and speed of a sampler: parameters, samples a second, bytes, and how often its networks are run for one sample.

Network evaluations are counted in the sampler's own program, so that no family has to tell them: how often is one array of
parameters multiplied with what is drawn, for one sample? The busiest array gives the number: 1 for a decoder, 50 for 50 steps
of a denoiser whatever decodes them afterwards. A loop of known length multiplies, of branches the dearest counts, and a loop
whose length the data decide counts once, which makes the number a lower bound.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from genjax.model import Model, Params
from genjax.nets.convolution import convolved
from genjax.report import count

PRODUCTS = ("dot_general", "conv_general_dilated", "ragged_dot_general", convolved.name)
CUTS = ("slice", "dynamic_slice", "gather", "split")  # their output holds a share of the array
BATCHES = (1, 64)

Held = dict[int, float] | None  # array of parameters -> share of it in a value that they and constants decide; None: drawn


class Evaluations(NamedTuple):
    """Runs of the busiest network for one sample."""

    number: float
    at_least: bool  # a loop of unknown length is in the program


def speed(model: Model, params: Params, *, y: np.ndarray | None = None, repeats: int = 5) -> dict[str, Any]:
    """Size and speed of drawing samples, ready for JSON.

    Args:
      model: its `sample` is compiled for batches of 1 and 64.
      params: of the model.
      y: (1, ...) what `sample` is told, None for nothing.
      repeats: calls of which the fastest counts.

    Returns:
      parameters; samples_per_second {"1", "64"}; compile_seconds of the larger batch, less where the program was in the
      compilation cache; evaluations, at_least: see `Evaluations`; memory: bytes of the larger batch, arguments included;
      device_peak: bytes since the process began, where the device tells.
    """
    rates, seconds, memory = {}, 0.0, None
    for size in BATCHES:
        arguments = params, *inputs(size, y)
        fresh = lambda params, *given: model.sample(params, *given)  # `model.sample` itself may be compiled already
        began = time.perf_counter()
        program = jax.jit(fresh).lower(*arguments).compile()
        seconds, memory = time.perf_counter() - began, program.memory_analysis()
        rates[str(size)] = size / fastest(lambda run=program, given=arguments: run(*given), repeats)
    number, at_least = evaluations(model, params, y)
    sizes = (memory.temp_size_in_bytes, memory.argument_size_in_bytes, memory.output_size_in_bytes) if memory else ()
    return {
        "parameters": count(params),
        "samples_per_second": rates,
        "compile_seconds": seconds,
        "evaluations": number,
        "at_least": at_least,
        "memory": sum(sizes) or None,
        "device_peak": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }


def inputs(size: int, y: np.ndarray | None) -> tuple[jax.Array, ...]:
    """Keys, and what samples are told, where they are told anything."""
    keys = jax.vmap(jax.random.key)(jnp.arange(size, dtype=jnp.uint32))
    return (keys,) if y is None else (keys, jnp.asarray(y).repeat(size, axis=0))


def fastest(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest call, after one that warms up."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return max(min(times), 1e-9)


# ---- network evaluations ---------------------------------------------------------------------------------------------


def evaluations(model: Model, params: Params, y: np.ndarray | None = None) -> Evaluations:
    """Products with the busiest array of parameters when one sample is drawn; nothing is computed."""
    leaves, tree = jax.tree.flatten(params)
    sample = lambda leaves, *rest: model.sample(jax.tree.unflatten(tree, leaves), *rest)
    program = jax.make_jaxpr(sample)(leaves, *inputs(1, y)).jaxpr
    walk = Walk()
    walk.through(program, [{k: 1.0} if k < len(leaves) else None for k in range(len(program.invars))], 1.0)
    return Evaluations(round(max(walk.products.values(), default=0.0), 3), walk.at_least)


class Walk:
    """Follows the parameters through a program and counts the products of each with what is drawn."""

    def __init__(self) -> None:
        self.products: dict[int, float] = {}  # array of parameters -> products with it
        self.at_least = False

    def through(self, program: Jaxpr, given: Sequence[Held], times: float) -> list[Held]:
        """What the outputs of a program are, `given` what its inputs are; `times`: how often it runs."""
        held = dict(zip(program.invars, given, strict=True))
        known = lambda atom: {} if isinstance(atom, Literal) else held.get(atom, {})  # else a constant of the program
        for equation in program.eqns:
            out = self.step(equation, [known(atom) for atom in equation.invars], times)
            held.update(zip(equation.outvars, out, strict=True))
        return [known(atom) for atom in program.outvars]

    def step(self, equation: JaxprEqn, given: list[Held], times: float) -> list[Held]:
        """The same for one equation."""
        name, inner = equation.primitive.name, inner_program(equation)
        if name in ("scan", "while", "cond"):
            return {"scan": self.scan, "while": self.loop, "cond": self.cond}[name](equation, given, times)
        if inner is not None:
            return self.through(inner, given, times)
        if name in PRODUCTS and None in given:
            for number, share in joined(held for held in given if held).items():
                self.products[number] = self.products.get(number, 0.0) + share * times
        return [cut_share(equation, None if None in given else joined(given))] * len(equation.outvars)

    def scan(self, equation: JaxprEqn, given: list[Held], times: float) -> list[Held]:
        """A loop of known length; each turn sees its share of an array that is scanned over."""
        length, body = equation.params["length"], opened(equation.params["jaxpr"])
        kept = lambda outer, inner: sum(a.aval.ndim == b.aval.ndim for a, b in zip(outer, inner, strict=True))
        carried = kept(equation.outvars, body.outvars)  # what is scanned over, or stacked, has an axis more outside
        last = kept(equation.invars, body.invars)
        first = last - carried
        rows = [scaled(held, 1 / max(length, 1)) for held in given[last:]]
        carry = self.settled(body, given[:first], given[first:last], rows)
        out = self.through(body, [*given[:first], *carry, *rows], times * length)
        return [*carry, *(scaled(held, length) for held in out[len(carry) :])]

    def settled(self, body: Jaxpr, constants: list[Held], carry: list[Held], rows: list[Held]) -> list[Held]:
        """What is carried, once it is the same from turn to turn."""
        while True:
            out = Walk().through(body, [*constants, *carry, *rows], 0.0)
            if (after := list(map(either, carry, out))) == carry:
                return carry
            carry = after

    def cond(self, equation: JaxprEqn, given: list[Held], times: float) -> list[Held]:
        """Branches: for each array the one that uses it most."""
        walks, outs = [Walk() for _ in equation.params["branches"]], []
        for walk, branch in zip(walks, equation.params["branches"], strict=True):
            outs.append(walk.through(opened(branch), given[1:], times))
            self.at_least |= walk.at_least
        for number in set().union(*(walk.products for walk in walks)):
            most = max(walk.products.get(number, 0.0) for walk in walks)
            self.products[number] = self.products.get(number, 0.0) + most
        return [reduce(either, held) for held in zip(*outs, strict=True)]

    def loop(self, equation: JaxprEqn, given: list[Held], times: float) -> list[Held]:
        """A loop whose length the data decide: its body counts once."""
        first = equation.params["cond_nconsts"]
        last, body, before = first + equation.params["body_nconsts"], opened(equation.params["body_jaxpr"]), dict(self.products)
        carry = self.settled(body, given[first:last], given[last:], [])
        self.through(body, [*given[first:last], *carry], times)
        self.at_least |= self.products != before
        return carry


def inner_program(equation: JaxprEqn) -> Jaxpr | None:
    """The program that an equation calls with its own inputs, as jit, remat and custom derivatives do."""
    for name in ("jaxpr", "call_jaxpr"):
        found = opened(equation.params.get(name))
        if isinstance(found, Jaxpr) and len(found.invars) == len(equation.invars):
            return found
    return None


def opened(program: Any) -> Any:
    """A program without the values of its constants, which some versions of JAX keep apart and some do not."""
    return getattr(program, "jaxpr", program)


# ---- what a value is made of -----------------------------------------------------------------------------------------


def either(a: Held, b: Held) -> Held:
    """One of two: drawn if either is."""
    return None if a is None or b is None else joined([a, b])


def joined(parts: Iterable[dict[int, float]]) -> dict[int, float]:
    """All arrays, the largest share of each."""
    found: dict[int, float] = {}
    for part in parts:
        for number, share in part.items():
            found[number] = max(share, found.get(number, 0.0))
    return found


def scaled(held: Held, factor: float) -> Held:
    return held and {number: min(1.0, share * factor) for number, share in held.items()}


def cut_share(equation: JaxprEqn, held: Held) -> Held:
    """What is cut out of an array holds a share of it."""
    if not held or equation.primitive.name not in CUTS:
        return held
    return scaled(held, prod(equation.outvars[0].aval.shape) / max(1, prod(equation.invars[0].aval.shape)))
