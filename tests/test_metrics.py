"""Metric maths: each against a closed form, a package or a second way to compute it; bad input in one line."""

import contextlib
import io

import numpy as np
import pytest
from scipy import linalg, stats

from genjax.data import TOYS, load, toy_centres
from genjax.metrics.collapse import collapse, missed, repeats, spread_ratio
from genjax.metrics.distance import checked, frechet, kernel
from genjax.metrics.modes import Bins, compare, kmeans, mode_score, modes, ndb, nearest, reverse_kl, stacked
from genjax.metrics.neighbours import blocks, expected_coverage, prdc, reach

RNG = np.random.default_rng
both_metrics = pytest.mark.parametrize("metric", [frechet, prdc, collapse, ndb], ids=lambda f: f.__name__)


def clouds(seed=0, n=300, m=200, d=6):
    """Two correlated clouds, one shifted and narrower."""
    rng = RNG(seed)
    mix = rng.standard_normal((d, d))
    return rng.standard_normal((n, d)) @ mix + 3, 0.8 * rng.standard_normal((m, d)) @ mix + 3.3


# ---- Frechet ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 6, 40])
def test_frechet_is_scipys(d):
    real, fake = clouds(d=d)
    s, t, shift = np.cov(real.T).reshape(d, d), np.cov(fake.T).reshape(d, d), real.mean(0) - fake.mean(0)
    expected = shift @ shift + np.trace(s + t - 2 * linalg.sqrtm(s @ t).real)
    np.testing.assert_allclose(frechet(real, fake), expected, rtol=1e-10)
    np.testing.assert_allclose(frechet(fake, real), expected, rtol=1e-10)


def test_frechet_of_scaled_and_shifted_data_is_a_closed_form():
    real, _ = clouds()
    shift = np.arange(6.0)
    expected = shift @ shift + (2 - 1) ** 2 * np.trace(np.cov(real.T))  # (S, 4 S): tr(S + 4 S - 2 * 2 S) = tr S
    moved = real.mean(0) + 2 * (real - real.mean(0)) + shift
    np.testing.assert_allclose(frechet(real, moved), expected, rtol=1e-12)


def test_frechet_keeps_its_digits_where_covariances_are_singular():
    real, fake = clouds()
    wide = lambda x: np.concatenate([x, np.zeros((len(x), 3)), x[:, :2]], 1)  # dead and repeated features
    assert abs(frechet(wide(real), wide(real))) < 1e-10
    alone = lambda x: np.concatenate([x, np.zeros((len(x), 9))], 1)
    np.testing.assert_allclose(frechet(alone(real), alone(fake)), frechet(real, fake), rtol=1e-12)


# ---- kernel ----------------------------------------------------------------------------------------------------------------


def test_kernel_is_the_sum_over_pairs():
    real, fake = clouds(n=7, m=7, d=3)
    k = lambda a, b: (a @ b / 3 + 1) ** 3
    own = lambda x: np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    expected = own(real) + own(fake) - 2 * np.mean([[k(a, b) for a in real] for b in fake])
    found = kernel(real, fake, subsets=3, size=7)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-10)
    assert found.spread < 1e-10 * abs(expected)  # all rows: every subset is the same


def test_kernel_of_the_same_distribution_scatters_around_zero():
    values = [kernel(*RNG(seed).standard_normal((2, 100, 4)), subsets=1, size=100).mean for seed in range(100)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 10
    apart = kernel(RNG(0).normal(size=(300, 4)), RNG(1).normal(size=(200, 4)) + 1, size=100)
    assert apart.mean > 5 * apart.spread > 0


# ---- nearest neighbours ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5])
def test_prdc_is_the_packages(k):
    from prdc import compute_prdc

    real, fake = clouds()
    fake = fake + 1.0
    with contextlib.redirect_stdout(io.StringIO()):
        expected = compute_prdc(real, fake, k)
    found = prdc(real, fake, k)._asdict()
    assert all(0 < value < 1 for value in found.values())
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-12)


