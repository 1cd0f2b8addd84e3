"""Sets prepared by tensorflow-datasets in the array_record format, read by row number and without TensorFlow.

    prepare once:  builder.download_and_prepare(file_format="array_record")        at most here TensorFlow may be needed
    then:          load("tfds:NAME"), "tfds:NAME:1.0.0" or "tfds:NAME/CONFIG:1.0.0"
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from genjax.data.base import DataError, Indexed, Rows, Spec, Split, complete

SPLITS = {"train": "train", "validation": "valid", "valid": "valid", "test": "test"}
IMAGES, LABELS = ("image", "x", "audio", "video"), ("label", "y")
AT_ONCE = 4096  # rows


def tfds(name: str, root: Path | None) -> tuple[Spec, dict[str, Split]]:
    """The prepared copy in the data folder, or in tensorflow-datasets' own (TFDS_DATA_DIR, ~/tensorflow_datasets)."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(f"tfds:{name}: {error}; pip install tensorflow-datasets array_record") from None

    folder = _prepared(name, root)
    builder = tensorflow_datasets.builder_from_directory(folder)
    if (form := builder.info.file_format.value) != "array_record":
        raise DataError(f'{folder} is prepared as {form}: prepare it with download_and_prepare(file_format="array_record")')
    splits = {SPLITS[part]: part for part in builder.info.splits if part in SPLITS}
    found = {split: _split(builder, part) for split, part in splits.items()}
    if "train" not in found:
        raise DataError(f"{folder} has no split train, only {', '.join(builder.info.splits) or 'nothing'}")
    return _spec(builder.info.features, found["train"]), complete(found)


def _prepared(name: str, root: Path | None) -> Path:
    """The folder of the newest version (or of the one named) in which a prepared copy stands."""
    path, _, version = name.partition(":")
    own = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    places = [*([root, root / "tensorflow_datasets"] if root else []), own]
    for place in places:
        versions = [info.parent for info in (place / path).glob(f"{version or '*'}/dataset_info.json")]
        if path and versions:
            return max(versions, key=lambda folder: [int(n) if n.isdigit() else -1 for n in folder.name.split(".")])
    tried = ", ".join(str(place / name.replace(":", "/")) for place in places)
    raise DataError(f'no prepared copy of tfds:{name} in {tried}: download_and_prepare(file_format="array_record") once')


def _split(builder: Any, part: str) -> Split:
    source = builder.as_data_source(split=part)
    features, records = builder.info.features, _Records(source)
    x_name = _feature(features, IMAGES, f"{builder.info.full_name}: examples")
    y_name = next((name for name in LABELS if name in features), None)
    x = _column(records, x_name, features[x_name], len(source))
    return Split(x, None if y_name is None else _column(records, y_name, features[y_name], len(source)))


def _feature(features: Any, names: tuple[str, ...], what: str) -> str:
    if found := next((name for name in names if name in features), None):
        return found
    raise DataError(f"{what} would be called {' or '.join(names)}, but the features are {', '.join(features)}")


class _Records:
    """Rows of a random-access source. The last ones read are kept: x and y of a batch are asked for one after the other."""

    def __init__(self, source: Any):
        self.source, self.rows, self.read = source, None, None

    def __call__(self, rows: np.ndarray) -> list[dict[str, np.ndarray]]:
        if self.rows is None or not np.array_equal(rows, self.rows):
            self.rows, self.read = rows.copy(), self.source.__getitems__([int(row) for row in rows])
        return self.read


def _column(records: _Records, name: str, feature: Any, count: int) -> Rows:
    """One feature of all rows, read when asked for."""
    shape, dtype = tuple(feature.shape), np.dtype(feature.np_dtype)
    if None in shape:
        raise DataError(f"feature {name!r} has no fixed shape, {shape}: prepare examples of one size")

    def read(rows: np.ndarray) -> np.ndarray:
        return np.array([record[name] for record in records(rows)], dtype).reshape(len(rows), *shape)

    return Indexed((count, *shape), dtype, read)


def _spec(features: Any, train: Split) -> Spec:
    name = _feature(features, LABELS, "labels") if train.y is not None else None
    classes = getattr(features[name], "num_classes", None) if name else 0
    if classes is None:  # plain integers: only reading them all tells, so a ClassLabel is better
        classes = 1 + max(int(train.y[i : i + AT_ONCE].max()) for i in range(0, len(train.y), AT_ONCE))
    levels = {"u": 2 ** (8 * train.x.dtype.itemsize), "b": 2}.get(train.x.dtype.kind, 0)
    return Spec(tuple(train.x.shape[1:]), levels, classes)
