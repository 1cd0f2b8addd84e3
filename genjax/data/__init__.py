"""Data: one function from a name to arrays with shape, levels, labels and splits; row order; preparation with a key."""

from genjax.data.base import DataError, Dataset, Indexed, Spec, Split, joined, spec_from
from genjax.data.order import feed, fetch, row_block, rows
from genjax.data.prepare import binarize, dequantize, identity, symmetric, unit
from genjax.data.sources import load, names, oracle_nats
from genjax.data.toys import TOYS, toy_centres, toy_log_prob

__all__ = [
    "TOYS",
    "DataError",
    "Dataset",
    "Indexed",
    "Spec",
    "Split",
    "binarize",
    "dequantize",
    "feed",
    "fetch",
    "identity",
    "joined",
    "load",
    "names",
    "oracle_nats",
    "row_block",
    "rows",
    "spec_from",
    "symmetric",
    "toy_centres",
    "toy_log_prob",
    "unit",
]
