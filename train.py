"""Train a recipe.

    python train.py                                              the default recipe, on data that come with it
    python train.py configs/NAME.py --lr 3e-4 --seed 3 --run runs/x    another one, with other knobs
    python train.py configs/NAME.py --help                       every knob and option with its meaning
    python train.py configs/NAME.py --dry-run                    parameters, stages, memory; writes nothing

The same command on an existing run resumes it. Samples: python sample.py runs/x
"""

import sys

from genjax.config import one_line, parse, use_compilation_cache


def main(arguments: list[str]) -> int:
    with one_line(debug="--debug" in arguments):
        command = parse(arguments)  # first, so that --help and typing errors answer at once
        from genjax.job import plan
        from genjax.run import describe, train

        use_compilation_cache()
        job = plan(command)
        if command.options.dry_run:
            print(describe(job))
            return 0
        return train(job)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
