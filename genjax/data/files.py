"""Readers of file formats. Whatever is wrong with a file is one DataError line that names it.

Every file goes through `read`, which compares it with SHA256SUMS where such a list stands in the data folder.
"""

import gzip
import hashlib
import io
import wave
import zipfile
import zlib
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from genjax.data.base import DataError, Split, agree, first_line

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
IN_MEMORY = 2**30  # bytes of decoded pictures; a larger folder is decoded row by row
AGAIN = "fetch the file again"


# ---- bytes ------------------------------------------------------------------------------------------------------------


def read(path: Path, root: Path) -> bytes:
    """A whole file, as it is listed in root/SHA256SUMS where it is."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no file {path}: put it there, or give another data folder") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if (wanted := _checksums(root).get(path.resolve())) and hashlib.sha256(content).hexdigest() != wanted:
        raise DataError(f"{path} is not the file that {root / 'SHA256SUMS'} lists (checksum differs): {AGAIN}")
    return content


def _checksums(root: Path) -> dict[Path, str]:
    listing = root / "SHA256SUMS"
    return _parsed(listing, listing.stat().st_mtime_ns) if listing.is_file() else {}


@lru_cache
def _parsed(listing: Path, changed: int) -> dict[Path, str]:
    del changed  # only tells one state of the file from the next
    lines = [line.split(maxsplit=1) for line in listing.read_text(errors="replace").splitlines() if line.strip()]
    if any(len(line) != 2 or len(line[0]) != 64 for line in lines):
        raise DataError(f"{listing} has a line that is not '<64 hex digits>  <file>': write it anew with sha256sum")
    return {(listing.parent / name.lstrip("*")).resolve(): digest.lower() for digest, name in lines}


# ---- IDX --------------------------------------------------------------------------------------------------------------


IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def idx(path: Path, root: Path) -> np.ndarray:
    """The array of an IDX file, .gz or plain: 2 zero bytes, type, number of axes, their lengths, the values."""
    content = read(path, root)
    if path.suffix == ".gz":
        content = _gunzip(path, content)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise DataError(f"{path} is not an IDX file (its first bytes are {content[:4].hex() or 'missing'}): {AGAIN}")
    axes, dtype = content[3], np.dtype(IDX_TYPES[content[2]])
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, 4 + 4 * axes, 4))
    wanted, got = int(np.prod(shape, dtype=object)) * dtype.itemsize, len(content) - 4 - 4 * axes
    if wanted != got:
        raise DataError(f"{path}: the IDX header says {shape}, {wanted} bytes, but {got} follow: {AGAIN}")
    return np.frombuffer(content, dtype, offset=4 + 4 * axes).reshape(shape).astype(dtype.newbyteorder("="))


def _gunzip(path: Path, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a truncated or damaged gzip file ({error}): {AGAIN}") from None


def idx_folder(folder: Path, root: Path) -> dict[str, Split]:
    """train and, where there, test of a folder with MNIST's file names."""
    names = {"train": "train", "test": "t10k"}
    there = {split for split, stem in names.items() if list(folder.glob(f"{stem}-*idx*"))}
    return {split: _idx_split(folder, stem, root) for split, stem in names.items() if split in there | {"train"}}


def _idx_split(folder: Path, stem: str, root: Path) -> Split:
    x, y = (idx(_plain_or_gz(folder / f"{stem}-{kind}-ubyte"), root) for kind in ("images-idx3", "labels-idx1"))
    return agree(f"{folder}/{stem}-*", Split(x[..., None], y.astype(np.int32)))


def _plain_or_gz(path: Path) -> Path:
    return path if path.is_file() else path.with_name(f"{path.name}.gz")


# ---- npz --------------------------------------------------------------------------------------------------------------


