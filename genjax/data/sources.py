"""One function from a name to arrays.

    load("digits")                      real 8x8 digits, inside scikit-learn: needs no files
    load("moons")                       a toy with its true entropy
    load("digits/captions")             the same told in words, "this is a zero", in place of its class
    load("levels")                      levels of a game, made on the spot
    load("mnist", "~/data")             a set of the data folder, which may also be named by the variable GENJAX_DATA
    load("pictures/cats", "~/data")     a folder of IDX, pictures or .wav files, or an .npz file: relative to it, or absolute
    load("tfds:my_set")                 a set prepared by tensorflow-datasets as array_record
"""

import difflib
import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from zlib import crc32

import numpy as np

from genjax.data import files, oracle
from genjax.data.base import DataError, Dataset, Indexed, Rows, Spec, Split, agree, check, complete, cut, take
from genjax.data.levels import levels
from genjax.data.texts import CLOTHES, NUMBERS, captioned, worded
from genjax.data.toys import TOYS, toy

Found = tuple[Spec, dict[str, Split]]


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """The data set of a name, checked.

    Args:
      name: see above; `names()` lists those that are known.
      data_dir: the data folder; None takes the variable GENJAX_DATA, or none.

    Raises:
      DataError: an unknown name, missing or damaged files, or arrays that do not hold what they should.
    """
    root = _root(data_dir)
    if name in TOYS:
        return toy(name)
    if name in HERE:
        return check(Dataset(name, *HERE[name]()))
    if name == "levels":
        return check(levels())
    if name.startswith("tfds:"):
        from genjax.data.records import tfds

        return check(Dataset(name, *tfds(name.removeprefix("tfds:"), root)))
    if name in FOLDER:
        return check(Dataset(name, *FOLDER[name](_needed(root, name))))
    if (path := _path(name, root)) is not None:
        return check(Dataset(name, *from_path(path, root or path.parent)))
    raise DataError(_unknown(name, root))


def names() -> list[str]:
    """Every name that `load` knows without a path."""
    return [*HERE, *TOYS, "levels", *FOLDER]


def _root(data_dir: str | Path | None) -> Path | None:
    given = data_dir or os.environ.get("GENJAX_DATA")
    root = Path(given).expanduser() if given else None
    if root is not None and not root.is_dir():
        raise DataError(f"no data folder {root}: correct --data-dir or the variable GENJAX_DATA")
    return root


def _needed(root: Path | None, name: str) -> Path:
    if root is None:
        raise DataError(f"{name} is read from a data folder: give --data-dir, or set the variable GENJAX_DATA")
    return root


def _path(name: str, root: Path | None) -> Path | None:
    places = [*([root / name] if root else []), Path(name).expanduser()]
    return next((place for place in places if name and place.exists()), None)


def _unknown(name: str, root: Path | None) -> str:
    near = difflib.get_close_matches(name, names(), 3, 0.5)
    guess = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names())}, a path, or tfds:NAME"
    where = f"in {root}" if root else "here, and no data folder is given (--data-dir or GENJAX_DATA)"
    return f"no data set {name!r}, and no such path {where}: {guess}"


# ---- what needs no files ------------------------------------------------------------------------------------------------


def digits() -> Found:
    """1797 real digits 8 x 8, values 0 .. 16 (UCI, in scikit-learn's wheel); 1439 / 179 / 179.

    The file that `sklearn.datasets.load_digits` reads, without the second or more that importing scikit-learn takes.
    """
    if (wheel := find_spec("sklearn")) is None:
        raise DataError("the digits come with scikit-learn, which is not here: pip install scikit-learn")
    table = np.loadtxt(Path(wheel.submodule_search_locations[0], "datasets", "data", "digits.csv.gz"), delimiter=",")
    x, y = table[:, :-1].reshape(-1, 8, 8, 1).astype(np.uint8), table[:, -1].astype(np.int32)
    return Spec((8, 8, 1), 17, 10), cut(Split(x, y))


# ---- the data folder ------------------------------------------------------------------------------------------------------


