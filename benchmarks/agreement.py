"""Whether pictures show what the words asked for: the share that a classifier of the data takes for it.

    python train.py configs/text_diffusion_digits.py
    python -m benchmarks.agreement runs/text_diffusion_digits [more runs]

For runs on NAME/captions of a set NAME with classes, whose classifier is genjax's own, and of emoji, whose captions tell the
tone of a skin: it is taken from the pixels near the colour that marks each tone in the training data. How often that is right
on held-out data is what a perfect model would reach. Classes are asked for in the four ways of the training data, and in one
way that no caption had; tones by captions of the training data, and by those of emoji that are held out.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.record import kept, record, row
from genjax.data import load
from genjax.data.texts import CLOTHES, NUMBERS, WAYS, caption_of
from genjax.folder import read_json
from genjax.metrics.features import classifier
from genjax.trained import draw, reopen

WORDS = {"digits": NUMBERS, "mnist": NUMBERS, "fashion_mnist": CLOTHES}
UNSEEN = "i want a {} here"
TONES = tuple(f"{tone} skin tone" for tone in ("light", "medium-light", "medium", "medium-dark", "dark"))


class Judge(NamedTuple):
    """Who says what a picture shows."""

    name: str
    classify: Callable[[np.ndarray], np.ndarray]  # shown pictures (n, H, W, C) -> (n,) classes
    accuracy: float  # on held-out data


class Asked(NamedTuple):
    """Captions in some manner, and the class that each tells."""

    manner: str
    captions: list[str]
    classes: np.ndarray
    held_to_bar: bool


def in_words(data: str, samples: int) -> tuple[Judge, list[Asked]]:
    """Names of classes, said in the ways of training and in another."""
    words, number, judge = WORDS[data], np.arange(samples), classifier(load(data))
    said = lambda ways: [ways[k // len(words) % len(ways)].format(words[k % len(words)]) for k in number]
    ways = (("as in training", WAYS, True), ("in words never seen together", (UNSEEN,), False))
    asked = [Asked(manner, said(some), number % len(words), bar) for manner, some, bar in ways]
    return Judge(judge.name, judge.classify, judge.about["accuracy"]), asked


def in_tones(data: str, samples: int) -> tuple[Judge, list[Asked]]:
    """Captions that name one tone, of training and of test."""
    whole, toned, asked = load(f"{data}/captions"), {}, []
    for name, split in whole.splits.items():
        captions = np.array([caption_of(tokens, whole.spec.letters) for tokens in split.y])
        tone = np.array([caption.rpartition(": ")[2] for caption in captions])
        some = np.isin(tone, TONES)
        toned[name] = split.x[some] / 255, captions[some], np.array([TONES.index(each) for each in tone[some]])
    for manner, name in (("by captions of training", "train"), ("by captions of emoji never seen", "test")):
        _, captions, classes = toned[name]
        rows = np.random.default_rng(0).permutation(len(captions))[np.arange(samples) % len(captions)]
        asked.append(Asked(manner, [str(each) for each in captions[rows]], classes[rows], name == "train"))
    (x, _, y), (held, _, truth) = toned["train"], toned["test"]
    classify = by_colour(np.stack([marking(x, y == tone) for tone in range(len(TONES))]))
    return Judge("the tone's own colour", classify, float((classify(held) == truth).mean())), asked


def marking(x: np.ndarray, chosen: np.ndarray, fine: int = 32) -> np.ndarray:
    """(3,) the colour, of `fine` levels a channel, that these pictures have most often beyond their share in all."""
    number = (np.minimum(x * fine, fine - 1).astype(int) @ (fine**2, fine, 1)).reshape(len(x), -1)
    count = lambda rows: np.bincount(rows.ravel(), minlength=fine**3)
    most = np.argmax(count(number[chosen]) - count(number) * chosen.mean())
    return (np.array([most // fine**2, most // fine % fine, most % fine]) + 0.5) / fine


def by_colour(colours: np.ndarray, reach: float = 0.06) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures -> the colour (k, 3) that most of their pixels are near to."""

    def classify(x: np.ndarray) -> np.ndarray:
        far = np.square(x.reshape(len(x), -1, 1, 3) - colours).sum(-1)
        return np.exp(-far / reach**2).sum(1).argmax(1)

    return classify


def measured(folder: Path, samples: int, bar: float) -> list[dict]:
    """One row for each manner of asking."""
    run, data = reopen(folder), read_json(folder / "config.json")["data"].removesuffix("/captions")
    if data not in (*WORDS, "emoji32"):
        known = ", ".join([*WORDS, "emoji32"])
        raise SystemExit(f"{folder} was trained on {data}, whose captions name no classes; there are {known}")
    judge, manners = (in_words if data in WORDS else in_tones)(data, samples)
    sample = jax.jit(run.recipe.model.sample)
    what = "samples of the class asked for" if data in WORDS else "samples of the tone asked for"
    rows = []
    for manner, captions, classes, held_to_bar in manners:
        y = np.stack([run.recipe.read_caption(caption) for caption in captions])
        shown = np.clip(run.recipe.show(draw(sample, run.state.ema, np.arange(samples), y)), 0, 1)
        share = float((judge.classify(shown) == classes).mean())
        print(f"{folder.name}, asked {manner}: {share:.3f} of {samples}", flush=True)
        note = f"{samples} samples; {judge.name} is right on {judge.accuracy:.1%} of held-out data"
        asked_for = {"bar": f">= {bar}", "met": share >= bar} if held_to_bar else {}
        about = dict(seeds=[0], unit="share", note=note, **asked_for)
        rows.append(row(f"{folder.name}, asked {manner}", what, [share], **about))
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
