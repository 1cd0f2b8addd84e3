"""Features of Inception-V3 with the weights that FID was defined by (arXiv 1706.08500), from a file that the user supplies.

No other feature space of genjax may be called FID. The file is the one pytorch-fid publishes with its release "fid_weights",

    pt_inception-2015-12-05-6726825d.pth        the last part of its name: how its sha256 begins

or the same arrays by the same names as .npz or .safetensors, which need no torch to be read:

    numpy.savez("inception.npz", **{name: array.numpy() for name, array in torch.load(path).items()})

Images are resized to 299 x 299 before anything else, and by how is part of the number (arXiv 2104.11222): pytorch-fid's way is
the default here. TensorFlow's first code (bilinear, corners not at half pixels) and clean-fid (bicubic, antialiased) differ.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from hashlib import file_digest
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.base import first_line
from genjax.metrics.features import Features
from genjax.nets.inception import EPSILON, SIDE, fid_inception

PUBLISHED = "6726825d"  # how the sha256 of pytorch-fid's file begins
CLASSES = 1008  # of the last layer of FID's network, which is not used; torchvision's, whose features differ, has 1000
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
WANTED = f"use pytorch-fid's pt_inception-2015-12-05-{PUBLISHED}.pth"
UNUSED = ("fc.", "AuxLogits.")  # arrays of the classifiers
State = Mapping[str, np.ndarray]


def half_pixel_bilinear(x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, 299, 299, C): bilinear, half-pixel centres, not antialiased, as pytorch-fid resizes."""
    return jax.image.resize(x, (x.shape[0], SIDE, SIDE, x.shape[-1]), "bilinear", antialias=False)


def inception(path: Path | str, resize: Callable[[jax.Array], jax.Array] = half_pixel_bilinear, batch: int = 32) -> Features:
    """The 2048 pooled features of FID's Inception-V3.

    Args:
      path: the weights, .pth (needs torch), .npz or .safetensors.
      resize: images (B, H, W, 3) -> (B, 299, 299, 3); its name is stored with the result.
      batch: images at a time; features do not depend on it.

    Raises:
      ValueError: the file cannot be read, or an array in it is missing, has another shape or is not finite.
    """
    path = Path(path)
    params = jax.device_put(from_state(read(path), path.name))

    features = jax.jit(lambda params, x: fid_inception().apply(params, 2 * resize(x) - 1))
    about = {"network": "Inception-V3, FID layout, 2048 pooled", "weights": path.name, "resize": resize.__name__}
    with path.open("rb") as file:
        about["sha256"] = file_digest(file, "sha256").hexdigest()
    about["published"] = about["sha256"].startswith(PUBLISHED)  # False also for a conversion of the published file
    return Features("inception", partial(in_batches, partial(features, params), batch=batch), about)


def in_batches(features: Callable[[jax.Array], jax.Array], x: np.ndarray, batch: int) -> np.ndarray:
    """(n, H, W, C) in [0, 1] -> (n, 2048) float64; the last batch is filled up, so that one shape is compiled."""
    check_shown(x)
    rows, out = min(batch, len(x)), []
    for start in range(0, len(x), rows):
        some = np.asarray(x[start : start + rows], np.float32)
        filled = np.pad(some, [(0, rows - len(some)), (0, 0), (0, 0), (0, 0)])
        colours = np.broadcast_to(filled, (*filled.shape[:-1], 3))  # grey is red = green = blue
        out.append(np.asarray(features(colours), np.float64)[: len(some)])
    return np.concatenate(out)


def check_shown(x: np.ndarray) -> None:
    """Refuse what is not a picture, or not in [0, 1]."""
    if np.ndim(x) != 4 or np.shape(x)[-1] not in (1, 3) or not len(x):
        raise ValueError(f"Inception features are of images (n, H, W, 1 or 3), not of an array {np.shape(x)}")
    if not (np.min(x) >= 0 and np.max(x) <= 1):  # so written, NaN is refused too
        raise ValueError(f"Inception features are of values in [0, 1], these go from {np.min(x):.3g} to {np.max(x):.3g}")


