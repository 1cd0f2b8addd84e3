"""What makes a comparison fair: the same number of parameters and examples, or the same share of time.

    params   the knob `width` is bisected until the parameters are those of the median model, and `steps` until each model
             trains on as many examples as the median one
    time     `steps` is what fits into an equal share of the minutes, at a measured rate of the model's own program

The recipes stay what they are, only their knobs change; so a schedule that takes `steps` follows.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
from statistics import median_low
from typing import Any

from genjax.compare.plan import Entry, built, chunk_of
from genjax.compare.seeds import fitting, seconds_a_step
from genjax.config import in_words
from genjax.data import Dataset
from genjax.job import abstract_state, stored_example
from genjax.report import count

WIDEST = 2**14


def parameters(entry: Entry, data: Dataset, **knobs: Any) -> int:
    """Numbers in the tree, every branch counted, nothing computed."""
    recipe = entry.source.recipe(data.spec, **entry.knobs | knobs)
    return count(abstract_state(recipe, stored_example(data.splits["train"])).params)


def branches(entry: Entry, data: Dataset) -> dict[str, int]:
    """{branch: numbers in it}"""
    recipe = entry.source.recipe(data.spec, **entry.knobs)
    params = abstract_state(recipe, stored_example(data.splits["train"])).params
    return {name: count(branch) for name, branch in params.items()}


def changed(entry: Entry, data: Dataset, **knobs: Any) -> Entry:
    """The same model with other knobs."""
    return built(entry.name, entry.source, entry.knobs | knobs, data, chunk=entry.chunk, at_once=entry.at_once, rate=entry.rate)


# ---- the same number of parameters and of examples ---------------------------------------------------------------------


def same_parameters(found: list[Entry], data: Dataset) -> tuple[dict[str, Any], list[Entry]]:
    """(the targets, the models that come nearest to them)."""
    for entry in found:
        if not isinstance(entry.knobs.get("width"), int):
            raise ValueError(
                f"--match params changes the knob `width`, which {entry.name} has not; leave it out, or match time"
            )
    target = median_low([parameters(entry, data) for entry in found])
    examples = median_low([entry.total * entry.recipe.batch for entry in found])
    matched = [with_examples(with_parameters(entry, data, target), data, examples) for entry in found]
    return {"parameters": target, "examples": examples}, matched


def with_parameters(entry: Entry, data: Dataset, target: int) -> Entry:
    """The width whose parameter count is nearest to the target; networks that want a multiple get one of 2, 4 ... 32."""
    if parameters(entry, data) == target:
        return entry
    for unit in (1, 2, 4, 8, 16, 32):
        try:
            of = lambda number, unit=unit: parameters(entry, data, width=number * unit)
            return changed(entry, data, width=unit * nearest(of, target, WIDEST // unit))
        except (TypeError, ValueError) as error:
            refused = in_words(error)
    raise ValueError(f"no width of {entry.name} was found that gives about {target} parameters: {refused}")


def nearest(of: Callable[[int], int], target: int, highest: int) -> int:
    """The argument 1 .. highest at which a rising function comes nearest to the target."""
    low, high = 1, 2
    while high < highest and of(high) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if of(middle) < target else (low, middle)
    return min((low, high), key=lambda number: abs(of(number) - target))


def with_examples(entry: Entry, data: Dataset, examples: int) -> Entry:
    """Steps that see this many examples, shared between the stages as the recipe does."""
    ends = [
        sum(entry.recipe.steps[: n + 1]) * examples / (entry.total * entry.recipe.batch) for n in range(len(entry.recipe.steps))
    ]
    borders = [0, *map(round, ends)]  # of the sums rather than the parts: no step is lost to rounding
    entry = with_steps(entry, data, [b - a for a, b in pairwise(borders)])
    return entry._replace(chunk=chunk_of(entry.recipe))


def with_steps(entry: Entry, data: Dataset, steps: Sequence[int]) -> Entry:
    """Other steps of the stages, through the knob `steps`."""
    if min(steps) < 1:
        raise ValueError(f"{entry.name} would have a stage without a step ({list(steps)}); compare longer runs")
    knob = entry.knobs.get("steps")
    if knob is None:
        raise ValueError(f"{entry.name} has no knob `steps` to be matched by; leave it out, or --match none")
    entry = changed(entry, data, steps=tuple(steps) if isinstance(knob, tuple) else steps[0])
    if entry.recipe.steps != tuple(steps):
        raise ValueError(f"the knob `steps` of {entry.name} is not the steps of its stages; leave it out, or --match none")
    return entry


# ---- the same time -----------------------------------------------------------------------------------------------------


def same_time(found: list[Entry], data: Dataset, seeds: int, minutes: float) -> tuple[dict[str, Any], list[Entry]]:
    """(the target, the models with the steps that fit their share of the minutes, in whole chunks)."""
    share = 60 * minutes / len(found)
    return {"seconds": share}, [within(measured(entry, data, seeds), data, seeds, share) for entry in found]


def measured(entry: Entry, data: Dataset, seeds: int) -> Entry:
    """With the number of seeds whose program fits the memory, and its seconds a step."""
    stack = fitting(entry.recipe, data.splits["train"], range(seeds), entry.chunk)
    rate = tuple(float(f"{seconds:.4g}") for seconds in seconds_a_step(stack, entry.chunk))
    return entry._replace(at_once=len(stack.seeds), rate=rate)


def within(entry: Entry, data: Dataset, seeds: int, share: float) -> Entry:
    """A measured model with the steps that take `share` seconds for all seeds; ValueError where a stage gets no chunk."""
    groups = ceil(seeds / entry.at_once)
    whole = groups * sum(n * rate for n, rate in zip(entry.recipe.steps, entry.rate, strict=True))
    steps = [int(n * share / whole) // entry.chunk * entry.chunk for n in entry.recipe.steps]
    if min(steps) < 1:
        least = whole * entry.chunk / min(entry.recipe.steps)
        raise ValueError(
            f"{share:.3g} s are too few for {entry.name}: a chunk of {entry.chunk} steps in each of its stages, {seeds} seeds, "
            f"takes {least:.3g} s; give more --minutes, fewer --seeds or fewer --models"
        )
    return with_steps(entry, data, steps)
