"""50 mutated command lines: is any accepted silently?

    python -m benchmarks.mutated_commands

Each is a good command with one thing wrong: a letter of a name changed, a value of another type or out of range, a value
missing, an option twice, a file that is not there. Accepted silently means: parsed and planned without an error.
"""

import random

from benchmarks.record import record, row
from genjax.config import parse
from genjax.job import plan

GOOD = {"--latent": "8", "--width": "32", "--steps": "50", "--batch": "16", "--lr": "1e-3", "--beta": "1.0",
        "--seed": "3", "--keep": "2", "--chunk": "10", "--save-every": "20", "--log-every": "5", "--bad-steps": "4",
        "--parallel": "jit", "--data": "digits"}
NUMBERS = [name for name in GOOD if name not in ("--parallel", "--data")]


def misspelt(rng: random.Random, names: list[str]) -> list[str]:
    """One letter of a name left out, doubled or changed."""
    name = rng.choice(names)
    at = rng.randrange(2, len(name))
    other = rng.choice((name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], name[:at] + "q" + name[at + 1 :]))
    return [a for n in names for a in (other if n == name else n, GOOD[n])] if other not in GOOD else misspelt(rng, names)


def worse(rng: random.Random, names: list[str]) -> list[str]:
    """One number that is none, or out of range."""
    name = rng.choice(NUMBERS)
    value = rng.choice(("x", "", "-3", "nan", "inf", "1e400", "99999999999999", "3..5", "1,5", "0x", "None", "true", "-0.5"))
    return [a for n in dict.fromkeys([*names, name]) for a in (n, value if n == name else GOOD[n])]


def lacking(rng: random.Random, names: list[str]) -> list[str]:
    """A value that is missing, or one too many."""
    name, line = rng.choice(names), [a for n in names for a in (n, GOOD[n])]
    at = line.index(name) + 1
    return line[:at] + line[at + 1 :] if rng.random() < 0.5 else [*line[: at + 1], GOOD[name], *line[at + 1 :]]


def twice(rng: random.Random, names: list[str]) -> list[str]:
    name = rng.choice(names)
    return [a for n in [*names, name] for a in (n, GOOD[n])]


def elsewhere(rng: random.Random, names: list[str]) -> list[str]:
    """A recipe, data set or choice that is not there; one recipe too many; single dashes."""
    line = [a for n in names for a in (n, GOOD[n])]
    return [*line, *rng.choice((["configs/vae_digit.py"], ["configs/none.py"], ["configs"], ["vae_digits"], ["-seed2", "3"],
                                ["configs/vae_digits.py", "configs/vae_digits.py"], ["--no-dry-run"], ["--dry-run=yes"],
                                ["--smoke", "yes"], ["—debug"], ["--run"], ["--data-dir", "/nowhere"]))]


def accepted(line: list[str]) -> str:
    """What a command line came to: "accepted", or its one line of error."""
    try:
        plan(parse(line))
    except (ValueError, OSError) as error:
        return " ".join(str(error).split())
    except SystemExit as end:
        return f"ended with {end.code}"
    return "accepted"


def main() -> None:
    rng, results, notes = random.Random(0), [], []
    assert accepted([a for pair in GOOD.items() for a in pair]) == "accepted"
    for k in range(50):
        names = rng.sample(sorted(GOOD), 4)
        line = (misspelt, worse, lacking, twice, elsewhere)[k % 5](rng, names)
        came = accepted(line)
        results.append(float(came != "accepted"))
        notes += [" ".join(line)] if came == "accepted" else []
        print(f"{' '.join(line)}\n    {came}")
    print(f"{sum(results):.0f} of {len(results)} refused; accepted: {notes}")
    record("mutated_commands", "Mutated command lines", "python -m benchmarks.mutated_commands", [
        row("vae_digits", "refused with one line", results, seeds=list(range(len(results))), unit="share", bar="50 of 50",
            met=all(results), note="accepted: " + "; ".join(notes) if notes else "")])


if __name__ == "__main__":
    main()
