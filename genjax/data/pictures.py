"""Pictures to arrays, through Pillow: import this module only where there are pictures to read."""

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

try:
    from PIL import Image
except ImportError as error:
    raise ImportError("reading pictures needs Pillow: pip install pillow") from error

from genjax.data.base import DataError, Indexed, Rows, first_line


def on_white(pixels: np.ndarray) -> np.ndarray:
    """RGBA (..., 4) uint8 laid on white: RGB (..., 3) uint8."""
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return np.round(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def common_shape(paths: list[Path]) -> tuple[int, int, int]:
    """(height, width, channels) of all pictures, from their headers."""
    sizes, modes = zip(*(_header(path) for path in paths), strict=True)
    if odd := next((i for i, size in enumerate(sizes) if size != sizes[0]), None):
        raise DataError(f"{paths[odd]} is {sizes[odd]} but {paths[0]} is {sizes[0]}: resize all pictures to one size")
    width, height = sizes[0]
    return height, width, 1 if set(modes) <= {"1", "L"} else 3


def _header(path: Path) -> tuple[tuple[int, int], str]:
    try:
        with Image.open(path) as picture:
            return picture.size, picture.mode
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is no picture that can be read ({first_line(error)}): repair or remove it") from None


def decode(content: bytes, path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The pixels of one picture, `shape` uint8."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if shape[-1] == 1:
                return np.asarray(picture.convert("L"))[..., None]
            clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            return on_white(np.asarray(picture.convert("RGBA"))) if clear else np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is a damaged picture ({first_line(error)}): repair or remove it") from None


def column(paths: list[Path], of: Callable[[Path], np.ndarray], shape: tuple[int, ...], limit: int) -> Rows:
    """All pictures as one array, or, above `limit` bytes, decoded when asked for."""
    some = lambda rows: np.stack([of(paths[row]) for row in rows])
    if len(paths) * int(np.prod(shape)) <= limit:
        return some(range(len(paths)))
    return Indexed((len(paths), *shape), np.dtype(np.uint8), some)


def scans(header: np.ndarray, scan: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Pictures (n, H, W, 3) of a pack that stores the header which all its JPEGs share once."""
    head, body = header.tobytes(), scan.tobytes()
    return np.stack([np.asarray(Image.open(io.BytesIO(head + body[a:b]))) for a, b in pairwise(offsets)])