def idx_images(folder: str, root: Path) -> Found:
    """MNIST and its like: the last 10 000 of train are `valid`."""
    splits = files.idx_folder(root / folder, root)
    if "test" not in splits:
        raise DataError(f"no file {root / folder}/t10k-images-idx3-ubyte.gz: put it there, or give another data folder")
    count = len(splits["train"].x) - len(splits["test"].x)
    parts = {"train": np.arange(count), "valid": np.arange(count, len(splits["train"].x))}
    spec = Spec(splits["train"].x.shape[1:], 256, 10)
    return spec, {name: take(splits["train"], rows) for name, rows in parts.items()} | {"test": splits["test"]}


def mnist_static_bin(root: Path) -> Found:
    """The fixed binarization of Salakhutdinov & Murray; labels were matched to MNIST, good for plots."""
    keys = ("train", "valid", "test")
    z = files.npz(root / "mnist_static_bin/binarized_mnist.npz", root, [*keys, *(f"{key}_label" for key in keys)])
    image = lambda bits: np.unpackbits(bits, axis=1).reshape(-1, 28, 28, 1)
    return Spec((28, 28, 1), 2, 10), {key: Split(image(z[key]), z[f"{key}_label"].astype(np.int32)) for key in keys}


def omniglot(root: Path) -> Found:
    """Background small 1 + 2, 28 x 28, by drawer 1-16, 17-18, 19-20: not the split of the IWAE paper. y: character."""
    z = files.npz(root / "omniglot/omniglot_small_28.npz", root, ("images", "alphabet", "character", "drawer"))
    letters = np.char.add(np.char.add(z["alphabet"], "/"), z["character"])
    kinds, y = np.unique(letters, return_inverse=True)
    part = np.digitize(z["drawer"], (17, 19))
    return Spec((28, 28, 1), 256, len(kinds)), _parts(Split(z["images"][..., None], y.astype(np.int32)), part)


def frey(root: Path) -> Found:
    """1965 video frames 28 x 20 cut in time, 1565 / 200 / 200: drawn at random, neighbours would be on both sides."""
    x = files.npz(root / "frey/frey_faces.npz", root, ("images",))["images"][..., None]
    return Spec((28, 20, 1), 256, 0), _parts(Split(x), np.digitize(np.arange(len(x)), (1565, 1765)))


def olivetti(root: Path) -> Found:
    """400 faces 64 x 64 split by person (30 / 5 / 5), so no labels are shared."""
    z = files.npz(root / "olivetti/olivetti_faces.npz", root, ("images", "subject"))
    person = z["subject"] - z["subject"].min()
    return Spec((64, 64, 1), 256, 0), _parts(Split(z["images"][..., None]), np.digitize(person, (30, 35)))


def cifar10_3000(root: Path) -> Found:
    """The first 3000 training images with exact pixels, 80 / 10 / 10 %: fit for bits/dim."""
    z = files.npz(root / "cifar10/cifar10_train_0_2999.npz", root, ("images", "labels"))
    return Spec((32, 32, 3), 256, 10), cut(Split(z["images"], z["labels"].astype(np.int32)))


def cifar10_jpeg75(root: Path) -> Found:
    """49 000 + 5000 images after JPEG at quality 75: neither bits/dim nor FID compares with published CIFAR-10 numbers."""
    whole = {"train": _jpegs(root / "cifar10/cifar10_jpeg75_train.npz", root)}
    whole["test"] = _jpegs(root / "cifar10/cifar10_jpeg75_test_a.npz", root)
    return Spec((32, 32, 3), 256, 10), complete(whole)


def _jpegs(path: Path, root: Path) -> Split:
    from genjax.data.pictures import scans

    z = files.npz(path, root, ("header", "scan", "offsets", "labels"))
    return Split(scans(z["header"], z["scan"], z["offsets"]), z["labels"].astype(np.int32))


def emoji(size: int, told: str, root: Path) -> Found:
    """Noto emoji on white, split by emoji so that skin tones of one stay together; y: Unicode's group, or its name of them."""
    name, base = {32: ("noto_emoji_32", "base"), 64: ("noto_emoji_64_base", "caption")}[size]
    z = files.npz(root / f"emoji/{name}.npz", root, ("images", told, base))
    tenth = np.array([crc32(text.encode()) % 10 for text in z[base]])
    x = _on_white(z["images"]) if size == 32 else z["images"]
    part = np.select([tenth == 0, tenth == 1], [2, 1])
    if told == "caption":
        y, letters = captioned(z["caption"])
        return Spec((size, size, 3), 256, 0, letters=letters, length=y.shape[1]), _parts(Split(x, y), part)
    kinds, y = np.unique(z["group"], return_inverse=True)
    return Spec((size, size, 3), 256, len(kinds)), _parts(Split(x, y.astype(np.int32)), part)


