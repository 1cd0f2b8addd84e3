"""Between texts and tokens: token k of a text is the k-th character of an alphabet, of a caption the one before it."""

from collections.abc import Callable, Sequence

import numpy as np

from genjax.data.base import Spec, Split

WAYS = ("{}", "a picture of a {}", "this is a {}", "draw me a {}, please")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
EMOJI = ("grinning face", "red heart", "green apple", "blue circle", "cat face", "flag: japan", "woman: light skin tone",
         "man: dark skin tone")  # fmt: skip


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


def captioned(captions: Sequence[str]) -> tuple[np.ndarray, str]:
    """(tokens (n, length), letters): captions as `reader` reads them, in small letters, and the characters that there are."""
    small = [caption.lower() for caption in captions]
    alphabet, length = "".join(sorted(set("".join(small)))), max(map(len, small))
    return np.stack(list(map(reader(alphabet, length), small))), alphabet


def reader(alphabet: str, length: int) -> Callable[[str], np.ndarray]:
    """A caption -> (length,) int32: k for the k-th character of the alphabet, from 1, and zeros after its end.

    Raises:
      ValueError: from `reader` without an alphabet; from what it gives for a caption that is empty, too long, or holds
        characters that are not in it.
    """
    if not alphabet:
        raise ValueError("these data have no captions: take a set that has, like emoji32/captions")
    _, read = letters(alphabet)

    def tokens(caption: str) -> np.ndarray:
        if not 0 < len(caption) <= length:
            raise ValueError(f"a caption has 1 to {length} characters, this one {len(caption)}: {caption!r}")
        return np.pad(read(caption.lower()) + 1, (0, length - len(caption)))

    return tokens


def caption_of(tokens: np.ndarray, alphabet: str) -> str:
    """What `reader` read."""
    return "".join(alphabet[token - 1] for token in tokens if token)


def worded(spec: Spec, splits: dict[str, Split], words: Sequence[str]) -> tuple[Spec, dict[str, Split]]:
    """The same examples, told in words: one of `WAYS` to say each one's class, in turn over the rows of a split."""
    texts = [way.format(word) for word in words for way in WAYS]
    y, letters = captioned(texts)
    told = lambda split: y[len(WAYS) * split.y + np.arange(len(split.y)) % len(WAYS)]
    spec = spec._replace(classes=0, letters=letters, length=y.shape[1])
    return spec, {name: Split(split.x, told(split)) for name, split in splits.items()}
