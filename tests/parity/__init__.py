"""The same weights give the same values as other people's implementations (`make parity`)."""

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
