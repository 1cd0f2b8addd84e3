"""Sample from a trained run.

    python sample.py runs/x --seeds 0-63 --out grid.png          a grid, and the arrays beside it in grid.npz
    python sample.py runs/x --seeds 7,9,100-103 --label 3        some seeds, all of one class
    python sample.py runs/x --caption "a red apple"              of a model that was trained with captions
    python sample.py runs/x --out page.txt --prefix "ROMEO:"     a model of text goes on from there
    python sample.py runs/x --export params.safetensors          the averaged parameters under their paths

Sample k depends on the checkpoint and on seed k alone, not on what else is drawn with it.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from genjax.config import one_line, parse_into, split_run, use_compilation_cache


@dataclass(frozen=True)
class Options:
    """What to draw.

    Attributes:
      seeds: one sample each, like 0-63 or 1,5,8-11.
      out: picture to write; the arrays go beside it as .npz.
      label: class of all samples of a conditional model; without it seed k gets class k modulo their number.
      caption: text that all samples of a model of captions are told; without it the recipe's, seed by seed.
      prefix: text that all samples of a text model begin with.
      raw: the parameters themselves rather than their running average.
      export: write the parameters as safetensors to this file instead of sampling.
      debug: show the traceback of an error.
    """

    seeds: str = "0-63"
    out: str = "grid.png"
    label: int | None = None
    caption: str = ""
    prefix: str = ""
    raw: bool = False
    export: str = ""
    debug: bool = False


def main(arguments: list[str]) -> int:
    with one_line(debug="--debug" in arguments):
        folder, rest = split_run(arguments, Options)
        options = parse_into({"sample": Options}, rest, "sample.py runs/x", __doc__)["sample"]
        use_compilation_cache()
        from genjax.trained import reopen

        run = reopen(folder)
        params = run.state.params if options.raw else run.state.ema
        written = export(params, options) if options.export else pictured(run, params, options)
        print(f"{written}, {'raw' if options.raw else 'averaged (EMA)'} parameters of step {run.step}")
    return 0


def export(params: dict, options: Options) -> str:
    from genjax.checkpoint import export

    return f"{options.export}: {export(params, Path(options.export))} arrays"


def pictured(run, params: dict, options: Options) -> str:
    """Draw one sample a seed; write the picture and the arrays."""
    from genjax.job import labels
    from genjax.report import picture
    from genjax.trained import draw, seed_list

    out, seeds = Path(options.out), seed_list(options.seeds)
    y = labels(run.recipe, seeds, options.label, options.caption)
    if out.suffix != ".png" and (out.suffix != ".txt" or run.recipe.read is None):
        raise ValueError(f"--out {out}: a grid is a .png" + ("" if run.recipe.read is None else ", texts are a .txt"))
    x = draw(jax.jit(begun(run.recipe, options.prefix)), params, seeds, y)
    shown = run.recipe.show(x)
    out.write_text("\n----\n".join(shown) + "\n") if out.suffix == ".txt" else picture(out, shown)
    np.savez(out.with_suffix(".npz"), x=x, seeds=seeds, **({} if y is None else {"y": y}))
    return f"{out} and {out.with_suffix('.npz')}: {len(seeds)} samples"


def begun(recipe, prefix: str):
    """What draws the samples: all of them begin with the prefix."""
    if not prefix:
        return recipe.model.sample
    if recipe.read is None or recipe.model.complete is None:
        raise ValueError("--prefix is for models of text; leave it out")
    opening = recipe.read(prefix)[None]
    return lambda params, keys, *y: recipe.model.complete(params, keys, opening.repeat(len(keys), 0), *y)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
