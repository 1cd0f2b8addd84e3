"""Data: the order of rows, preparation, toys against their own density, every reader, and the line each bad input gets."""

import gzip
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.data import files, oracle, order, sources
from genjax.data.base import Indexed, complete
from genjax.data.texts import NUMBERS, caption_of, captioned, reader

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("GENJAX_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def folder() -> Path:
    """The folder of real data."""
    if not FOLDER.is_dir():
        pytest.skip("no data folder: set GENJAX_DATA")
    return FOLDER


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    """Tests name their folder themselves."""
    monkeypatch.delenv("GENJAX_DATA", raising=False)


# ---- row order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "size"), [(4, 12), (5, 12), (64, 64), (7, 3), (25, 10), (1, 1)])
def test_every_epoch_visits_each_row_once(batch, size):
    stream = np.concatenate([order.rows(3, step, batch, size) for step in range(4 * size)])
    for epoch in range(4 * batch):
        assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_rows_are_a_function_of_seed_and_step():
    forward = [order.rows(1, step, 8, 30) for step in range(12)]
    order._permutation.cache_clear()
    backward = [order.rows(1, step, 8, 30) for step in reversed(range(12))][::-1]
    np.testing.assert_array_equal(forward, backward)
    assert forward[0].dtype == np.int32
    assert not np.array_equal(order.rows(1, 0, 30, 30), order.rows(2, 0, 30, 30))
    assert not np.array_equal(order.rows(1, 0, 30, 30), order.rows(1, 1, 30, 30))


def test_a_block_is_its_steps():
    steps = [order.rows(5, step, 6, 20) for step in range(7, 18)]
    np.testing.assert_array_equal(order.row_block(5, 7, 11, 6, 20), steps)


def test_the_order_is_the_one_that_old_runs_had():
    """If this fails, resumed runs would see other rows than they did: keep the order, or say so in the release."""
    assert order.rows(7, 3, 6, 20).tolist() == [7, 4, 2, 11, 4, 5]


def test_no_rows_is_an_error():
    with pytest.raises(data.DataError, match="empty"):
        order.rows(0, 0, 4, 0)


# ---- preparation and feeding ----------------------------------------------------------------------------------------------


def test_unit_and_symmetric_reach_their_ends():
    x, key = jnp.arange(17, dtype=jnp.uint8), jax.random.key(0)
    np.testing.assert_allclose(data.unit(17)(key, x), np.arange(17) / 16)
    np.testing.assert_allclose(data.symmetric(17)(key, x), np.arange(17) / 8 - 1)


@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
def test_dequantized_values_stay_in_their_bin(levels):
    x = np.arange(100_000) % levels
    y = np.asarray(data.dequantize(levels)(jax.random.key(1), jnp.asarray(x)), np.float64)
    slack = 1e-5 if levels == 17 else 0  # the quotient by a power of two is exact
    assert y.max() < 1 and (x - slack <= y * levels).all() and (y * levels < x + 1 + slack).all()
    noise = y * levels - x
    assert abs(noise.mean() - 1 / 2) < 4e-3 and abs(noise.var() - 1 / 12) < 1e-3  # 4 standard errors


def test_binarize_draws_the_grey_level_anew():
    x = jnp.tile(jnp.array([0, 64, 255], jnp.uint8), (20_000, 1))
    first, second = (np.asarray(data.binarize(256)(jax.random.key(k), x)) for k in (0, 1))
    assert set(np.unique(first)) == {0.0, 1.0} and (first != second).any()
    np.testing.assert_allclose(first.mean(0), [0, 64 / 255, 1], atol=0.013)  # 4 standard errors


@pytest.mark.parametrize("prepare", [data.unit, data.symmetric, data.dequantize, data.binarize])
def test_continuous_data_have_no_levels(prepare):
    with pytest.raises(ValueError, match="use identity"):
        prepare(0)


def test_feed_gathers_rows_and_gives_each_example_its_own_noise():
    split = data.Split(np.arange(20, dtype=np.uint8).reshape(10, 2), np.arange(10) % 3)
    gather = jax.jit(data.feed(data.dequantize(256)))
    rows, key = jnp.array([7, 2, 2, 9]), jax.random.key(4)
    batch = gather(data.fetch(split), key, rows)
    np.testing.assert_array_equal(jnp.floor(batch["x"] * 256), split.x[rows])
    np.testing.assert_array_equal(batch["y"], split.y[rows])
    np.testing.assert_array_equal(batch["index"], np.arange(4))
    alone = [data.dequantize(256)(jax.random.fold_in(key, i), jnp.asarray(split.x[row])) for i, row in enumerate(rows)]
    np.testing.assert_array_equal(batch["x"], np.stack(alone))
    on_host = gather(data.fetch(split, np.asarray(rows)), key, jnp.arange(4))
    np.testing.assert_array_equal(on_host["x"], batch["x"])
    np.testing.assert_array_equal(gather(data.fetch(split), key, rows[:2])["x"], batch["x"][:2])


def test_rows_read_when_asked_for_behave_as_an_array():
    array = np.arange(60).reshape(20, 3)
    lazy = Indexed(array.shape, array.dtype, lambda rows: array[rows])
    for rows in (4, slice(3, 9), [5, 1], np.array([0, -1]), slice(None)):
        np.testing.assert_array_equal(lazy[rows], array[rows])
    splits = complete({"train": data.Split(lazy, lazy)})
    together = np.concatenate([split.x[:] for split in splits.values()])
    assert sorted(map(tuple, together)) == sorted(map(tuple, array))
    np.testing.assert_array_equal(splits["valid"].x[:], splits["valid"].y[:])


def test_splits_joined_are_one():
    digits = data.load("digits").splits
    both = data.joined(digits["train"], digits["valid"])
    assert len(both.x) == len(both.y) == 1439 + 179


def test_a_spec_goes_through_json():
    spec = data.load("digits").spec
    assert data.spec_from(json.loads(json.dumps(spec._asdict()))) == spec


# ---- toys: the density that is claimed is the one that is drawn -------------------------------------------------------------

BOXES = {  # half-width that holds all mass, step of the quadrature
    "ring": (1.2, 0.006),
    "grid": (4.5, 0.03),
    "moons": (3.0, 0.05),
    "checkerboard": (4.5, 0.5),
    "spirals": (4.2, 0.07),
    "pinwheel": (6.2, 0.1),
}


@pytest.mark.parametrize("name", data.TOYS)
def test_toy_density_integrates_to_one_and_to_its_entropy(name):
    half, step = BOXES[name]
    axis = np.arange(-half + step / 2, half, step)
    log_p = data.toy_log_prob(name)(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    p = np.exp(log_p)
    assert abs(p.sum() * step**2 - 1) < 1e-8
    assert abs(-(p * np.where(p > 0, log_p, 0)).sum() * step**2 - data.load(name).entropy) < 1e-6


@pytest.mark.parametrize("name", data.TOYS)
def test_toy_draws_have_that_entropy(name):
    toy = data.load(name)
    nats = -data.toy_log_prob(name)(toy.splits["test"].x)
    assert abs(nats.mean() - toy.entropy) < 4 * nats.std() / 100 + 1e-9  # 10 000 draws
    assert {name: len(split.x) for name, split in toy.splits.items()} == {"train": 100_000, "valid": 10_000, "test": 10_000}
    np.testing.assert_array_equal(toy.splits["valid"].x, data.load(name).splits["valid"].x)
    assert not np.array_equal(toy.splits["valid"].x, toy.splits["test"].x)


# ---- readers of small files ---------------------------------------------------------------------------------------------


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(idx_bytes(array))


def write_mnist(folder: Path, train: int = 30, test: int = 10) -> Path:
    """A tiny set with MNIST's names; every image holds its label."""
    for stem, count in (("train", train), ("t10k", test)):
        labels = np.arange(count) % 10
        write_idx(folder / f"{stem}-images-idx3-ubyte.gz", np.broadcast_to(labels[:, None, None], (count, 4, 4)))
        write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", labels)
    return folder


def write_png(path: Path, value: int, size: tuple[int, int] = (5, 4), mode: str = "L") -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value,) * 3 + (128,) * (mode == "RGBA")).save(path)


