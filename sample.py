"""Sample from a trained run.

    python sample.py runs/x --seeds 0-63 --out grid.png          a grid, and the arrays beside it in grid.npz
    python sample.py runs/x --seeds 7,9,100-103 --label 3        some seeds, all of one class
    python sample.py runs/x --export params.safetensors          the averaged parameters under their paths

Sample k depends on the checkpoint and on seed k alone, not on what else is drawn with it.
"""

import argparse
import sys
from pathlib import Path

from genjax.config import one_line


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    with one_line(options.debug):
        from genjax.run import reopen, use_compilation_cache

        seeds = seed_list(options.seeds)
        use_compilation_cache()
        run = reopen(options.run)
        params = run.state.params if options.raw else run.state.ema
        kind = "raw" if options.raw else "averaged (EMA)"
        if options.export:
            from genjax.checkpoint import export

            print(f"{options.export}: {export(params, options.export)} arrays, {kind} parameters of step {run.step}")
        else:
            save(run, params, seeds, options.label, options.out)
            print(f"{options.out}, {options.out.with_suffix('.npz')}: {len(seeds)} samples, {kind} parameters of step {run.step}")
    return 0


def save(run, params, seeds, label, out: Path) -> None:
    """Draw one sample a seed; write the picture and the arrays."""
    import jax
    import numpy as np

    from genjax.report import picture
    from genjax.run import draw, labels

    y = labels(run.recipe, seeds, label)
    x = draw(jax.jit(run.model.sample), params, seeds, y)
    picture(out, run.recipe.show(x))
    np.savez(out.with_suffix(".npz"), x=x, seeds=seeds, **({} if y is None else {"y": y}))


def seed_list(text: str):
    """0-63, 7, or 1,5,8-11 as an array."""
    import numpy as np

    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        seeds = [seed for part in ends for seed in range(part[0], part[-1] + 1)]
        if not seeds or any(len(part) > 2 for part in ends) or max(seeds) >= 2**32 or len(seeds) > 10**6:
            raise ValueError
    except ValueError:
        raise ValueError(f"--seeds {text}: give numbers and ranges below 2^32, a million at most, like 0-63 or 1,5,8-11") from None
    return np.asarray(seeds, np.uint32)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--seeds", default="0-63", help="one sample each, like 0-63 or 1,5,8-11 (default: 0-63)")
    parser.add_argument("--out", type=Path, default=Path("grid.png"), help="picture to write; arrays go beside it as .npz")
    parser.add_argument("--label", type=int, help="class of all samples, of a conditional model (default: each in turn)")
    parser.add_argument("--raw", action="store_true", help="the parameters themselves rather than their running average")
    parser.add_argument("--export", type=Path, help="write the parameters as safetensors instead of sampling")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
