"""Compare models on the same data, matched and measured the same way, each with several seeds.

    python -m genjax.compare --data digits --models vae,gan,diffusion --match time --minutes 8 --seeds 5 --out runs/compared
    python -m genjax.compare --hybrid vae_gan --minutes 6 --seeds 5        a hybrid beside its parents, which get the same time
    python -m genjax.compare --grid --minutes 12 --seeds 2                 every autoencoder with every prior of its codes
    python -m genjax.compare --help

Writes OUT/comparison.json, .md and .html. What is done is kept: after a kill the same command goes on from the last moment of
the learning curve.
"""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from genjax.compare.plan import Entry, Options, asked, entries, opened, store, stored, with_grid, with_parents
from genjax.config import one_line, parse_into
from genjax.data import Dataset, load


def main(arguments: list[str]) -> int:
    with one_line(debug="--debug" in arguments):
        given = parse_into({"compare": Options}, arguments, "python -m genjax.compare", __doc__)["compare"]
        options = with_grid(with_parents(given))
        data = load(options.data, options.data_dir or None)
        found, refused = models(options, data)
        with opened(options) as folder:
            try:
                command = shlex.join(["python", "-m", "genjax.compare", *arguments])
                compare(options, data, found, folder, command, refused)
            except KeyboardInterrupt:
                print(f"stopped; the same command goes on from what is in {folder}", file=sys.stderr)
                return 130
    return 0


def models(options: Options, data: Dataset) -> tuple[list[Entry], dict[str, str]]:
    """(what is compared, {cell of a grid: why it is not})."""
    if not options.grid:
        return entries(options, data), {}
    from genjax.compare.grid import cells, tried

    found, refused = tried(cells(), data)
    print(*(f"{name} is refused: {why}" for name, why in refused.items()), sep="\n", flush=True)
    return found, refused


def compare(
    options: Options, data: Dataset, found: list[Entry], folder: Path, command: str, refused: dict[str, str]
) -> dict[str, Any]:
    """Plan, train and measure what is not done yet; write the record and its pages."""
    from genjax.checkpoint import write_atomically
    from genjax.compare.page import write
    from genjax.compare.tables import markdown
    from genjax.compare.verdict import space

    space = space(options, data)
    target, planned = stored(folder, asked(options, found), found, data) or plan(options, data, found, folder)
    said = [one_model(options, data, entry, folder, space) for entry in planned]
    result = record(options, data, space, target, said, folder) | hybrid(options, planned, data) | grid(options, refused)
    result |= {"command": command}
    write_atomically(folder / "comparison.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    print(markdown(result), *map(str, write(result, folder)), sep="\n")
    return result


def plan(options: Options, data: Dataset, found: list[Entry], folder: Path) -> tuple[dict[str, Any], list[Entry]]:
    """Match the models, which for time measures them; kept, so that it is done once."""
    from genjax.compare.match import same_parameters, same_time

    target: dict[str, Any] = {}
    if options.match == "params":
        target, planned = same_parameters(found, data)
    elif options.match == "time":
        print("measuring the time of a step of each model", flush=True)
        target, planned = same_time(found, data, options.seeds, options.minutes)
    else:
        planned = found
    store(folder, asked(options, found), target, planned)
    return target, planned


def one_model(options: Options, data: Dataset, entry: Entry, folder: Path, space: Any) -> dict[str, Any]:
    """Train and measure a model, or read what was kept of it: its record, what each seed said, and at which commit."""
    from genjax.checkpoint import write_atomically
    from genjax.compare.course import courses
    from genjax.compare.verdict import judged, looker, measured, pictured, samples_of
    from genjax.folder import commit, read_json

    kept, own = folder / "models" / f"{entry.name}.json", folder / "models" / entry.name
    if kept.exists():
        return read_json(kept)
    say = lambda line: print(line, flush=True)
    say(f"{entry.name}: {entry.recipe.steps} steps of {entry.recipe.batch}, {options.seeds} seeds")
    look, found, said = looker(entry.recipe, space.features, space.reals, options.curve_samples), [], []
    for course in courses(entry, data, tuple(range(options.seeds)), own, look, say):
        said += measured(entry, course, data, space.features, options.samples, own)
        if not found:
            picture = pictured(folder / "pictures" / f"{entry.name}.png", lambda course=course: samples_of(entry, course))
        found.append(course._replace(state=None))  # its memory is the next group's
    result = {"commit": commit(), "judged": judged(entry, found, said, data, picture), "said": said}
    write_atomically(kept, json.dumps(result, indent=1) + "\n")
    return result


def hybrid(options: Options, planned: list[Entry], data: Dataset) -> dict[str, Any]:
    """What a comparison of a hybrid says of it besides."""
    from genjax.compare.match import branches

    if not options.hybrid:
        return {}
    first, *parents = planned
    told = {"name": first.name, "parents": [one.name for one in parents], "branches": branches(first, data)}
    return {"hybrid": told}


def grid(options: Options, refused: dict[str, str]) -> dict[str, Any]:
    """What a comparison of a grid says of it besides."""
    if not options.grid:
        return {}
    from genjax.compare.grid import CODES, PRIORS

    return {"grid": {"codes": list(CODES), "priors": list(PRIORS), "refused": refused}}


def cores() -> int | None:
    """Those that this process may run on, fewer than the machine has under taskset, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def record(
    options: Options, data: Dataset, space: Any, target: dict[str, Any], said: list[dict], folder: Path
) -> dict[str, Any]:
    """comparison.json: what was compared, on what, and what came out."""
    from genjax.compare.verdict import beside, pictured, reals
    from genjax.folder import installed
    from genjax.run import PICTURED, hardware

    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "data": data.name,
        "match": options.match,
        "target": target,
        "minutes": options.minutes / len(said) if options.match == "time" else None,  # of each model
        "seeds": list(range(options.seeds)),
        "samples": options.samples,
        "curve_samples": options.curve_samples,
        "features": {"name": space.features.name, "about": space.features.about},
        "hardware": f"{hardware()}, {cores()} cores",
        "versions": {"python": sys.version.split()[0]} | {name: installed(name) for name in packages},
        "commit": ", ".join(dict.fromkeys(model["commit"] for model in said)),
        **beside([one for model in said for one in model["said"]]),
        "models": [model["judged"] for model in said],
        "real_picture": pictured(folder / "pictures" / "real.png", lambda: reals(data, len(PICTURED))),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
