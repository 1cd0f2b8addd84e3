"""Between texts and tokens: token k is the k-th character of an alphabet."""

from collections.abc import Callable

import numpy as np


def letters(alphabet: str) -> tuple[Callable, Callable]:
    """(show, read): tokens (B, T) -> texts (B,), and a text -> (T,) int32 tokens.

    Raises:
      ValueError: from `letters` without an alphabet, from `read` for characters that are not in it.
    """
    if not alphabet:
        raise ValueError("these data are no text: their spec has no alphabet")
    kinds, number = np.array(list(alphabet)), {letter: k for k, letter in enumerate(alphabet)}

    def show(tokens: np.ndarray) -> np.ndarray:
        return np.array(["".join(kinds[row]) for row in np.asarray(tokens).astype(int)])

    def read(text: str) -> np.ndarray:
        if unknown := sorted(set(text) - set(alphabet)):
            raise ValueError(f"the model knows no {' '.join(map(repr, unknown))}, only the characters {alphabet!r}")
        return np.array([number[letter] for letter in text], np.int32)

    return show, read
