"""Whether Diffusion-GAN's T follows its critic (2206.02262): how far noising went in runs of its recipe, and what moved it.

    python train.py configs/diffusion_gan_digits.py --run runs/reach_02
    python train.py configs/diffusion_gan_digits.py --target 0.6 --run runs/reach_06
    python -m benchmarks.reach runs/reach_02 runs/reach_06

T should rise while the critic is surer of its reals, E sign D(x'), than the target, and fall while it is less sure; it stays
within [0, 1]. The correlation is that of T's moves between two lines of metrics.jsonl with how far the critic is above its
target on them, which are means of some batches, and not all the same ones.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.record import kept, record, row
from genjax.folder import read_json


def rows_of(folder: Path) -> list[dict]:
    """T at the end, how sure the critic is, and the correlation."""
    config = read_json(folder / "config.json")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    try:
        reach, sure = (np.array([line[f"reach/{name}"] for line in lines]) for name in ("T", "sure"))
    except KeyError:
        raise SystemExit(f"{folder} has no reach/T: give runs of diffusion_gan_digits or gan_ada_digits") from None
    target, tenth = config["knobs"]["target"], max(1, len(lines) // 10)
    above = (sure[1:] + sure[:-1]) / 2 - target
    name = f"{config['recipe']}, target {target:g}"
    about = dict(seeds=[config["seed"]], keywords={"steps": sum(config["steps"])})
    note = f"from {reach[0]:.3f}; mean of the last tenth of the steps, where the critic is sure to {sure[-tenth:].mean():.3f}"
    lines = [row(name, "T", [float(reach[-tenth:].mean())], note=note, **about)]
    if reach[-tenth:].mean() > 0.01:  # at 0 it cannot follow
        follows = float(np.corrcoef(np.diff(reach), above)[0, 1])
        asked, what = {"bar": "> 0.9", "met": follows > 0.9}, "correlation of T's moves with the critic's certainty"
        lines.append(row(name, what, [follows], **asked, **about))
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    for folder in parser.parse_args().runs:
        for each in (rows := rows_of(folder)):
            print(f"{each['recipe']}, {each['metric']}: {each['values'][0]:.3f} {each['note']}", flush=True)
        record("reach", "Diffusion-GAN's T and its critic", "python -m benchmarks.reach runs/NAME", kept("reach", rows))


if __name__ == "__main__":
    main()