def write_wav(path: Path, values: np.ndarray, rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(rate)
        file.writeframes(values.astype("<i2").tobytes())


def test_idx_set_by_name(tmp_path):
    write_mnist(tmp_path / "mnist")
    mnist = data.load("mnist", tmp_path)
    assert mnist.spec == data.Spec((4, 4, 1), 256, 10)
    assert [len(mnist.splits[name].x) for name in ("train", "valid", "test")] == [20, 10, 10]
    for split in mnist.splits.values():
        np.testing.assert_array_equal(split.x[:, 0, 0, 0], split.y)


def test_the_variable_names_the_folder(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist")
    monkeypatch.setenv("GENJAX_DATA", str(tmp_path))
    assert len(data.load("mnist").splits["train"].x) == 20


def test_idx_folder_by_path(tmp_path):
    write_mnist(tmp_path / "own")
    for name, root in (("own", tmp_path), (str(tmp_path / "own"), None)):
        own = data.load(name, root)
        assert own.spec.shape == (4, 4, 1) and own.spec.classes == 10
        assert sorted(len(split.x) for split in own.splits.values()) == [3, 10, 27]
        for split in own.splits.values():
            np.testing.assert_array_equal(split.x[:, 0, 0, 0], split.y)


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("images", "labels")])
def test_npz_is_cut_80_10_10(tmp_path, x, y):
    values = np.arange(50)
    np.savez(tmp_path / "a.npz", **{x: np.tile(values.astype(np.uint8)[:, None, None], (1, 3, 2)), y: values % 5})
    own = data.load("a.npz", tmp_path)
    assert own.spec == data.Spec((3, 2, 1), 256, 5)
    assert [len(own.splits[name].x) for name in ("train", "valid", "test")] == [40, 5, 5]
    assert sorted(np.concatenate([split.x[:, 0, 0, 0] for split in own.splits.values()])) == list(range(50))
    assert all((split.x[:, 0, 0, 0] % 5 == split.y).all() for split in own.splits.values())


