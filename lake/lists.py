"""Lists of numbers, one for each series, side by side in one array: what the functions over lists compute on."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Lists:
    """The numbers of many series, each in time order.

    Attributes
    ----------
    flat : all numbers, one series after the other. NaN where there is none.
    lengths : how many of them each series has.
    lookback : how many of these, of each series, come before the first row that is to be computed.
    missing : where `flat` has null, in distinction to a NaN that was computed (0 / 0); none where it is empty.
    """

    flat: Floats
    lengths: Integers
    lookback: Integers
    missing: NDArray[np.bool_]

    @classmethod
    def of(cls, series: Iterable[Iterable[float | None]], lookback: int = 0) -> "Lists":
        """Lists from Python's own, in which None is null."""
        return cls.from_arrow(pa.array(series, pa.list_(pa.float64())), lookback)

    @classmethod
    def from_arrow(cls, lists: pa.ListArray, lookback: int | Integers = 0) -> "Lists":
        """Lists from Arrow's; one that is null has no numbers."""
        numbers = lists.flatten()
        lengths = lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
        missing = numbers.is_null().to_numpy(zero_copy_only=False) if numbers.null_count else np.empty(0, np.bool_)
        skipped = np.minimum(lookback, lengths).astype(np.int64)
        return cls(numbers.fill_null(np.nan).to_numpy(), lengths, skipped, missing)

    @cached_property
    def starts(self) -> Integers:
        """Where in `flat` each series starts."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def wanted(self) -> Integers | slice:
        """Where in `flat` the rows are that are to be computed."""
        return self._behind(self.lookback) if self.lookback.any() else slice(None)

    def without_first(self, counts: Integers) -> "Lists":
        """The series without so many of their first numbers, none of them wanted."""
        if not counts.any():
            return self
        kept = self._behind(counts)
        missing = self.missing[kept] if len(self.missing) else self.missing
        return Lists(self.flat[kept], self.lengths - counts, self.lookback - counts, missing)

    def _behind(self, counts: Integers) -> Integers:
        """Where in `flat` the numbers are that have so many of their series before them."""
        left = self.lengths - counts
        skipped = np.cumsum(counts)
        return np.arange(left.sum()) + np.repeat(skipped, left)

    def to_arrow(self, results: Floats) -> pa.ListArray:
        """Lists of the results of the wanted rows; NaN becomes null."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths - self.lookback)])
        known = np.packbits(~np.isnan(results), bitorder="little")
        buffers = [pa.py_buffer(known), pa.py_buffer(np.ascontiguousarray(results))]
        numbers = pa.Array.from_buffers(pa.float64(), len(results), buffers)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), numbers)
