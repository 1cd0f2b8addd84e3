"""The pages of a comparison: comparison.md, and comparison.html, one file that needs nothing else."""

from pathlib import Path


def write(result: dict, folder: Path) -> list[Path]:
    """Write both pages into the folder of a comparison.

    Args:
      result: the comparison, as `genjax.compare` writes it.
      folder: holds the pictures that it names.

    Raises:
      ValueError: there is no model in it.
    """
    raise NotImplementedError
