"""A comparison in words: what was compared and how, and text that is safe where it stands."""

import re
from collections.abc import Sequence
from typing import Any


def how(result: dict) -> str:
    """What was compared and how, in one sentence of plain text."""
    seeds, many = result["seeds"], len(result["models"])
    seeded = f"{len(seeds)} seeds each ({span(seeds)})" if len(seeds) > 1 else f"seed {seeds[0]}"
    return (
        f"{many} model{'s' * (many > 1)} on {result['data']}, matched by {result['match']}, {seeded}, "
        f"{result['samples']:,} samples a seed; features: {space(result)}.{apart(result)}"
    )


def apart(result: dict, most: float = 0.1) -> str:
    """A sentence where training took another time than was planned, by more than `most` of it; else nothing."""
    planned = (result.get("target") or {}).get("seconds")
    taken = sorted((model["train_seconds"] / planned, model["name"]) for model in result["models"]) if planned else []
    if not taken or max(1.0 - taken[0][0], taken[-1][0] - 1.0) <= most:
        return ""
    (least, first), (longest, last) = taken[0], taken[-1]
    ends = f"from {least:.2f} ({first}) to {longest:.2f} times ({last})" if len(taken) > 1 else f"{least:.2f} times"
    return f" The machine's pace changed: training took {ends} what was planned."


def span(seeds: Sequence[int]) -> str:
    """0-4 for a row of seeds without gaps, else each."""
    row = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]}-{seeds[-1]}" if row else ", ".join(map(str, seeds))


def space(result: dict) -> str:
    """Name of the feature space, and how well its classifier does where it is one's."""
    found = result["features"]
    accuracy = (found.get("about") or {}).get("accuracy")
    return found["name"] + (f", {accuracy:.1%} right on held-out data" if isinstance(accuracy, float) else "")


def features(result: dict) -> str:
    """Name of the feature space and all that is known about it."""
    space = result["features"]
    about = told(space.get("about") or {})
    return space["name"] + (f" ({about})" if about else "")


def rule(result: dict) -> str:
    """How the tables are to be read."""
    if len(result["seeds"]) < 2:
        return "one seed, so there is no spread and nothing is called the best."
    return (
        "mean ± standard deviation over seeds; bold: better than each other model by more than the root of the sum of both "
        "variances, and no seed missing; 4 of 5 seeds: the mean of those that have a value."
    )


def versions(result: dict) -> str:
    """python 3.11.2, jax ..."""
    return ", ".join(f"{name} {number}" for name, number in (result.get("versions") or {}).items())


def told(value: Any) -> str:
    """A value of a result in one line."""
    if isinstance(value, dict):
        return "; ".join(f"{str(name).replace('_', ' ')} {told(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return " and ".join(map(told, value))
    return f"{value:.6g}" if isinstance(value, float) else "none" if value is None else str(value)


def plain(text: str) -> str:
    """Text that Markdown shows as it stands: no cell ends early, no tag opens, no emphasis begins."""
    text = " ".join(str(text).split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"[|*`\[\]]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
