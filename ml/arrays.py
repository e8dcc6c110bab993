"""Arrays that modules hand to each other: their types, and windows that are cut when they are asked for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
RowIndex = NDArray[np.intp]


@dataclass(frozen=True)
class WindowView:
    """Windows that end at `rows` of a matrix and are cut when they are asked for, so that memory follows the batch.

    Indexed as the array [N, lookback, inputs] would be: `view[rows]`, `view[:, -1]`, `view[:, -5:]`.
    """

    values: NDArray[np.float32]
    rows: RowIndex
    lookback: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        which, step, column = (*(key if isinstance(key, tuple) else (key,)), slice(None), slice(None))[:3]
        steps = np.arange(1 - self.lookback, 1)[step]
        return np.asarray(self.values[np.add.outer(self.rows[which], steps)][..., column])


Windows = NDArray[np.float32] | WindowView
"""Raw features [N, lookback, inputs]."""