@pytest.mark.parametrize("form", ["{split}_{kind}", "{kind}_{split}"])
def test_npz_keeps_its_splits(tmp_path, form):
    sizes = {"train": 8, "val": 3, "test": 2}
    arrays = {form.format(split=s, kind="x"): np.zeros((n, 2), np.float32) for s, n in sizes.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    own = data.load("a.npz", tmp_path)
    assert own.spec == data.Spec((2,), 0, 0)
    assert {name: len(split.x) for name, split in own.splits.items()} == {"train": 8, "valid": 3, "test": 2}


def test_zeros_and_ones_are_two_levels(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).random((20, 6)) < 0.5)
    assert data.load("a.npz", tmp_path).spec == data.Spec((6,), 2, 0)


def test_picture_folder(tmp_path):
    for kind in range(3):
        for i in range(10):
            write_png(tmp_path / "p" / f"class{kind}" / f"{i}.png", 50 * kind)
    own = data.load("p", tmp_path)
    assert own.spec == data.Spec((4, 5, 1), 256, 3)
    assert [len(own.splits[name].x) for name in ("train", "valid", "test")] == [24, 3, 3]
    assert all((split.x[:, 0, 0, 0] == 50 * split.y).all() for split in own.splits.values())


def test_picture_folder_with_splits_is_read_row_by_row_where_it_is_large(tmp_path, monkeypatch):
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        for i in range(count):
            write_png(tmp_path / split / f"{i}.png", i, mode="RGB")
    small = data.load(str(tmp_path))
    monkeypatch.setattr(files, "IN_MEMORY", 100)
    large = data.load(str(tmp_path))
    assert large.spec == small.spec == data.Spec((4, 5, 3), 256, 0)
    assert isinstance(large.splits["train"].x, Indexed) and not isinstance(small.splits["train"].x, Indexed)
    for name, split in small.splits.items():
        np.testing.assert_array_equal(data.fetch(large.splits[name])["x"], split.x)
    assert [len(small.splits[name].x) for name in ("train", "valid", "test")] == [6, 2, 3]


def test_transparency_is_laid_on_white(tmp_path):
    for i in range(4):
        write_png(tmp_path / f"{i}.png", 0, mode="RGBA")
    assert (data.load(str(tmp_path)).splits["train"].x == 127).all()  # 255 * (1 - 128 / 255)