def _on_white(pixels: np.ndarray) -> np.ndarray:
    from genjax.data.pictures import on_white

    return on_white(pixels)


def fsdd(root: Path) -> Found:
    """Spoken digits at 8 kHz, cut or filled to (8192, 1), values 0 .. 65535, silence 32768. Takes 0-4: test, 5-9: valid."""
    z = files.npz(root / "fsdd/fsdd_8k.npz", root, ("audio", "offsets", "label", "index"))
    wave = (z["audio"].astype(np.int32) + 2**15).astype(np.uint16)[:, None]
    x = np.stack([files.padded(clip, 8192, 2**15) for clip in np.split(wave, z["offsets"][1:-1])])
    part = np.select([z["index"] < 5, z["index"] < 10], [2, 1])
    return Spec((8192, 1), 2**16, 10), _parts(Split(x, z["label"].astype(np.int32)), part)


def binary_density(which: str, root: Path) -> Found:
    """One of eight sets of binary variables with their fixed splits."""
    keys = {split: f"{which}_{split}" for split in ("train", "valid", "test")}
    z = files.npz(root / "binary_density/binary_density.npz", root, keys.values())
    return Spec(z[keys["train"]].shape[1:], 2, 0), {split: Split(z[key]) for split, key in keys.items()}


def uci(which: str, root: Path) -> Found:
    """A table of real numbers, 80 / 10 / 10 %, each column standardized with the mean and deviation of train."""
    splits = cut(Split(files.npz(root / "uci/uci_tabular.npz", root, (which,))[which]))
    mean, sd = splits["train"].x.mean(0), splits["train"].x.std(0)
    scaled = {name: Split(((split.x - mean) / sd).astype(np.float32)) for name, split in splits.items()}
    return Spec(mean.shape, 0, 0), scaled


def polymusic(which: str, root: Path, length: int = 32) -> Found:
    """Piano rolls in pieces of 32 time steps (32, 88) that do not overlap; the rest of a piece is left out."""
    keys = [f"{split}_{kind}" for split in ("train", "valid", "test") for kind in ("roll", "len")]
    z = files.npz(root / f"polymusic/{which}.npz", root, keys)

    def split(name: str) -> Split:
        songs = np.split(z[f"{name}_roll"], np.cumsum(z[f"{name}_len"])[:-1])
        return Split(np.concatenate([windows(song, length) for song in songs]))

    return Spec((length, 88), 2, 0), {name: split(name) for name in ("train", "valid", "test")}


def tinyshakespeare(root: Path) -> Found:
    """Characters in order, 90 / 5 / 5 %, see `text`."""
    return text(root / "text/tinyshakespeare.txt", root)


def text(path: Path, root: Path, length: int = 128) -> Found:
    """A text in pieces of 128 characters that do not overlap, 90 / 5 / 5 % in order; levels: its characters, sorted."""
    try:
        letters = np.frombuffer(files.read(path, root).decode().encode("utf-32-le"), np.uint32)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): convert it") from None
    kinds, ids = np.unique(letters, return_inverse=True)
    ends = [int(len(ids) * share) for share in (0.9, 0.95)]
    parts = zip(("train", "valid", "test"), np.split(ids.astype(np.int32), ends), strict=True)
    spec = Spec((length,), len(kinds), 0, "".join(map(chr, kinds)))
    return spec, {name: Split(windows(part, length)) for name, part in parts}


def seqgan_oracle(root: Path) -> Found:
    """30 000 sequences of 20 tokens drawn from SeqGAN's oracle with seed 0, a third each: half a minute, see `oracle_nats`."""
    weights, rng = _oracle(root), np.random.default_rng(0)
    splits = {name: Split(oracle.drawn(weights, rng, 10_000)) for name in ("train", "valid", "test")}
    return Spec((oracle.LENGTH,), len(weights["bout"]), 0), splits