def test_blocks_are_the_distances_however_they_are_cut(monkeypatch):
    real, fake = clouds(n=23, m=17)
    expected = ((real[:, None] - fake) ** 2).sum(-1)
    for block in (1, 40, 1 << 20):
        monkeypatch.setattr("genjax.metrics.neighbours.BLOCK", block)
        parts = list(blocks(real, fake))
        assert [row for rows, _ in parts for row in range(rows.start, rows.stop)] == list(range(23))
        np.testing.assert_allclose(np.concatenate([distance for _, distance in parts]), expected, rtol=1e-9)
        own = np.sort(((real[:, None] - real) ** 2).sum(-1), 1)
        np.testing.assert_allclose(reach(real, 3), own[:, 3], rtol=1e-9)


def test_expected_coverage_is_what_perfect_samples_reach():
    np.testing.assert_allclose(expected_coverage(10_000, 10_000, 5), 0.96877, atol=5e-6)
    np.testing.assert_allclose(expected_coverage(1000, 1000, 5), 0.96898, atol=5e-6)
    found = [prdc(RNG(seed).normal(size=(60, 3)), RNG(seed + 100).normal(size=(40, 3)), 2).coverage for seed in range(100)]
    assert abs(np.mean(found) - expected_coverage(60, 40, 2)) < 3 * np.std(found) / 10


# ---- modes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_true_draws_reach_every_mode(name):
    centres, sd = toy_centres(name)
    found = modes(TOYS[name]().draw(RNG(0), 20_000), centres, sd)
    assert (found.covered, found.of) == (len(centres), len(centres))
    inside = stats.chi2.cdf(9, 2)  # within 3 sd in the plane: 98.9 %
    assert abs(found.quality - inside) < 4 * np.sqrt(inside * (1 - inside) / 20_000)
    assert found.reverse_kl < 3 * len(centres) / 40_000


def test_modes_of_planted_points():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    x = np.array([[0.0, 0.1], [0.2, 0.0], [10.0, 0.29], [10.0, 9.69]])  # the last is 3.1 sd away
    found = modes(x, centres, 0.1)
    assert (found.covered, found.of, found.quality) == (2, 4, 0.75)
    np.testing.assert_allclose(found.reverse_kl, 2 / 3 * np.log(8 / 3) + 1 / 3 * np.log(4 / 3))
    assert modes(x + 5, centres, 0.1) == (0, 4, 0.0, None)


def test_mode_score_of_sure_vague_one_sided_and_mixed_samples():
    sure, even = np.eye(4)[np.arange(40) % 4], np.ones(4)
    assert mode_score(sure, even) == pytest.approx(4)
    assert mode_score(np.full((7, 4), 0.25), even) == pytest.approx(1)
    assert mode_score(sure[::4], even) == pytest.approx(1 / 4)  # all of one class: exp(0 - log 4)
    shares = np.array([1, 2, 3, 4])
    drawn = np.repeat(np.eye(4), shares, axis=0)
    p = shares / shares.sum()
    assert mode_score(drawn, 5 * shares) == pytest.approx(np.exp(-np.sum(p * np.log(p))))  # the entropy of the truth
    softened = 0.7 * drawn + 0.3 * p  # KL of each in closed form; the mixture is still the truth
    each = np.log((0.7 + 0.3 * p) / p) * (0.7 + 0.3 * p) + 0.3 * np.log(0.3) * (1 - p)
    assert mode_score(softened, shares) == pytest.approx(np.exp(np.sum(p * each)))


def test_stacked_and_reverse_kl():
    whole = np.stack(np.meshgrid(*[np.arange(10)] * 3), -1).reshape(-1, 3)
    assert stacked(whole) == (1000, 1000, None, pytest.approx(0, abs=1e-12))
    assert stacked(np.full((7, 3), 9)) == (1, 1000, None, pytest.approx(np.log(1000)))
    assert stacked(np.array([[1, 2, 3], [3, 2, 1]])).covered == 2
    draws = [reverse_kl(RNG(seed).multinomial(26_000, np.full(1000, 1e-3))) for seed in range(20)]
    np.testing.assert_allclose(np.mean(draws), 999 / 52_000, atol=4 * np.std(draws) / 20**0.5 + 1e-4)  # + O(1/n^2)


# ---- bins ------------------------------------------------------------------------------------------------------------------


