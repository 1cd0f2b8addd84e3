"""Inception features: the weights' names and shapes, what is refused, and that an image's features are its own."""

import hashlib
from functools import cache

import jax
import numpy as np
import pytest

from genjax.metrics.inception import EPSILON, check_state, folded, from_state, half_pixel_bilinear, inception, shapes
from genjax.nets.inception import fid_inception, inner_average, padded_average, paper_inception


@cache
def random_state() -> dict[str, np.ndarray]:
    """Weights under which values neither grow nor vanish from layer to layer."""
    random = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith(("conv.weight", "fc.weight")):
            return random.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        if name.endswith(("bn.weight", "running_var")):
            return random.uniform(0.5, 1.5, shape).astype(np.float32)
        return 0.1 * random.standard_normal(shape, np.float32)

    return {name: draw(name, shape) for name, shape in shapes().items()}


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.npz"
    np.savez(path, **random_state())
    return inception(path, batch=2), path


# ---- names and shapes ------------------------------------------------------------------------------------------------------


def test_the_table_is_that_of_the_weights_file():
    table = shapes()
    units = {name.removesuffix(".conv.weight") for name in table if name.endswith(".conv.weight")}
    parts = {
        f"{unit}.{part}"
        for unit in units
        for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    }
    assert len(units) == 94  # convolutions of the network
    assert set(table) == parts | {"fc.weight", "fc.bias"}
    assert {name.split(".")[0] for name in units} == {
        *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        *(f"Mixed_{block}" for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")),
    }
    some = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5d.branch_pool.conv.weight": (64, 288, 1, 1),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6c.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch1x1.bn.running_mean": (320,),
    }
    assert {name: table[name] for name in some} == some


@pytest.mark.parametrize("net", [fid_inception(), paper_inception()])
def test_the_trunk_has_its_known_number_of_parameters(net):
    params = jax.eval_shape(net.init, jax.random.key(0), np.zeros((1, 75, 75, 3), np.float32))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 21_785_568


def test_batch_normalization_is_folded():
    gamma, beta, mean, variance, x = np.random.default_rng(0).uniform(0.5, 2, (5, 7))
    fold = folded(gamma, beta, mean, variance)
    normalized = gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta
    np.testing.assert_allclose(x * fold["scale"] + fold["bias"], normalized, rtol=1e-12)


def test_weights_go_to_their_places():
    state = random_state()
    params = from_state(state, "random")
    unit = params["Mixed_6b"]["branch7x7_2"]
    assert unit["conv"]["kernel"].shape == (1, 7, 128, 128)
    np.testing.assert_array_equal(unit["conv"]["kernel"][0, 5, 3, 9], state["Mixed_6b.branch7x7_2.conv.weight"][9, 3, 0, 5])
    gamma, variance = (state[f"Mixed_6b.branch7x7_2.bn.{part}"] for part in ("weight", "running_var"))
    np.testing.assert_allclose(unit["scale"], gamma / np.sqrt(variance + 1e-3), rtol=1e-6)


# ---- features --------------------------------------------------------------------------------------------------------------


