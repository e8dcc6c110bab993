"""Types of the arrays that modules hand to each other."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
RowIndex = NDArray[np.intp]
Windows = NDArray[np.float32]
"""Raw features [N, lookback, inputs]."""
