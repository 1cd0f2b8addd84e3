"""The metrics against known answers, before any model is judged by them.

    GENJAX_DATA=~/data python -m benchmarks.metric_anchors            three splits and k-means of MNIST for NDB: minutes
    GENJAX_DATA=~/data python -m benchmarks.metric_anchors 0 1 .. 9   of these seeds

NDB against its authors' three values on MNIST (the README beside the code of 1805.12462), nearest neighbours against the
package prdc, the Frechet distance against scipy's square root, planted mode collapse, and the floors of perfect samples.
"""

import contextlib
import io
import sys
from typing import Any

import numpy as np

from benchmarks.record import record, row
from genjax.data import Dataset, load
from genjax.metrics.collapse import collapse
from genjax.metrics.distance import frechet
from genjax.metrics.modes import NDB, compare, kmeans, reverse_kl
from genjax.metrics.neighbours import expected_coverage, prdc

Row = dict[str, Any]
SEEDS = list(range(20))
DEMO = "the README beside the authors' code"


def everything(data: Dataset, *splits: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in 0 .. 1 (n, d) and labels (n,) of some splits together."""
    x = np.concatenate([data.splits[name].x[:] for name in splits])
    return x.reshape(len(x), -1) / (data.spec.levels - 1), np.concatenate([data.splits[name].y[:] for name in splits])


def ndb_rows(seeds: list[int]) -> list[Row]:
    """100 bins of 45 000 training images; 10 000 others, the test set, and those others without the nines.

    The README names 3 standard errors for its picture and none for its counts, so that those above 4 stand beside them.
    """
    data = load("mnist")
    (x, y), (test, _) = everything(data, "train", "valid"), everything(data, "test")
    found = [ndb_cases(x, y, test, seed) for seed in seeds]
    cases = [  # the bar, the authors' NDB and JS
        ("random validation split", "0", lambda n: n == 0, 0, 0.0014),
        ("test set", "<= 4", lambda n: n <= 4, 4, 0.0041),
        ("validation without nines", ">= 11", lambda n: n >= 11, 11, 0.016),
    ]
    rows = []
    for case, (name, bar, met, count, js) in enumerate(cases):
        line = lambda metric, values, name=name, **more: row(
            "mnist, pixels", f"{metric}, {name}", values, seeds=seeds, source=DEMO, **more
        )
        for place, errors in enumerate((3, 4)):
            counts = [one[case][place].different for one in found]
            judged = {"bar": bar, "met": met(np.median(counts)).item()} if errors == 3 else {}
            rows.append(line(f"NDB at {errors} standard errors", counts, unit="of 100 bins", reference=count, **judged))
        rows.append(line("JS", [one[case][0].js for one in found], unit="nats", reference=js))
    return rows


def ndb_cases(x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int) -> list[tuple[NDB, NDB]]:
    """The three of `ndb_rows` at 3 and at 4 standard errors, for one seed of the split and of k-means."""
    order = np.random.default_rng(seed).permutation(len(x))
    bins, held = kmeans(x[order[:45_000]], 100, seed=seed), order[45_000:55_000]
    return [(compare(bins, query, 3), compare(bins, query, 4)) for query in (x[held], test, x[held][y[held] != 9])]


def distance_rows() -> list[Row]:
    """The largest difference from the other way to compute it."""
    from prdc import compute_prdc
    from scipy.linalg import sqrtm

    apart, root = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        real, fake = rng.standard_normal((2000, 64)), 0.9 * rng.standard_normal((1500, 64)) + 0.1
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = compute_prdc(real, fake, 5)
        apart.append(max(float(abs(value - theirs[name])) for name, value in prdc(real, fake)._asdict().items()))
        s, t, shift = np.cov(real.T), np.cov(fake.T), real.mean(0) - fake.mean(0)
        known = shift @ shift + np.trace(s + t - 2 * sqrtm(s @ t).real)
        root.append(float(abs(frechet(real, fake) / known - 1)))
    where, seeds = "normal features, 2000 x 64 and 1500 x 64", list(range(5))
    return [
        row(where, "largest difference from the package prdc", apart, seeds=seeds, bar="<= 1e-6", met=bool(max(apart) <= 1e-6)),
        row(where, "Frechet, relative to scipy's sqrtm", root, seeds=seeds, bar="<= 1e-5", met=bool(max(root) <= 1e-5)),
    ]


def planted(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, bool]:
    """Whether half of the digits are flagged in place of fakes: as they are, and with three kinds of collapse planted."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    real, (fake, label) = x[order[:-900]], (x[order[-900:]], y[order[-900:]])
    kinds = {
        "3 of 10 classes dropped": fake[~np.isin(label, rng.choice(10, 3, replace=False))],
        "50 of 900 samples duplicated": np.concatenate([fake[:850], fake[:50]]),
        "50 samples, 18 times each": np.repeat(fake[:50], 18, axis=0),
        "nothing": fake,
    }
    return {kind: bool(collapse(real, some, seed=seed).flags) for kind, some in kinds.items()}


def collapse_rows() -> list[Row]:
    x, y = everything(load("digits"), "train", "valid", "test")
    found = [planted(x, y, seed) for seed in SEEDS]
    rows = []
    for kind in found[0]:
        flagged, asked = sum(one[kind] for one in found), 0 if kind == "nothing" else len(SEEDS)
        line = {"unit": "sets", "bar": f"{asked} of {len(SEEDS)}", "met": flagged == asked}
        rows.append(row("digits, pixels", f"flagged: {kind}", [flagged], seeds=SEEDS, **line))
    return rows


def floor_rows() -> list[Row]:
    """What draws from the truth score."""
    draws = [reverse_kl(np.random.default_rng(seed).multinomial(26_000, np.full(1000, 1e-3))) for seed in SEEDS]
    scores = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        scores.append(prdc(rng.standard_normal((1000, 64)), rng.standard_normal((1000, 64))))
    expected, mean = expected_coverage(1000, 1000, 5), np.mean(scores, 0)
    line = lambda name, i, **more: row(
        "normal features, 1000 x 64 twice", f"{name}, k = 5", [score[i] for score in scores], seeds=SEEDS, **more
    )
    near = abs(np.mean(draws) - 0.0192) < 0.0005
    return [
        row("uniform draws, 26 000 over 1000 cells", "reverse KL", draws, seeds=SEEDS, unit="nats", bar="0.019", met=bool(near),
            reference=0.0192, source="(K - 1) / 2n"),
        line("coverage", 3, bar="expected +- 0.005", met=bool(abs(mean[3] - expected) < 0.005), reference=round(expected, 5),
             source="2002.09797"),
        line("precision", 0), line("recall", 1), line("density", 2, reference=1, source="2002.09797"),
    ]  # fmt: skip


def main() -> None:
    seeds = [int(seed) for seed in sys.argv[1:]] or [0, 1, 2]
    rows = distance_rows() + floor_rows() + collapse_rows() + ndb_rows(seeds)
    for one in rows:
        print(f"{one['recipe']}: {one['metric']} {np.mean(one['values']):.4g} {one['bar']} {one['met']}")
    record(
        "metric_anchors",
        "Metrics against known answers",
        " ".join(["python -m benchmarks.metric_anchors", *sys.argv[1:]]),
        rows,
    )


if __name__ == "__main__":
    main()
