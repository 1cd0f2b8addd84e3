"""Monitors: planted failures are told, once and in one line; sound series and sound recipes are not."""

import json

import numpy as np
import pytest

from genjax.monitors import FEWEST, WATCHES, Monitors, above, below, grown

LENGTH = 1000


def warnings(folder) -> list[dict]:
    path = folder / "warnings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def lines(values, name="fit/kl", every=10, begin=0) -> list[dict]:
    """Rows of metrics.jsonl."""
    return [{"step": begin + every * (k + 1), name: float(value)} for k, value in enumerate(values)]


def told(folder, rows, steps=(LENGTH,), at_once=3) -> list[dict]:
    """What monitors say of rows that come a few at a time."""
    monitors = Monitors(folder, steps)
    for k in range(0, len(rows), at_once):
        monitors.follow(rows[k : k + at_once])
    return monitors.warnings


# ---- the watches on series that are made up ----------------------------------------------------------------------------

SOUND = {"accuracy": 0.7, "active_units": 5.0, "kl": 3.0, "grad_norm": 4.0, "update_norm": 0.1, "spread_ratio": 0.9,
         "recall": 0.4}  # fmt: skip
BROKEN = {"accuracy": 0.995, "active_units": 0.2, "kl": 0.01, "grad_norm": 0.0, "update_norm": 20.0, "spread_ratio": 0.1,
          "recall": 0.01}  # fmt: skip
BESIDE = {"params_norm": 30.0, "recall_of_reals": 0.8}


def test_every_watch_has_a_row_here():
    assert {watch.metric for watch in WATCHES} == set(SOUND) == set(BROKEN)


@pytest.mark.parametrize("metric", SOUND)
def test_a_broken_value_is_told_once_and_a_sound_one_never(metric, tmp_path, capsys):
    noise = np.random.default_rng(0).uniform(0.99, 1.005, 100)
    for name, value, count in (("sound", SOUND[metric], 0), ("broken", BROKEN[metric], 1)):
        (tmp_path / name).mkdir()
        rows = [row | {f"fit/{n}": v for n, v in BESIDE.items()} for row in lines(value * noise, f"fit/{metric}")]
        assert len(told(tmp_path / name, rows)) == count == len(warnings(tmp_path / name))
        said = capsys.readouterr().err
        assert said.count("\n") == count and all(line.startswith("warning: step ") for line in said.splitlines())
    assert f"fit/{metric}" in said and "usually" in said and ";" in said


def test_a_gradient_that_explodes_is_told_and_one_that_grows_is_not(tmp_path):
    slow = np.geomspace(1, 50, 100)
    assert not told(tmp_path, lines(slow, "fit/grad_norm"))
    fast = np.where(np.arange(100) < 60, 1.0, 1e4)
    assert [w["problem"] for w in told(tmp_path, lines(fast, "fit/grad_norm"))] == ["exploding gradient"]


def test_it_must_hold_for_a_tenth_of_the_stage_after_its_warm_up(tmp_path):
    """Warm-up: steps 1 .. 100. One good line in ten keeps the watch silent; the first ten in a row do not."""
    values = np.zeros(100)
    values[10::10] = 1.0
    assert not told(tmp_path, lines(values))
    assert told(tmp_path, lines(np.zeros(100)), at_once=1)[0]["step"] == 200


def test_a_short_stage_is_too_short_to_judge(tmp_path):
    assert not told(tmp_path, lines(np.zeros(FEWEST), every=1), (FEWEST,))
    assert told(tmp_path, lines(np.zeros(2 * FEWEST), every=1), (2 * FEWEST,))


def test_each_stage_is_judged_by_itself(tmp_path):
    """Ten bad lines over a border are none; the second stage has a warm-up of its own."""
    rows = lines(np.r_[np.ones(91), np.zeros(9)]) + lines(np.r_[np.zeros(10), np.ones(90)], begin=LENGTH)
    assert not told(tmp_path, rows, (LENGTH, LENGTH))
    rows = lines(np.ones(100)) + lines(np.zeros(100), begin=LENGTH)
    assert told(tmp_path, rows, (LENGTH, LENGTH), at_once=1)[0]["step"] == LENGTH + 200


def test_numbers_that_are_not_finite_and_resting_phases_are_left_out(tmp_path):
    values = np.zeros(100)
    values[::3] = np.nan
    assert told(tmp_path, lines(values))
    sparse = [row if k % 7 == 0 else {"step": row["step"]} for k, row in enumerate(lines(np.zeros(100)))]
    (tmp_path / "none").mkdir()
    assert not told(tmp_path / "none", sparse[:35])  # five values, but four after the warm-up
    assert len(told(tmp_path / "none", sparse)) == 1


def test_two_metrics_of_one_problem_are_told_once_for_each_phase(tmp_path):
    rows = [{"step": 10 * k, "a/kl": 0.0, "a/active_units": 0.0, "b/c/kl": 0.0} for k in range(1, 101)]
    assert sorted(w["phase"] for w in told(tmp_path, rows)) == ["a", "b/c"]


def test_a_resumed_run_does_not_warn_again_and_remembers(tmp_path, capsys):
    rows = lines(np.zeros(100))
    whole = told(tmp_path, rows, at_once=1)
    capsys.readouterr()
    again = Monitors(tmp_path, (LENGTH,), rows[:5])
    again.follow(rows[5:])
    assert again.warnings == whole and not capsys.readouterr().err
    late = tmp_path / "late"
    late.mkdir()
    stopped = Monitors(late, (LENGTH,), rows[:19])
    stopped.follow(rows[19:20])  # what came before the stop counts
    assert stopped.warnings == whole


def test_predicates():
    first, recent = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0])
    assert above(3.9)(recent, first) and not above(4.0)(recent, first)
    assert below(5.1)(recent, first) and not below(5.0)(recent, first)
    assert grown(1.9)(recent, first) and not grown(2.0)(recent, first)