# ---- weights: from the file's names and layout to the network's ------------------------------------------------------------


def shapes() -> dict[str, tuple[int, ...]]:
    """{name in the file: shape} of every array that is needed: five a unit, and the last layer, which tells the network."""
    table = {"fc.weight": (CLASSES, 2048), "fc.bias": (CLASSES,)}
    for name, leaf in _leaves(_structure()):
        unit, _, last = name.rpartition(".")
        if last == "kernel":
            table[f"{unit}.weight"] = tuple(leaf.shape[axis] for axis in (3, 2, 0, 1))
        elif last == "scale":
            table |= {f"{unit}.bn.{part}": leaf.shape for part in BATCH_NORM}
    return table


def from_state(state: State, where: str) -> dict[str, Any]:
    """The network's parameters from arrays by the file's names; `where` is what an error calls them. ValueError."""
    check_state(state, where)

    def place(path, _):
        unit, _, last = jax.tree_util.keystr(path, simple=True, separator=".").rpartition(".")
        if last == "kernel":
            return np.asarray(state[f"{unit}.weight"], np.float32).transpose(2, 3, 1, 0)
        return np.asarray(folded(*(state[f"{unit}.bn.{part}"] for part in BATCH_NORM))[last], np.float32)

    return jax.tree_util.tree_map_with_path(place, _structure())


def folded(gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> dict[str, np.ndarray]:
    """Inference-mode batch normalization as scale and bias, each (C,), computed in float64."""
    scale = np.asarray(gamma, np.float64) / np.sqrt(np.asarray(variance, np.float64) + EPSILON)
    return {"scale": scale, "bias": beta - scale * mean}


def check_state(state: State, where: str) -> None:
    """Refuse arrays that are not those of FID's Inception-V3, in one line that names the first that does not fit."""
    table = shapes()
    if np.shape(state.get("fc.bias")) == (1000,):
        raise ValueError(f"{where} is torchvision's Inception-V3 (1000 classes); {WANTED} (1008 classes)")
    _refuse(where, "missing", [name for name in table if name not in state])
    _refuse(where, "unknown", [name for name in state if name not in table and not _ignored(name)])
    wrong = [name for name, shape in table.items() if np.shape(state[name]) != shape]
    _refuse(where, "of another shape", [f"{name} {np.shape(state[name])} instead of {table[name]}" for name in wrong])
    _refuse(where, "not finite", [name for name in table if not np.isfinite(state[name]).all()])
    _refuse(where, "negative", [name for name in table if name.endswith("running_var") and np.min(state[name]) < 0])


def _refuse(where: str, what: str, names: list[str]) -> None:
    if names:
        raise ValueError(f"{where}: {len(names)} of FID's arrays are {what}, the first is {names[0]}; {WANTED}")


def _ignored(name: str) -> bool:
    return name.startswith(UNUSED) or name.endswith(".num_batches_tracked")


@cache
def _structure() -> Any:
    return jax.eval_shape(fid_inception().init, jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]


# ---- files ---------------------------------------------------------------------------------------------------------------


def read(path: Path) -> State:
    """Arrays by name from a .pth, .npz or .safetensors file. ValueError: it cannot be read, in one line."""
    if not path.is_file():
        raise ValueError(f"no Inception weights at {path}; {WANTED}")
    try:
        return _arrays(path)
    except ImportError as error:
        raise ValueError(f"{path}: install {error.name} to read {path.suffix}, or convert it to .npz where that is") from None
    except Exception as error:  # each library has its own words for a damaged file
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from None


def _arrays(path: Path) -> State:
    match path.suffix:
        case ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        case ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        case ".pth":
            import torch

            return {name: array.numpy() for name, array in torch.load(path, map_location="cpu", weights_only=True).items()}
    raise ValueError("weights are .pth, .npz or .safetensors")