def test_kmeans_finds_planted_clusters_and_repeats_itself():
    centres, sd = toy_centres("grid")
    x = TOYS["grid"]().draw(RNG(0), 2500)
    found = min((kmeans(x, 25, seed=seed) for seed in range(5)), key=lambda bins: nearest(x, bins.centres)[1].sum())
    _, distance = nearest(centres, found.centres)
    assert (np.sqrt(distance) < 4 * sd / 10).all() and found.counts.sum() == 2500
    for one, two in zip(kmeans(x, 25, seed=3), kmeans(x, 25, seed=3), strict=True):
        np.testing.assert_array_equal(one, two)


def test_kmeans_is_a_fixed_point_and_takes_repeated_points():
    x, _ = clouds(n=199)
    centres, counts = kmeans(x, 8)
    label, _ = nearest(x, centres)
    np.testing.assert_allclose(centres, [x[label == bin].mean(0) for bin in range(8)], rtol=1e-5)
    np.testing.assert_array_equal(counts, np.bincount(label))
    assert kmeans(np.ones((20, 2)), 3).counts.sum() == 20


def test_ndb_counts_the_bins_a_two_proportion_test_rejects():
    bins = Bins(np.array([[0.0], [1.0], [2.0]]), np.array([500, 300, 200]))
    query = np.repeat([[0.0], [1.0]], [40, 60], axis=0)
    for threshold in (2.0, 4.0, 5.5):
        z = []
        for n, m in ((500, 40), (300, 60), (200, 0)):  # the chi-square of a 2 x 2 table is z^2
            z.append(np.sqrt(stats.chi2_contingency([[n, 1000 - n], [m, 100 - m]], correction=False).statistic))
        assert compare(bins, query, threshold).different == np.sum(np.array(z) > threshold)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.6, 0.0])
    expected = (stats.entropy(p, (p + q) / 2) + stats.entropy(q, (p + q) / 2)) / 2
    np.testing.assert_allclose(compare(bins, query).js, expected, rtol=1e-12)


def test_ndb_sees_a_dropped_mode_and_nothing_in_more_of_the_same():
    draw = lambda seed, n: TOYS["ring"]().draw(RNG(seed), n)
    train, query = draw(0, 4000), draw(1, 1000)
    assert ndb(train, query, bins=16).different == 0
    centres, _ = toy_centres("ring")
    fewer = query[nearest(query, centres)[0] != 2]
    there = nearest(kmeans(train, 16).centres, centres)[0] == 2
    assert 1 <= ndb(train, fewer, bins=16, threshold=4).different == there.sum()  # the others have grown by an eighth


def test_js_of_more_of_the_same_is_its_floor():
    draw = lambda seed: TOYS["ring"]().draw(RNG(seed), 1000)
    bins = kmeans(draw(0), 16)
    found = [compare(bins._replace(counts=_count(bins, draw(2 * i))), draw(2 * i + 1)).js for i in range(1, 51)]
    assert abs(np.mean(found) - 15 / 8 * (1 / 1000 + 1 / 1000)) < 3 * np.std(found) / 50**0.5


def _count(bins, x):
    return np.bincount(nearest(x, bins.centres)[0], minlength=len(bins.centres))


# ---- collapse --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    x = np.concatenate([split.x[:] for split in data.splits.values()]).reshape(-1, 64)
    return x, np.concatenate([split.y[:] for split in data.splits.values()])


@pytest.mark.parametrize("seed", range(2))
def test_planted_collapse_is_flagged_and_real_data_are_not(digits, seed):
    x, y = digits
    order = RNG(seed).permutation(len(x))
    real, fake, label = x[order[:-900]], x[order[-900:]], y[order[-900:]]
    assert collapse(real, fake, seed=seed).flags == ()

    dropped = collapse(real, fake[~np.isin(label, RNG(seed).choice(10, 3, replace=False))], seed=seed)
    assert len(dropped.flags) == 1 and "hardly reach" in dropped.flags[0]
    assert 0.1 < dropped.missing < 0.4 and dropped.duplicates == 0

    twice = collapse(real, np.concatenate([fake[:850], fake[:50]]), seed=seed)
    assert len(twice.flags) == 1 and "repeat" in twice.flags[0]
    assert 0.08 < twice.duplicates < 0.13 and twice.missing == 0

    few = collapse(real, np.repeat(fake[:50], 18, axis=0), seed=seed)
    assert any("100% of samples repeat" in flag for flag in few.flags)


