"""What a data set is: arrays by index, a line on what they hold, and the refusal of arrays that do not hold it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class DataError(ValueError):
    """Data that cannot be used, in one line: what is wrong, where, what to do."""


def first_line(error: Exception) -> str:
    """What a library's error says, short enough to stand inside a DataError."""
    return (str(error) or type(error).__name__).splitlines()[0]


class Spec(NamedTuple):
    """What a recipe needs to know of a data set."""

    shape: tuple[int, ...]  # of one example, channels last: (8, 8, 1); (2,) for toys
    levels: int  # values are 0 .. levels - 1: 256 for 8 bits, 17 for digits, 2 for binary; 0 for continuous
    classes: int  # labels are 0 .. classes - 1; 0 for none
    alphabet: str = ""  # of a text: the character of each level
    letters: str = ""  # of captions: y is (n, length), k for the k-th of these characters from 1, zeros after the last
    length: int = 0  # of the longest caption


@dataclass(frozen=True)
class Indexed:
    """Rows that are read when asked for: stands where an array would not fit into memory."""

    shape: tuple[int, ...]  # (rows, *example)
    dtype: np.dtype
    read: Callable[[np.ndarray], np.ndarray]  # row numbers (n,) -> (n, *example)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """One row for an integer, many for a slice, a list or an array of them."""
        numbers = np.arange(len(self))[rows]
        return self.read(np.atleast_1d(numbers)).reshape(*numbers.shape, *self.shape[1:])


Rows = np.ndarray | Indexed


class Split(NamedTuple):
    """Examples (n, *spec.shape) and their labels (n,) or captions (n, spec.length), or None."""

    x: Rows
    y: Rows | None = None


class Dataset(NamedTuple):
    """Splits `train`, `valid`, `test` of one source."""

    name: str
    spec: Spec
    splits: dict[str, Split]
    entropy: float | None = None  # nats, of the true density: toys only


def spec_from(fields: dict[str, Any]) -> Spec:
    """The Spec whose `_asdict()` went through JSON, which has no tuples."""
    return Spec(**fields)._replace(shape=tuple(fields["shape"]))


# ---- splits where none are given ---------------------------------------------------------------------------------------


def take(split: Split, rows: np.ndarray) -> Split:
    """The given rows of a split; rows that are read when asked for stay so."""

    def of(column: Rows | None) -> Rows | None:
        if not isinstance(column, Indexed):
            return None if column is None else column[rows]
        return Indexed((len(rows), *column.shape[1:]), column.dtype, lambda numbers: column[rows[numbers]])

    return Split(of(split.x), of(split.y))


def cut(whole: Split, seed: int = 0) -> dict[str, Split]:
    """80 / 10 / 10 % in an order drawn with `seed`."""
    order, tenth = np.random.default_rng(seed).permutation(len(whole.x)), max(1, len(whole.x) // 10)
    parts = order[: -2 * tenth], order[-2 * tenth : -tenth], order[-tenth:]
    return {name: take(whole, rows) for name, rows in zip(("train", "valid", "test"), parts, strict=True)}


def complete(splits: dict[str, Split], seed: int = 0) -> dict[str, Split]:
    """All three splits: a missing one is a tenth of `train`, drawn with `seed`; with `train` alone, 80 / 10 / 10 %."""
    if set(splits) == {"train"}:
        return cut(splits["train"], seed)
    for name in {"valid", "test"} - set(splits):
        order = np.random.default_rng(seed).permutation(len(splits["train"].x))
        tenth = max(1, len(order) // 10)
        splits = splits | {"train": take(splits["train"], order[:-tenth]), name: take(splits["train"], order[-tenth:])}
    return splits


def joined(*splits: Split) -> Split:
    """Several splits as one, as for tables that train on train and valid together."""
    labels = None if any(split.y is None for split in splits) else np.concatenate([split.y[:] for split in splits])
    return Split(np.concatenate([split.x[:] for split in splits]), labels)


# ---- refusing what does not hold ------------------------------------------------------------------------------------------


def check(dataset: Dataset) -> Dataset:
    """The data set itself, or a DataError that names the split and what is wrong with it."""
    if "train" not in dataset.splits:
        raise DataError(f"{dataset.name} has no split 'train', only {', '.join(dataset.splits) or 'nothing'}")
    for name, split in dataset.splits.items():
        where = f"{dataset.name}, split {name!r}"
        agree(where, split, (dataset.spec.length,) if dataset.spec.letters else ())
        _check_examples(where, split.x, dataset.spec)
        _check_labels(where, split.y, len(dataset.spec.letters) + 1 if dataset.spec.letters else dataset.spec.classes)
    return dataset


def agree(where: str, split: Split, told: tuple[int, ...] = ()) -> Split:
    """The split itself, or a DataError if these are not numbers by example, each with one label or none with any.

    Args:
      told: shape of one label: (), or (length,) of a caption.
    """
    x, y = split
    if len(x.shape) < 2 or x.dtype.kind not in "buif":
        raise DataError(f"{where}: x is {x.dtype} of shape {x.shape}; give numbers (examples, ...), channels last")
    if y is not None and (tuple(y.shape[1:]) != told or y.dtype.kind not in "ui"):
        raise DataError(f"{where}: labels are {y.dtype} of shape {y.shape}; give one class number 0 .. classes - 1 an example")
    if y is not None and len(y) != len(x):
        raise DataError(f"{where}: {len(x)} examples but {len(y)} labels; these do not belong together")
    return split


def _check_examples(where: str, x: Rows, spec: Spec) -> None:
    if len(x) == 0:
        raise DataError(f"{where}: no examples; give more data, or other splits")
    if tuple(x.shape[1:]) != spec.shape:
        raise DataError(f"{where}: one example has shape {tuple(x.shape[1:])}, but that of the data set is {spec.shape}")
    if isinstance(x, Indexed):
        return  # looking at every row would read the whole set
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(1))[0])
        raise DataError(f"{where}: x holds NaN or infinity, first in row {bad}; clean or drop such rows")
    if spec.levels and (x.min() < 0 or x.max() >= spec.levels):
        raise DataError(f"{where}: x holds values {x.min()} .. {x.max()}, but {spec.levels} levels are 0 .. {spec.levels - 1}")


def _check_labels(where: str, y: Rows | None, classes: int) -> None:
    if isinstance(y, np.ndarray) and (y.min() < 0 or y.max() >= classes):
        raise DataError(f"{where}: labels are {y.min()} .. {y.max()}, but train has {classes} classes: give 0 .. {classes - 1}")