def test_features_do_not_depend_on_the_batch(space):
    features, _ = space
    x = images(3, 33, 40, 3)
    together = features.apply(x)  # two, and one with a filler
    assert together.shape == (3, 2048) and together.dtype == np.float64 and together.std() > 0.1
    np.testing.assert_allclose(features.apply(x[[2, 0]]), together[[2, 0]], rtol=1e-4, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_grey_is_red_green_and_blue_alike(space):
    features, _ = space
    grey = images(2, 33, 40, 1)
    np.testing.assert_allclose(features.apply(grey), features.apply(grey.repeat(3, -1)), rtol=1e-5, atol=1e-6)


def test_what_is_stored_tells_the_file_and_the_resizing(space):
    features, path = space
    assert features.name == "inception"
    assert features.about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert features.about["resize"] == "half_pixel_bilinear" and features.about["published"] is False


@pytest.mark.parametrize(
    ("net", "maxima", "sums"),
    [(fid_inception(), 5, 16), (paper_inception(), 4, 9)],  # an average without padding is a sum and a count
)
def test_the_layouts_differ_in_their_pools(net, maxima, sums):
    image = jax.ShapeDtypeStruct((1, 75, 75, 3), np.float32)
    program = str(jax.make_jaxpr(net.apply)(jax.eval_shape(net.init, jax.random.key(0), image), image))
    assert program.count("reduce_window_max[") == maxima
    assert program.count("reduce_window_sum[") == sums


def test_averages_count_padding_in_one_layout_only():
    ones = np.ones((1, 3, 3, 1), np.float32)
    np.testing.assert_allclose(inner_average(ones), ones, rtol=1e-6)
    np.testing.assert_allclose(padded_average(ones)[0, :, :, 0] * 9, [[4, 6, 4], [6, 9, 6], [4, 6, 4]], rtol=1e-6)


def test_resizing_is_linear_between_half_pixel_centres():
    ramp = np.broadcast_to(np.arange(23.0, dtype=np.float32)[:, None], (1, 23, 5))[..., None]
    expected = np.clip((np.arange(299) + 0.5) * 23 / 299 - 0.5, 0, 22)  # outside the outermost centres: their value
    np.testing.assert_allclose(half_pixel_bilinear(ramp)[0, :, 7, 0], expected, atol=1e-4)
    fine = half_pixel_bilinear(images(1, 299 * 3, 299, 1))  # a third of the side: the middle one of three, nothing averaged
    np.testing.assert_allclose(fine, images(1, 299 * 3, 299, 1)[:, 1::3], atol=1e-5)


# ---- what is refused -------------------------------------------------------------------------------------------------------


def damaged(change):
    state = random_state() | {"AuxLogits.fc.weight": np.zeros(1), "Mixed_5b.branch1x1.bn.num_batches_tracked": np.zeros(())}
    check_state(state, "w.npz")  # so far it is fine
    change(state)
    return state


NAME = "Mixed_5b.branch1x1.bn.running_var"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop(NAME), f"1 of FID's arrays are missing, the first is {NAME}"),
        (lambda state: state.clear(), "472 of FID's arrays are missing"),
        (lambda state: state.update({NAME: np.ones(65)}), rf"of another shape, the first is {NAME} \(65,\) instead of \(64,\)"),
        (lambda state: state.update({NAME: np.full(64, np.nan)}), "not finite"),
        (lambda state: state.update({NAME: np.full(64, -1.0)}), "negative"),
        (lambda state: state.update({"Mixed_8a": np.ones(1)}), "unknown, the first is Mixed_8a"),
        (lambda state: state.update({"fc.bias": np.ones(1000)}), "torchvision's Inception-V3"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(change, words):
    with pytest.raises(ValueError, match=f"^w.npz.*{words}.*use pytorch-fid's.*[^\n]*$"):
        from_state(damaged(change), "w.npz")


def test_files_that_are_none_are_refused_in_one_line(tmp_path):
    for name, content, words in [
        ("none.npz", None, "no Inception weights at"),
        ("w.npz", b"no zip", "cannot be read"),
        ("w.safetensors", b"x", "cannot be read"),
        ("w.txt", b"x", "weights are .pth, .npz or .safetensors"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{words}[^\n]*$"):
            inception(tmp_path / name)


def test_safetensors_hold_the_same(tmp_path):
    save = pytest.importorskip("safetensors.numpy").save_file
    from genjax.metrics.inception import read

    save(random_state(), tmp_path / "w.safetensors")
    again = read(tmp_path / "w.safetensors")
    assert all(np.array_equal(again[name], array) for name, array in random_state().items())


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((3, 2)), r"not of an array \(3, 2\)"),
        (np.zeros((3, 8, 8, 2)), "n, H, W, 1 or 3"),
        (np.zeros((0, 8, 8, 1)), "n, H, W, 1 or 3"),
        (np.full((1, 8, 8, 1), 1.5), "from 1.5 to 1.5"),
        (np.full((1, 8, 8, 1), -1.0), r"in \[0, 1\]"),
        (np.full((1, 8, 8, 1), np.nan), "nan"),
    ],
)
def test_images_that_are_none_are_refused_in_one_line(space, x, words):
    with pytest.raises(ValueError, match=words):
        space[0].apply(x)
