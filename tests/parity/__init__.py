"""The same weights give the same values as other people's implementations (`make parity`)."""

from importlib import import_module
from types import ModuleType

import numpy as np
import pytest


def need(module: str) -> ModuleType:
    """Import what genjax is compared with; a test of what is absent is skipped, and says so."""
    package = module.partition(".")[0]
    return pytest.importorskip(module, reason=f"compares with {package}: pip install -r requirements-parity.txt")


def tensor(x):
    """An array as a PyTorch tensor of its own, of the same dtype."""
    return need("torch").from_numpy(np.array(x))


def let_torchvision_in():
    """Make torchvision ready for those who import it, also where its compiled operators do not fit torch's build.

    It refuses to be imported where torch does not know the operators; no network here calls them.
    """
    try:
        import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError:
        operators = need("torch").library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        OPERATORS.append(operators)


OPERATORS = []  # they are unregistered when collected
