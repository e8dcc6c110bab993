"""Multiplicity: what is left of a result once it is known how many models were tried."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray
from ml.evaluation.bootstrap import BLOCK_SESSIONS, DRAWS
from ml.evaluation.hac import session_means


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values that hold for all tests together.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, map(float, adjusted), strict=True))


def superior_predictive_ability(
    losses: Mapping[str, FloatArray], reference: FloatArray, ts: NDArray[np.datetime64], *, seed: int
) -> float:
    """p-value of "no model has a lower loss than the reference", whichever of them looks best afterwards.

    References
    ----------
    Hansen (2005), A test for superior predictive ability.
    """
    from arch.bootstrap import SPA

    models = np.stack([session_means(loss, ts) for loss in losses.values()], axis=1)
    test = SPA(session_means(reference, ts), models, block_size=BLOCK_SESSIONS, reps=DRAWS, seed=seed)
    test.compute()
    return float(test.pvalues["consistent"])


def model_confidence_set(
    losses: Mapping[str, FloatArray], ts: NDArray[np.datetime64], *, seed: int
) -> dict[str, float]:
    """p-value of each model's being among the best; those above 0.05 are the 95 % model confidence set.

    References
    ----------
    Hansen, Lunde, Nason (2011), The model confidence set.
    """
    import pandas as pd
    from arch.bootstrap import MCS

    means = pd.DataFrame({name: session_means(loss, ts) for name, loss in losses.items()})
    test = MCS(means, size=0.05, block_size=BLOCK_SESSIONS, reps=DRAWS, seed=seed)
    test.compute()
    return {name: float(test.pvalues["Pvalue"][name]) for name in losses}