@pytest.mark.parametrize("name", ["ring", "moons", "checkerboard"])
def test_unequal_numbers_of_true_draws_are_not_collapse(name):
    draw = TOYS[name]().draw
    for n, m in ((200, 1500), (1500, 200)):
        assert collapse(draw(RNG(0), n), draw(RNG(1), m)).flags == ()


def test_cells_that_fit_only_their_own_data_are_not_missed():
    noise = lambda seed: RNG(seed).standard_normal((2000, 400))  # fresh points crowd into the cells next to the middle
    assert missed(noise(0), noise(1), seed=0)[1][0] == 0


def test_data_that_repeat_themselves_are_not_duplicates():
    bits = lambda seed: RNG(seed).integers(0, 2, (400, 5))
    assert not repeats(bits(0), bits(1))[1]
    share, flagged = repeats(RNG(0).normal(size=(400, 5)), np.repeat(RNG(1).normal(size=(380, 5)), [2] * 20 + [1] * 360, 0))
    assert flagged and share == pytest.approx(40 / 400)


def test_spread_is_a_ratio_of_mean_distances():
    real, fake = clouds(n=30, m=20)
    mean = lambda x: np.mean([np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]])
    np.testing.assert_allclose(spread_ratio(real, fake), mean(fake) / mean(real), rtol=1e-9)
    real, fake = clouds()
    assert not any("closer" in flag for flag in collapse(real, fake).flags)  # 0.8 is not flagged
    assert any(flag.startswith("samples lie 60% closer") for flag in collapse(real, 0.4 * real).flags)


def test_missed_is_the_share_of_reals_there():
    far = np.arange(2000) % 4 == 0
    real = RNG(0).normal(size=(2000, 2)) + 50 * far[:, None]
    share, (gone, cells) = missed(real, RNG(2).normal(size=(4000, 2)), seed=0)
    assert 0 < gone < cells == 50
    assert 0.23 < share <= 0.25  # a quarter, less what lies in cells too small to be sure of
    assert missed(real, RNG(3).permutation(real), seed=0) == (0.0, (0, 50))


# ---- bad input -------------------------------------------------------------------------------------------------------------


@both_metrics
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_not_finite_is_named(metric, bad):
    real, fake = clouds()
    fake[17, 2] = bad
    with pytest.raises(ValueError, match="fake sample 17 of 200 is not finite"):
        metric(real, fake)


@both_metrics
def test_different_features_are_refused(metric):
    real, fake = clouds()
    with pytest.raises(ValueError, match="real samples have 6 features, fake ones 5"):
        metric(real, fake[:, :5])


def refusals():
    real, fake = clouds()
    yield "5 fake samples of 6 features leave the covariance singular: draw at least 7", lambda: frechet(real, fake[:5])
    yield "6 real samples of 6 features leave the covariance singular", lambda: frechet(real[:6], fake)
    yield "subsets of 1000, but there are 300 real and 200 fake samples; give size=2 .. 200", lambda: kernel(real, fake)
    yield "5 fake samples, but this metric needs 6 or more", lambda: prdc(real, fake[:5])
    yield "k=0: a ball", lambda: prdc(real, fake, 0)
    yield "100 bins of 50 training samples", lambda: ndb(real[:50], fake)
    yield "49 fake samples, but this metric needs 50", lambda: collapse(real, fake[:49])
    yield "all real samples are the same point", lambda: collapse(np.ones((60, 6)), fake)
    yield r"give numbers \(samples, features\)", lambda: checked(real[0], fake)
    yield r"real samples are complex128", lambda: checked(real + 0j, fake)
    yield r"one class for each of 3 channels", lambda: stacked(np.zeros((4, 2), int))
    yield r"one above 0 for each of 4 classes", lambda: mode_score(np.full((3, 4), 0.25), np.ones(3))
    yield r"a softmax, not logits", lambda: mode_score(np.eye(4) - 0.1, np.ones(4))
    yield r"digits hold 0 .. 10", lambda: stacked(np.array([[0, 10, 0]]))
    yield "not all of them 0", lambda: reverse_kl(np.zeros(4))
    yield "no centres of 'moons'; the toys made of Gaussians around points are ring, grid", lambda: toy_centres("moons")


@pytest.mark.parametrize("line, call", list(refusals()), ids=lambda part: part if isinstance(part, str) else "")
def test_bad_input_gets_one_line(line, call):
    with pytest.raises(ValueError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)
