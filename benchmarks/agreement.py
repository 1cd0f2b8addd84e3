"""Whether pictures show what the words asked for: the share that a classifier of the data takes for it.

    python train.py configs/text_diffusion_digits.py
    python -m benchmarks.agreement runs/text_diffusion_digits [more runs]

For runs on NAME/captions of a set NAME with classes. The classifier is genjax's own of NAME; its accuracy on held-out data is
what a perfect model would reach. Words are asked in the four ways of the training data, and in one way that no caption had.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from benchmarks.record import kept, record, row
from genjax.data import load
from genjax.data.texts import CLOTHES, NUMBERS, WAYS
from genjax.folder import read_json
from genjax.metrics.features import classifier
from genjax.trained import draw, reopen

WORDS = {"digits": NUMBERS, "mnist": NUMBERS, "fashion_mnist": CLOTHES}
UNSEEN = "i want a {} here"


def measured(folder: Path, samples: int, bar: float) -> list[dict]:
    """One row for each manner of asking."""
    run, data = reopen(folder), read_json(folder / "config.json")["data"].removesuffix("/captions")
    if data not in WORDS:
        raise SystemExit(f"{folder} was trained on {data}, whose captions name no classes; there are {', '.join(WORDS)}")
    judge, sample = classifier(load(data)), jax.jit(run.recipe.model.sample)
    seeds = np.arange(samples)
    rows = []
    for manner, ways in (("as in training", WAYS), ("in words never seen together", (UNSEEN,))):
        asked, turn = seeds % len(WORDS[data]), seeds // len(WORDS[data]) % len(ways)
        texts = [ways[k].format(WORDS[data][y]) for k, y in zip(turn, asked, strict=True)]
        y = np.stack([run.recipe.read_caption(text) for text in texts])
        shown = np.clip(run.recipe.show(draw(sample, run.state.ema, seeds, y)), 0, 1)
        share = float((judge.classify(shown) == asked).mean())
        print(f"{folder.name}, asked {manner}: {share:.3f} of {samples}", flush=True)
        note = f"{samples} samples; {judge.name} is right on {judge.about['accuracy']:.1%} of held-out data"
        asked_for = {} if ways == (UNSEEN,) else {"bar": f">= {bar}", "met": share >= bar}
        about = dict(seeds=[0], unit="share", note=note, **asked_for)
        rows.append(row(f"{folder.name}, asked {manner}", "samples of the class asked for", [share], **about))
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--bar", type=float, default=0.95)
    args = parser.parse_args()
    for folder in args.runs:
        record("agreement", "Pictures told in words", "python -m benchmarks.agreement runs/NAME",
               kept("agreement", measured(folder, args.samples, args.bar)))  # fmt: skip


if __name__ == "__main__":
    main()