def test_packed_jpegs_share_their_header():
    import io

    from PIL import Image

    from genjax.data.pictures import scans

    def encoded(value):
        Image.new("RGB", (8, 8), (value,) * 3).save(out := io.BytesIO(), "JPEG", quality=90)
        return out.getvalue()

    first, second = encoded(10), encoded(200)
    cut = next(i for i in range(len(first)) if first[i] != second[i])
    body = np.frombuffer(first[cut:] + second[cut:], np.uint8)
    ends = np.cumsum([0, len(first) - cut, len(second) - cut])
    np.testing.assert_allclose(scans(np.frombuffer(first[:cut], np.uint8), body, ends)[:, 0, 0, 0], [10, 200], atol=2)


def test_wav_folder_is_padded_with_silence(tmp_path):
    for i in range(10):
        write_wav(tmp_path / f"class{i % 2}" / f"{i}.wav", np.full(20 + i, -(2**15) + i))
    own = data.load(str(tmp_path))
    assert own.spec == data.Spec((29, 1), 2**16, 2)
    for split in own.splits.values():
        for clip, label in zip(split.x[..., 0], split.y, strict=True):
            assert clip[0] % 2 == label and (clip[: 20 + clip[0]] == clip[0]).all() and (clip[20 + clip[0] :] == 2**15).all()


def test_text_is_cut_in_order(tmp_path):
    letters = "".join(chr(97 + i % 7) for i in range(128 * 40))
    (tmp_path / "a.txt").write_text(letters)
    own = data.load("a.txt", tmp_path)
    assert own.spec == data.Spec((128,), 7, 0, "abcdefg")
    assert [len(own.splits[name].x) for name in ("train", "valid", "test")] == [36, 2, 2]
    np.testing.assert_array_equal(own.splits["train"].x.ravel(), np.arange(128 * 36) % 7)


def test_listed_checksums_are_compared(tmp_path):
    write_mnist(tmp_path / "mnist")
    listed = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "mnist").iterdir()}
    (tmp_path / "SHA256SUMS").write_text("".join(f"{h}  mnist/{path.name}\n" for path, h in listed.items()))
    data.load("mnist", tmp_path)
    write_idx(tmp_path / "mnist/t10k-labels-idx1-ubyte.gz", np.zeros(10))
    with pytest.raises(data.DataError, match=r"t10k-labels-idx1-ubyte.gz is not the file that .*SHA256SUMS lists"):
        data.load("mnist", tmp_path)


# ---- tensorflow-datasets, without tensorflow ---------------------------------------------------------------------------------

