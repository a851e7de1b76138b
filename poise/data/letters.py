"""Describe strings by a few numbers: character n-grams, hashed, weighted, projected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.utils.extmath import randomized_svd

__all__ = ["Letters", "ngram_counts"]

DOCUMENTS = 10_000  # different strings that weights and projection are learnt from
LETTERS = 10_000  # characters read of one cell; more does not change the picture of a text
CHUNK_LETTERS = 2**15  # characters counted at once: about 2 MB of work arrays
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Knuth's multiplicative hash
NEWLINE, SPACE = 10, 32


@dataclass(frozen=True, eq=False)
class Letters:
    """Latent semantic analysis of strings: tf-idf of hashed character 3- and 4-grams inside words, then an SVD.

    tf-idf = count * (ln((1 + n) / (1 + n_with)) + 1), rows scaled to length 1; out = tf-idf @ projection / scale,
    where scale makes the summed variance of the columns 1. A missing or empty string gives 0.

    The recipe of skrub.StringEncoder, with a bounded hash, so that the memory does not grow with the vocabulary and
    10^6 different strings are read in pieces. Shapes: idf (size,), projection (size, columns).
    Source: Deerwester et al. 1990; skrub 0.11 StringEncoder for the n-grams and the scaling.
    """

    idf: np.ndarray
    projection: np.ndarray

    @classmethod
    def fit(cls, labels: np.ndarray, columns: int, size: int) -> "Letters":
        """Learn from the different strings of an object array (None where missing), each counted once."""
        present = labels[~pd.isna(labels)]
        rows = np.linspace(0, len(present) - 1, min(len(present), 4 * DOCUMENTS)).astype(np.int64)
        texts = [str(text) for text in pd.unique(present[rows])[:DOCUMENTS]]
        counts = ngram_counts(texts, size)
        seen = np.bincount(counts.indices, minlength=size)
        idf = np.log((1 + len(texts)) / (1 + seen)) + 1
        weighted = _unit_rows(counts @ scipy.sparse.diags_array(idf))
        columns = max(1, min(columns, len(texts) - 1))
        _, _, components = randomized_svd(weighted, n_components=columns, random_state=0)
        projection = components.T
        scale = float(np.sqrt(np.var(weighted @ projection, axis=0).sum()))
        projection = projection / (scale if scale > 1e-6 else 1.0)
        return cls(idf.astype(np.float32), np.ascontiguousarray(projection, np.float32))

    @property
    def names(self) -> tuple[str, ...]:
        """Return one name per column: "~0", "~1", ..."""
        return tuple(f"~{i}" for i in range(self.projection.shape[1]))

    def encode(self, labels: np.ndarray) -> np.ndarray:
        """Return the float32 columns of an object array of text."""
        texts = [label[:LETTERS] if isinstance(label, str) else "" for label in labels]
        pieces = np.cumsum([len(text) for text in texts]) // CHUNK_LETTERS
        cuts = {0, *(int(cut) + 1 for cut in np.flatnonzero(np.diff(pieces))), len(texts)}
        out = np.zeros((len(texts), self.projection.shape[1]), np.float32)
        for start, stop in pairwise(sorted(cuts)):
            weighted = ngram_counts(texts[start:stop], len(self.idf)) @ scipy.sparse.diags_array(self.idf)
            out[start:stop] = _unit_rows(weighted) @ self.projection
        return out

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return JSON values and arrays for `from_state`."""
        return {}, {"idf": self.idf, "projection": self.projection}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Letters":
        """Rebuild from `state`."""
        return cls(np.asarray(arrays["idf"]), np.asarray(arrays["projection"]))


def ngram_counts(texts: Sequence[str], size: int) -> scipy.sparse.csr_array:
    """Count the 3- and 4-grams of UTF-8 bytes inside words, one row a text, hashed into `size` columns.

    Words are lower-cased and padded with a space on both sides: "Ab c" -> " ab ", " c " -> " ab", "ab ", " ab ", " c ".
    Equal to scikit-learn's char_wb analyzer on ASCII while no two n-grams meet in one column.
    """
    lines = [" " + " ".join(text[:LETTERS].lower().split()) + " " for text in texts]
    joined = "\n".join(lines).encode("utf-8", errors="surrogatepass")
    letters = np.frombuffer(joined, np.uint8).astype(np.uint64)
    row_of = np.cumsum(letters == NEWLINE)
    rows, columns = [], []
    for length in (3, 4):
        starts = len(letters) - length + 1
        if starts <= 0:
            continue
        code = np.full(starts, length, np.uint64)
        inside = np.ones(starts, bool)
        for i in range(length):
            letter = letters[i : i + starts]
            code = code * np.uint64(256) + letter
            inside &= letter != NEWLINE
            if 0 < i < length - 1:
                inside &= letter != SPACE  # a space strictly inside would join two words
        code = code[inside] * MULTIPLIER
        columns.append(((code >> np.uint64(32)) % np.uint64(size)).astype(np.int32))
        rows.append(row_of[:starts][inside])
    shape = (len(texts), size)
    if not rows:
        return scipy.sparse.csr_array(shape, dtype=np.float32)
    row, column = np.concatenate(rows), np.concatenate(columns)
    return scipy.sparse.csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)


def _unit_rows(counts: Any) -> scipy.sparse.csr_array:
    counts = scipy.sparse.csr_array(counts)
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    return scipy.sparse.csr_array(scipy.sparse.diags_array(1 / np.where(lengths > 0, lengths, 1.0)) @ counts)
