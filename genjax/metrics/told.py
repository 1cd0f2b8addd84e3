"""How an evaluation is told: a table, the run's result.json, and rows of RESULTS.md."""

import json
from pathlib import Path
from typing import Any

from genjax.checkpoint import write_atomically
from genjax.config import knob_class, load_recipe
from genjax.folder import read_json
from genjax.report import nbytes

CONTEXT = ("step", "weights", "data", "split", "samples", "seed", "features")  # numbers of another context are not mixed in


def table(found: dict[str, Any]) -> str:
    """Likelihood, metrics with floor and self-score, speed: what a terminal shows."""
    lines = [f"{found['data']}, step {found['step']}, weights {found['weights']}, {found['samples']} samples of seeds 0 .. "
             f"{found['samples'] - 1} against split {found['split']!r}"]  # fmt: skip
    if "likelihood" in found:
        lines += ["", f"likelihood: {likelihood_in_words(found['likelihood'])}"]
    if found["metrics"]:
        lines += ["", metric_table(found["metrics"])]
    lines += [f"collapse: {sentence}" for sentence in found.get("flags") or []]
    if found.get("speed"):
        lines += ["", *speed_in_words(found["speed"])]
    return "\n".join(lines)


def likelihood_in_words(found: dict[str, Any] | None) -> str:
    """One line, the convention with it."""
    if found is None:
        return "none, the model has neither a density nor a bound on it"
    bits = "" if found["bits"] is None else f", {number(found['bits'])} bits/dim"
    entropy = "" if found["entropy"] is None else f"; entropy of the truth {number(found['entropy'])}"
    where = f"{found['n']} examples of split {found['split']!r}"
    return f"{number(found['nats'])} ± {number(found['error'])} nats{bits} ({found['convention']}), {where}{entropy}"


def metric_table(rows: dict[str, dict[str, Any]]) -> str:
    """One line a metric: value, floor, self-score, the n of each, which way is better, and the space."""
    head = ("metric", "value", "floor", "self", "better", "n", "n floor", "n self", "space")
    n = lambda pair: "/".join(map(str, pair))
    cells = [head]
    for row in rows.values():
        numbers = (number(row[kind]) for kind in ("value", "floor", "self"))
        sizes = (n(row[kind]) for kind in ("n", "n_floor", "n_self"))
        cells.append((row["label"], *numbers, row["better"], *sizes, row["space"]))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    said = "n: reals/samples; floor: two halves of the reals; self: held-out reals as samples"
    return "\n".join([*lines, said])


def speed_in_words(found: dict[str, Any]) -> list[str]:
    """Size and speed in three lines."""
    rates = ", ".join(f"{number(rate)} at batch {size}" for size, rate in found["samples_per_second"].items())
    times = f"{'at least ' if found['at_least'] else ''}{number(found['evaluations'])}"
    memory = f", {nbytes(found['memory'])} of memory" if found["memory"] else ""
    peak = f", peak of the device {nbytes(found['device_peak'])}" if found["device_peak"] else ""
    lines = [f"parameters: {found['parameters']:,}; network evaluations a sample: {times}",
             f"samples a second: {rates}; compiled in {number(found['compile_seconds'])} s{memory}{peak}"]  # fmt: skip
    if found.get("train_seconds") is not None:
        lines.append(f"training: {number(found['train_seconds'])} s, compiled in {number(found['train_compile_seconds'])} s")
    return lines


def number(x: float | None) -> str:
    """Four digits, or a dash."""
    return "-" if x is None else f"{x:,.0f}" if abs(x) >= 10_000 else f"{x:.4g}"


# ---- kept ------------------------------------------------------------------------------------------------------------


def keep(folder: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The evaluation with what the run knows of its training, after it was written into result.json.

    Numbers of an earlier evaluation of the same checkpoint in the same context stay, as does all else in the file.
    """
    path = folder / "result.json"
    result = read_json(path) if path.exists() else {}
    if "speed" in found:
        found = found | {"speed": found["speed"] | training(result)}
    before = result.get("evaluation", {})
    if all(before.get(name) == json.loads(json.dumps(found[name])) for name in CONTEXT):
        found = before | found | {"metrics": before["metrics"] | found["metrics"]}
    write_atomically(path, json.dumps(result | {"evaluation": found}, indent=1) + "\n")
    return found


def training(result: dict[str, Any]) -> dict[str, float]:
    """Seconds that training and its compilation took, where result.json tells; without pictures and checkpoints."""
    if not result.get("steps_per_second"):
        return {}
    seconds = round(result["steps"] / result["steps_per_second"], 1)
    return {"train_seconds": seconds, "train_compile_seconds": result.get("compile_seconds")}


def record(folder: Path, found: dict[str, Any]) -> Path:
    """Put the evaluation of a run among results/evaluations.json, in place of an older one of the same recipe and seed."""
    try:
        from benchmarks import record as results
    except ImportError as error:
        raise ValueError("--record needs the folder `benchmarks` of genjax's repository; run it from there") from error
    config = read_json(folder / "config.json")
    fresh = [results.row(**cells) for cells in rows_of(folder, config, found)]
    which = lambda row: (row["recipe"], json.dumps(row["keywords"]), json.dumps(row["seeds"]))
    same = {which(row) for row in fresh}
    kept = [row for row in results.earlier("evaluations") if which(row) not in same]
    rows = sorted(kept + fresh, key=lambda row: row["recipe"])
    return results.record("evaluations", "Evaluations of single runs", "python -m genjax.evaluate runs/NAME --record", rows)


def rows_of(folder: Path, config: dict[str, Any], found: dict[str, Any]) -> list[dict[str, Any]]:
    """Arguments of `benchmarks.record.row` for every number."""
    defaults = vars(knob_class(load_recipe(folder / "recipe.py"))())
    plain = json.loads(json.dumps(defaults))
    changed = {name: value for name, value in config["knobs"].items() if plain.get(name) != value}
    common = {"recipe": f"{config['recipe']} on {found['data']}", "keywords": changed, "seeds": [config["seed"]]}
    rows = []
    if likelihood := found.get("likelihood"):
        numbers = {"nats": likelihood["nats"], "bits/dim": likelihood["bits"]}
        note = f"{likelihood['convention']}, {likelihood['n']} examples; standard error {number(likelihood['error'])} nats"
        rows += [common | {"metric": f"test NLL, {unit}", "values": [value], "unit": unit, "note": note}
                 for unit, value in numbers.items() if value is not None]  # fmt: skip
    for row in found["metrics"].values():
        note = f"floor {number(row['floor'])}, n {row['n'][1]} ({row['n_self'][1]} for the self-score), space: {row['space']}"
        own = {"floor": row["floor"], "space": f"n {row['n'][1]}; {row['space']}"}
        own |= {"reference": row["self"], "source": "held-out reals"} if row["self"] is not None else {}
        if row["value"] is not None:
            rows.append(common | {"metric": row["label"], "values": [row["value"]], "note": note} | own)
    if speed := found.get("speed"):
        rate = speed["samples_per_second"]["64"]
        note = f"{number(speed['evaluations'])} network evaluations a sample, {speed['parameters']:,} parameters"
        rows.append(common | {"metric": "samples a second, batch 64", "values": [rate], "unit": "/s", "note": note})
    return rows