TINY_SET = """
import sys
import numpy as np
import tensorflow_datasets as tfds

class TinySet(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        f = tfds.features
        features = {"image": f.Tensor(shape=(3, 2, 1), dtype=np.uint8), "label": f.ClassLabel(num_classes=4)}
        return tfds.core.DatasetInfo(builder=self, features=f.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples(40), "test": self._generate_examples(8)}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"image": np.full((3, 2, 1), i, np.uint8), "label": i % 4}

if __name__ == "__main__":
    TinySet(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder with a tiny set in the array_record format, prepared by another process."""
    for package in ("tensorflow_datasets", "array_record"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    root = tmp_path_factory.mktemp("tfds")
    (root / "tiny.py").write_text(TINY_SET)
    subprocess.run([sys.executable, root / "tiny.py", root], check=True, capture_output=True)
    return root


def test_tfds_reads_by_row(prepared):
    tiny = data.load("tfds:tiny_set", prepared)
    assert tiny.spec == data.Spec((3, 2, 1), 256, 4)
    assert [len(tiny.splits[name].x) for name in ("train", "valid", "test")] == [36, 4, 8]
    seen = {name: data.fetch(split) for name, split in tiny.splits.items()}
    values = {name: part["x"][:, 0, 0, 0] for name, part in seen.items()}
    assert sorted(values["test"]) == list(range(8))
    assert sorted([*values["train"], *values["valid"]]) == list(range(40))
    assert all((values[name] % 4 == part["y"]).all() for name, part in seen.items())
    for rows in ([5, 2], [0, 3]):
        batch = data.fetch(tiny.splits["test"], np.array(rows))
        np.testing.assert_array_equal(batch["x"], seen["test"]["x"][rows])
        np.testing.assert_array_equal(batch["y"], seen["test"]["y"][rows])


def test_tfds_says_what_it_cannot_read(prepared, tmp_path):
    with pytest.raises(data.DataError, match=r"no prepared copy of tfds:other .*array_record"):
        data.load("tfds:other", prepared)
    with pytest.raises(data.DataError, match=r"no prepared copy of tfds:tiny_set:2.0.0"):
        data.load("tfds:tiny_set:2.0.0", prepared)
    info = json.loads((prepared / "tiny_set/1.0.0/dataset_info.json").read_text())
    copy = tmp_path / "tiny_set/1.0.0"
    copy.mkdir(parents=True)
    (copy / "features.json").write_bytes((prepared / "tiny_set/1.0.0/features.json").read_bytes())
    (copy / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    with pytest.raises(data.DataError, match=r"is prepared as tfrecord: prepare it with .*array_record"):
        data.load("tfds:tiny_set", tmp_path)


# ---- one line for each bad input --------------------------------------------------------------------------------------------


def damage(path: Path, change) -> None:
    path.write_bytes(change(path.read_bytes()))


def mnist_but(name: str, change):
    """MNIST with one file changed, or (None) without it."""

    def make(root: Path) -> None:
        path = write_mnist(root / "mnist") / f"{name}-ubyte.gz"
        damage(path, change) if change else path.unlink()

    return make


def plain_text(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("hello")


def two_sizes(root):
    write_png(root / "p/0.png", 1), write_png(root / "p/1.png", 1, size=(5, 5))


def broken_picture(root):
    from PIL import Image

    (root / "p").mkdir()
    for i in range(5):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (32, 32), np.uint8)).save(root / f"p/{i}.png")
    damage(root / "p/3.png", lambda content: content[: len(content) // 2])


def two_rates(root):
    write_wav(root / "w/0.wav", np.zeros(9)), write_wav(root / "w/1.wav", np.zeros(9), rate=16000)


def short_wav(root):
    write_wav(root / "w/0.wav", np.zeros(99)), damage(root / "w/0.wav", lambda content: content[:-7])


def saved(**arrays):
    return lambda root: np.savez(root / "a.npz", **arrays)


def broken_npz(change):
    return lambda root: (np.savez(root / "a.npz", x=np.arange(999.0)[:, None]), damage(root / "a.npz", change))


nothing = lambda root: None
with_mnist = lambda root: write_mnist(root / "mnist")
nan = np.array([[0.0], [np.nan], [1.0]] * 9)

BAD = {
    "misspelt": (nothing, "mnits", r"no data set 'mnits'.*did you mean mnist"),
    "unlike any": (nothing, "qqqqqqq", r"there are digits, digits/captions, ring, .*mnist.*a path, or tfds:NAME"),
    "empty name": (nothing, "", r"no data set ''"),
    "missing file": (nothing, "mnist", r"no file .*train-images-idx3-ubyte.gz"),
    "missing test": (lambda root: [p.unlink() for p in with_mnist(root).glob("t10k*")], "mnist", r"no file .*t10k-images"),
    "missing labels": (mnist_but("t10k-labels-idx1", None), "mnist", r"no file .*t10k-labels"),
    "truncated gz": (mnist_but("train-images-idx3", lambda b: b[:-20]), "mnist", r"truncated or damaged gzip"),
    "not gz": (mnist_but("train-images-idx3", lambda b: b"hello"), "mnist", r"damaged gzip"),
    "not IDX": (mnist_but("t10k-images-idx3", lambda b: gzip.compress(b"GIF89a")), "mnist", r"is not an IDX"),
    "short IDX": (
        mnist_but("train-images-idx3", lambda b: gzip.compress(gzip.decompress(b)[:-3])),
        "mnist",
        r"train-images.*header says \(30, 4, 4\), 480 bytes, but 477 follow",
    ),
    "fewer labels": (mnist_but("train-labels-idx1", lambda b: idx_bytes(np.zeros(7))), "mnist", r"30 examples but 7 labels"),
    "labels out of range": (
        mnist_but("t10k-labels-idx1", lambda b: idx_bytes(np.full(10, 11))),
        "mnist",
        r"split 'test'.*labels are 11 .. 11, but train has 10 classes",
    ),
    "empty split": (lambda root: write_mnist(root / "mnist", test=0), "mnist", r"split '(test|valid)': no examples"),
    "truncated npz": (broken_npz(lambda b: b[:-30]), "a.npz", r"a.npz is a damaged .npz"),
    "flipped npz": (broken_npz(lambda b: b[:3000] + bytes([b[3000] ^ 1]) + b[3001:]), "a.npz", r"a.npz is a damaged .npz"),
    "not npz": (broken_npz(lambda b: b"no zip at all"), "a.npz", r"a.npz is a damaged .npz"),
    "pickle": (saved(x=np.array([{}, []], object)), "a.npz", r"a.npz is a damaged .npz file, or one with pickles"),
    "other keys": (saved(pixels=np.zeros((9, 2))), "a.npz", r"has arrays pixels: name them x, y"),
    "only test": (saved(test_x=np.zeros((9, 2))), "a.npz", r"has no split 'train', only test"),
    "NaN": (saved(x=nan), "a.npz", r"split 'train': x holds NaN or infinity, first in row \d"),
    "negative": (saved(x=np.full((9, 2), -4)), "a.npz", r"x holds values -4 .. -4"),
    "negative labels": (saved(x=np.zeros((9, 2)), y=-np.ones(9, int)), "a.npz", r"labels are -1 .. -1"),
    "real labels": (saved(x=np.zeros((9, 2)), y=np.zeros(9)), "a.npz", r"labels are float64"),
    "strings": (saved(x=np.array([["a", "b"]] * 9)), "a.npz", r"x is <U1 of shape \(9, 2\)"),
    "one axis": (saved(x=np.zeros(9)), "a.npz", r"of shape \(9,\); give numbers \(examples"),
    "other labels": (saved(x=np.zeros((9, 2)), y=np.zeros(8, int)), "a.npz", r"9 examples but 8 labels"),
    "other shapes": (
        saved(train_x=np.zeros((9, 2)), test_x=np.zeros((9, 3))), "a.npz", r"one example has shape \(3,\), but .* \(2,\)"
    ),
    "two examples": (saved(x=np.zeros((2, 2))), "a.npz", r"split 'train': no examples"),
    "no pictures": (lambda root: (root / "p").mkdir(), "p", r"p has no files .png"),
    "mixed sizes": (two_sizes, "p", r"1.png is \(5, 5\) but .*0.png is \(5, 4\): resize"),
    "damaged picture": (broken_picture, "p", r"3.png is a damaged picture"),
    "no picture": (lambda root: plain_text(root / "p/0.png"), "p", r"0.png is no picture"),
    "mixed rates": (two_rates, "w", r"mixes formats"),
    "short wav": (short_wav, "w", r"0.wav says 99 samples but ends after 95"),
    "no wav": (lambda root: plain_text(root / "w/0.wav"), "w", r"0.wav is not a whole PCM .wav"),
    "unknown class": (
        lambda root: [write_png(root / "p" / part, 0) for part in ("train/a/0.png", "test/b/0.png")], "p", r"lies in no class"
    ),
    "other file": (lambda root: (root / "a.csv").touch(), "a.csv", r"a.csv is neither a folder nor"),
    "latin text": (lambda root: (root / "a.txt").write_bytes(b"caf\xe9"), "a.txt", r"not UTF-8"),
    "bad listing": (lambda root: (with_mnist(root), (root / "SHA256SUMS").write_text("oops")), "mnist", r"SUMS has a line"),
}


@pytest.mark.parametrize(("make", "name", "words"), BAD.values(), ids=BAD)
def test_bad_data_get_one_line(tmp_path, make, name, words):
    make(tmp_path)
    with pytest.raises(data.DataError, match=words) as caught:
        data.load(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_set_of_the_folder_needs_one(tmp_path):
    with pytest.raises(data.DataError, match="give --data-dir, or set the variable GENJAX_DATA"):
        data.load("mnist")
    with pytest.raises(data.DataError, match=r"no data folder .*nowhere"):
        data.load("mnist", tmp_path / "nowhere")


def test_no_such_toy():
    with pytest.raises(ValueError, match="no toy 'moon'; there are ring"):
        data.toy_log_prob("moon")


# ---- the real ones ----------------------------------------------------------------------------------------------------------

REAL = {  # shape, levels, classes, sizes of train, valid, test: as the folder's notes tell
    "digits": ((8, 8, 1), 17, 10, (1439, 179, 179)),
    "mnist": ((28, 28, 1), 256, 10, (50000, 10000, 10000)),
    "fashion_mnist": ((28, 28, 1), 256, 10, (50000, 10000, 10000)),
    "mnist_static_bin": ((28, 28, 1), 2, 10, (50000, 10000, 10000)),
    "omniglot": ((28, 28, 1), 256, 242, (3872, 484, 484)),
    "frey": ((28, 20, 1), 256, 0, (1565, 200, 200)),
    "olivetti": ((64, 64, 1), 256, 0, (300, 50, 50)),
    "cifar10_3000": ((32, 32, 3), 256, 10, (2400, 300, 300)),
    "emoji32": ((32, 32, 3), 256, 9, (2731, 337, 346)),
    "emoji64": ((64, 64, 3), 256, 9, (1297, 177, 170)),
    "digits/captions": ((8, 8, 1), 17, 0, (1439, 179, 179)),
    "emoji32/captions": ((32, 32, 3), 256, 0, (2731, 337, 346)),
    "fsdd": ((8192, 1), 2**16, 10, (2400, 300, 300)),
    "tinyshakespeare": ((128,), 65, 0, (7842, 435, 435)),
    "binary_density/dna": ((180,), 2, 0, (1600, 400, 1186)),
    "uci/power_plant": ((5,), 0, 0, (7656, 956, 956)),
    "polymusic/jsb_chorales": ((32, 88), 2, 0, (341, 114, 115)),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data(name, request):
    root = None if name in sources.HERE else request.getfixturevalue("folder")
    shape, levels, classes, sizes = REAL[name]
    real = data.load(name, root)
    assert real.spec[:3] == (shape, levels, classes)
    assert len(real.spec.alphabet) == (levels if name == "tinyshakespeare" else 0)
    assert tuple(len(real.splits[split].x) for split in ("train", "valid", "test")) == sizes
    assert bool(real.spec.letters) == name.endswith("/captions")
    assert all((split.y is None) == (not classes and not real.spec.letters) for split in real.splits.values())
    top = max(split.x.max() for split in real.splits.values())
    assert levels == 0 or levels // 2 <= top < levels


def test_every_table_of_the_folder_has_its_name(folder):
    """A set added to a pack must be added to the table of names."""
    z = np.load(folder / "binary_density/binary_density.npz")
    packs = {f"binary_density/{key.removesuffix('_train')}" for key in z.files if key.endswith("_train")}
    packs |= {f"uci/{key}" for key in np.load(folder / "uci/uci_tabular.npz").files}
    packs |= {f"polymusic/{path.stem}" for path in (folder / "polymusic").glob("*.npz")}
    assert packs == {name for name in sources.FOLDER if "/" in name and not name.endswith("/captions")}


def test_mnist_is_mnist(folder):
    mnist = data.load("mnist", folder).splits
    assert mnist["train"].y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist["test"].y[:5].tolist() == [7, 2, 1, 0, 4]
    static = data.load("mnist_static_bin", folder).splits
    assert 0.12 < static["train"].x.mean() < 0.14  # the ink of binarized digits


def test_captions_say_the_class_in_words():
    plain, told = data.load("digits"), data.load("digits/captions")
    for name, split in told.splits.items():
        assert (split.x == plain.splits[name].x).all()
        said = [caption_of(row, told.spec.letters) for row in split.y[:40]]
        assert all(NUMBERS[y] in text for text, y in zip(said, plain.splits[name].y, strict=False))
        assert len({text.replace(NUMBERS[y], "") for text, y in zip(said, plain.splits[name].y, strict=False)}) == 4


def test_emoji_are_told_by_their_names(folder):
    pack, told = np.load(folder / "emoji/noto_emoji_32.npz"), data.load("emoji32/captions", folder)
    images = sources._on_white(pack["images"])
    names = {image.tobytes(): name.lower() for image, name in zip(images, pack["caption"], strict=True)}
    split = told.splits["test"]
    same = [caption_of(y, told.spec.letters) == names[x.tobytes()] for x, y in zip(split.x, split.y, strict=True)]
    assert np.mean(same) > 0.98  # a few emoji look exactly like another one


def test_a_caption_is_read_letter_by_letter_and_what_cannot_be_is_refused():
    read = reader(" abc", 6)
    assert read("Cab a").tolist() == [4, 2, 3, 1, 2, 0] and caption_of(read("Cab a"), " abc") == "cab a"
    rows, alphabet = captioned(["ab", "B c"])
    assert alphabet == " abc" and rows.tolist() == [[2, 3, 0], [3, 1, 4]]
    with pytest.raises(ValueError, match="knows no 'x' 'é', only the characters ' abc'"):
        read("axé")
    with pytest.raises(ValueError, match="1 to 6 characters, this one 7: 'aaaaaaa'"):
        read("aaaaaaa")
    with pytest.raises(ValueError, match="1 to 6 characters, this one 0"):
        read("")
    with pytest.raises(ValueError, match="no captions: take a set that has, like emoji32/captions"):
        reader("", 0)


@pytest.mark.slow
def test_the_oracle_of_seqgan_scores_its_own_samples_at_its_entropy_and_uniform_tokens_far_above(folder):
    nats, sequences = data.oracle_nats(folder), data.load("seqgan_oracle", folder)
    assert sequences.spec == data.Spec((20,), 5000, 0)
    assert [len(sequences.splits[name].x) for name in ("train", "valid", "test")] == [10_000] * 3
    own = nats(sequences.splits["test"].x[:4000])
    assert abs(own.mean() - 5.754) < 0.02
    uniform = nats(np.random.default_rng(1).integers(0, 5000, (2000, 20)))
    assert abs(uniform.mean() - 11.43) < 0.05
    with pytest.raises(ValueError, match=r"tokens are 0 \.\. 5000, but the oracle knows 0 \.\. 4999"):
        nats(np.array([[0, 5000]]))


def test_the_oracle_draws_as_often_as_it_says():
    """A small one, all of whose sequences of its length can be counted."""
    rng = np.random.default_rng(0)
    shapes = {"embedding": (3, 2), "W": (2, 2), "U": (2, 2), "b": (2,), "Wout": (2, 3), "bout": (3,)}
    weights = {name: rng.normal(size=shapes.get(name) or shapes[name[0]]).astype(np.float32) for name in oracle.NAMES}
    drawn = oracle.drawn(weights, rng, 20_000)[:, :3]
    every = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    p = np.exp(-3 * oracle.nats(weights, every))
    assert abs(p.sum() - 1) < 1e-5
    seen = np.bincount(drawn @ [9, 3, 1], minlength=27) / len(drawn)
    assert (np.abs(seen - p) < 5 * np.sqrt(p * (1 - p) / len(drawn)) + 1e-4).all()


def test_emoji_keep_the_tones_of_one_together(folder):
    base = np.load(folder / "emoji/noto_emoji_32.npz")["base"]
    images = sources._on_white(np.load(folder / "emoji/noto_emoji_32.npz")["images"])
    of = {image.tobytes(): name for image, name in zip(images, base, strict=True)}
    splits = data.load("emoji32", folder).splits
    train, test = ({of[image.tobytes()] for image in splits[name].x} for name in ("train", "test"))
    assert len(train & test) <= 5  # a few emoji look exactly like another one


def test_nothing_heavy_is_imported(folder):
    code = """
import sys
from genjax import data
heavy = {"tensorflow", "tensorflow_datasets", "sklearn", "PIL", "matplotlib", "array_record"}
data.load("mnist", sys.argv[1]), data.load("moons")
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=ROOT)


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    ours, theirs = data.load("digits"), load_digits()
    parts = [ours.splits[name] for name in ("train", "valid", "test")]
    pixels = np.concatenate([part.x.reshape(-1, 64) for part in parts])
    together = np.column_stack([pixels, np.concatenate([part.y for part in parts])])
    wanted = np.column_stack([theirs.data, theirs.target])
    assert sorted(map(tuple, together.astype(int))) == sorted(map(tuple, wanted.astype(int)))