def npz(path: Path, root: Path, keys: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Some (or all) arrays of an .npz file. Pickles are refused."""
    content = read(path, root)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            if missing := [key for key in keys if key not in file.files]:
                raise DataError(f"{path} has no array {missing[0]!r}, only {', '.join(file.files)}")
            return {key: file[key] for key in keys or file.files}
    except DataError:
        raise
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged .npz file, or one with pickles ({first_line(error)}): {AGAIN}") from None


def npz_splits(path: Path, root: Path) -> dict[str, Split]:
    """Splits of an .npz file: x, y (or images, labels), alone or as train_x, test_x, x_train ..."""
    arrays = npz(path, root)
    splits = {}
    for prefix, split in SPLITS.items():
        x, y = (_named(arrays, prefix, words) for words in (("x", "images"), ("y", "labels", "label")))
        if x is not None:
            splits[split] = Split(x, y)
    x, y = (_named(arrays, "", words) for words in (("x", "images"), ("y", "labels", "label")))
    if not splits and x is None:
        raise DataError(f"{path} has arrays {', '.join(arrays)}: name them x, y (or images, labels), or train_x, test_x ...")
    return splits or {"train": Split(x, y)}


def _named(arrays: dict[str, np.ndarray], prefix: str, words: tuple[str, ...]) -> np.ndarray | None:
    names = [name for word in words for name in ((f"{prefix}_{word}", f"{word}_{prefix}") if prefix else (word,))]
    return next((arrays[name] for name in names if name in arrays), None)


# ---- folders of pictures and of sounds ----------------------------------------------------------------------------------


def listing(folder: Path, suffixes: tuple[str, ...]) -> dict[str, tuple[list[Path], np.ndarray | None]]:
    """split -> (files, labels): sub-folders are classes; sub-folders train, valid, test above them are splits."""
    parts = {SPLITS[p.name]: p for p in sorted(folder.iterdir()) if p.is_dir() and p.name in SPLITS}
    parts = parts if "train" in parts else {"train": folder}
    classes = [p.name for p in sorted(parts["train"].iterdir()) if p.is_dir()]
    return {split: _files(part, classes, suffixes) for split, part in parts.items()}


def _files(folder: Path, classes: list[str], suffixes: tuple[str, ...]) -> tuple[list[Path], np.ndarray | None]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not paths:
        raise DataError(f"{folder} has no files {', '.join(suffixes)}: give the folder that holds them")
    names = [p.relative_to(folder).parts[0] if p.parent != folder else None for p in paths]
    if not classes or all(name is None for name in names):
        return paths, None
    if odd := next((p for p, name in zip(paths, names, strict=True) if name not in classes), None):
        raise DataError(f"{odd} lies in no class of the training data: put it into one of {', '.join(classes[:9])}")
    return paths, np.array([classes.index(name) for name in names], np.int32)


def pictures(folder: Path, root: Path) -> dict[str, Split]:
    """Splits of a folder of pictures of one size: grey if all are, else RGB, transparency laid on white."""
    import genjax.data.pictures as p  # needs Pillow

    listed = listing(folder, PICTURES)
    paths = [path for some, _ in listed.values() for path in some]
    shape = p.common_shape(paths)
    decode = lambda path: p.decode(read(path, root), path, shape)
    return {split: Split(p.column(some, decode, shape, IN_MEMORY), y) for split, (some, y) in listed.items()}


def sounds(folder: Path, root: Path) -> tuple[dict[str, Split], int]:
    """(splits, levels) of a folder of PCM .wav files of one format, padded with silence to the longest."""
    listed = listing(folder, (".wav",))
    clips = {split: [_clip(path, root) for path in paths] for split, (paths, _) in listed.items()}
    every = [clip for some in clips.values() for clip in some]
    formats = {clip[0] for clip in every}
    if len(formats) > 1:
        raise DataError(f"{folder} mixes formats (channels, bytes, Hz) {sorted(formats)}: convert the clips to one of them")
    bits, length = 8 * formats.pop()[1], max(len(clip[1]) for clip in every)
    pad = partial(padded, length=length, silence=2 ** (bits - 1))
    return {split: Split(np.stack([pad(clip[1]) for clip in some]), listed[split][1]) for split, some in clips.items()}, 2**bits


def padded(clip: np.ndarray, length: int, silence: int) -> np.ndarray:
    """A clip (T, channels) cut or filled up to a length."""
    fill = np.full((max(0, length - len(clip)), *clip.shape[1:]), silence, clip.dtype)
    return np.concatenate([clip[:length], fill])


def _clip(path: Path, root: Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """((channels, bytes, Hz), values (T, channels) from 0 on): 8-bit wav is stored so, 16-bit around 0."""
    try:
        with wave.open(io.BytesIO(read(path, root))) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            count, content = file.getnframes(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DataError(f"{path} is not a whole PCM .wav file ({first_line(error)}): convert or {AGAIN}") from None
    if width not in (1, 2):
        raise DataError(f"{path} has {8 * width} bits a sample: convert it to 8 or 16")
    if len(content) != count * channels * width:
        raise DataError(f"{path} says {count} samples but ends after {len(content) // (channels * width)}: {AGAIN}")
    values = np.frombuffer(content, "u1" if width == 1 else "<i2").reshape(-1, channels)
    return (channels, width, rate), values if width == 1 else (values.astype(np.int32) + 2**15).astype(np.uint16)
