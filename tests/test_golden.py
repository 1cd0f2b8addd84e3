"""Golden steps: what three steps of every model give, to notice a change that nobody meant.

If a change was meant, look at the difference, say why in the commit, and write the file anew:

    python -m tests.test_golden
"""

import json
from pathlib import Path

import jax
import numpy as np

import tests.conftest  # noqa: F401  four devices, before any model is made
from tests.table import QUICK, TABLE, batch, compiled, every_stage, rows, start

GOLDEN = Path(__file__).with_name("golden.json")


def three_steps(name: str, stage: int) -> dict[str, float]:
    """Losses and gradient norms of the third step, and the norms of parameters and their average after it."""
    state = start(name, stage)
    for seed in range(3):
        state, metrics = compiled(name, stage)(state, batch(seed))
    seen = {key: float(value) for key, value in metrics.items() if key.endswith(("/loss", "/grad_norm"))}
    seen = {key: round(value, 6) for key, value in seen.items() if np.isfinite(value)}
    norms = {"params": norm(state.params), "ema": norm(state.ema)}
    return seen | {key: round(value, 6) for key, value in norms.items()}


def norm(tree) -> float:
    """Root of the sum of squares, by numpy: every eager operation on another shape is a program to compile."""
    return float(np.sqrt(sum(np.square(leaf, dtype=np.float64).sum() for leaf in jax.tree.leaves(tree))))


@rows(TABLE, QUICK, every_stage)
def test_golden(name, stage):
    golden = json.loads(GOLDEN.read_text())[f"{name}, stage {stage}"]
    now = three_steps(name, stage)
    assert now.keys() == golden.keys(), "other metrics than before: see the head of this file"
    for key, value in now.items():
        np.testing.assert_allclose(value, golden[key], rtol=1e-4, atol=1e-5, err_msg=f"{key} moved: see the head of this file")


if __name__ == "__main__":
    found = {f"{name}, stage {stage}": three_steps(name, stage) for name in TABLE for stage in every_stage(name)}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