def oracle_nats(data_dir: str | Path | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """NLL_oracle (1609.05473): sequences (n, T) of tokens -> (n,) nats a token under SeqGAN's oracle."""
    return partial(oracle.nats, _oracle(_needed(_root(data_dir), "seqgan_oracle")))


def _oracle(root: Path) -> oracle.Weights:
    return files.npz(root / "seqgan_oracle/seqgan_oracle.npz", root, oracle.NAMES)


def windows(series: np.ndarray, length: int) -> np.ndarray:
    """(T, ...) -> (T // length, length, ...): pieces that do not overlap."""
    count = len(series) // length
    return series[: count * length].reshape(count, length, *series.shape[1:])


def _parts(whole: Split, part: np.ndarray) -> dict[str, Split]:
    """Rows numbered 0, 1, 2 are train, valid, test."""
    return {name: take(whole, np.flatnonzero(part == i)) for i, name in enumerate(("train", "valid", "test"))}


HERE: dict[str, Callable[[], Found]] = {"digits": digits, "digits/captions": lambda: worded(*digits(), NUMBERS)}
FOLDER: dict[str, Callable[[Path], Found]] = {
    **{name: partial(idx_images, name) for name in ("mnist", "fashion_mnist")},
    **{f.__name__: f for f in (mnist_static_bin, omniglot, frey, olivetti, cifar10_3000, cifar10_jpeg75)},
    **{f"emoji{size}": partial(emoji, size, "group") for size in (32, 64)},
    **{f"emoji{size}/captions": partial(emoji, size, "caption") for size in (32, 64)},
    "mnist/captions": lambda root: worded(*idx_images("mnist", root), NUMBERS),
    "fashion_mnist/captions": lambda root: worded(*idx_images("fashion_mnist", root), CLOTHES),
    **{f.__name__: f for f in (fsdd, tinyshakespeare, seqgan_oracle)},
    **{
        f"binary_density/{name}": partial(binary_density, name)
        for name in ("nltcs", "plants", "baudio", "jester", "bnetflix", "accidents", "mushrooms", "dna")
    },
    **{
        f"uci/{name}": partial(uci, name)
        for name in ("power_plant", "protein_tertiary_structure", "wine_quality_red", "concrete")
    },
    **{f"polymusic/{name}": partial(polymusic, name) for name in ("jsb_chorales", "nottingham")},
}


# ---- any path -------------------------------------------------------------------------------------------------------------


def from_path(path: Path, root: Path) -> Found:
    """What a file or folder holds, told by its name: .npz, .txt, a folder of IDX files, of .wav files or of pictures."""
    if path.suffix == ".npz":
        splits = files.npz_splits(path, root)
        return _described(path, {name: Split(_with_channel(split.x), split.y) for name, split in splits.items()})
    if path.suffix == ".txt":
        return text(path, root)
    if not path.is_dir():
        raise DataError(f"{path} is neither a folder nor an .npz or .txt file: convert it to one of them")
    if next(path.glob("*-idx*-ubyte*"), None):
        return _described(path, files.idx_folder(path, root))
    if next(path.rglob("*.wav"), None):
        splits, levels = files.sounds(path, root)
        return _described(path, splits, levels)
    return _described(path, files.pictures(path, root))


def _described(path: Path, splits: dict[str, Split], levels: int | None = None) -> Found:
    """The Spec that the training data show, and all three splits."""
    splits = {name: agree(f"{path}, split {name!r}", split) for name, split in splits.items()}
    train = splits.get("train", next(iter(splits.values())))
    classes = 0 if train.y is None else int(np.max(train.y, initial=-1)) + 1
    levels = _levels(train.x) if levels is None else levels
    return Spec(tuple(train.x.shape[1:]), levels, classes), complete(splits) if "train" in splits else splits


def _with_channel(x: np.ndarray) -> np.ndarray:
    """Integers of three axes are grey pictures (n, H, W) and gain their channel; truth values become 0 and 1."""
    if x.dtype == bool:
        x = x.astype(np.uint8)
    return x[..., None] if x.ndim == 3 and x.dtype.kind in "iu" else x


def _levels(x: Rows) -> int:
    """How many values integers take: 2 for zeros and ones, 256 for other bytes, else up to the largest; 0 for floats."""
    if x.dtype.kind not in "iu":
        return 0
    top = 255 if isinstance(x, Indexed) else int(np.max(x, initial=1))
    return top + 1 if top < 2 or x.dtype != np.uint8 else 256
