"""Feature spaces: where two sets of examples are compared. A distance without the name of its space means nothing."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Features(NamedTuple):
    """A named map from shown examples to vectors."""

    name: str
    apply: Callable[[np.ndarray], np.ndarray]  # shown examples (n, H, W, C) in [0, 1], or points (n, 2) -> (n, d) float64
    about: dict[str, Any]  # JSON: all that is needed to have the same space again
    classify: Callable[[np.ndarray], np.ndarray] | None = None  # shown examples -> (n,) predicted labels


def raw() -> Features:
    """The values themselves, flattened."""
    return Features("raw", lambda x: np.asarray(x, np.float64).reshape(len(x), -1), {"space": "raw values"})
