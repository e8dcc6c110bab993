"""Segments: groups of symbols whose returns behave alike, year by year, under names that keep their meaning."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.arrays import FloatArray

SIZES = range(2, 9)
"""Numbers of segments that are tried."""
MIN_SESSIONS = 200
"""Sessions of a year that a symbol needs to be placed in it."""
MIN_SYMBOLS = 8


def segments(features: pd.DataFrame) -> pd.DataFrame:
    """Segment of every share in every year, from the returns of that year.

    Returns are divided by the day's EWMA volatility, so that a wild and a calm bank are alike, and have the mean of all
    shares taken off, or the whole market would be one segment; shares whose returns correlate are near. Each year has
    the number of segments with the highest silhouette. The label of a segment is that of the segment of the year before
    with which it shares most symbols (Hungarian matching); a segment without a predecessor has a new one.

    Parameters
    ----------
    features : daily rows of `market/features`: symbol, asset_class, ts, scaled_return_1.

    Returns
    -------
    Sorted by year, then symbol: year, symbol, segment, silhouette (of the symbol: 1 deep inside, below 0 misplaced).
    Years with fewer than `MIN_SYMBOLS` are left out.

    References
    ----------
    Mantegna (1999), Hierarchical structure in financial markets. Rousseeuw (1987), Silhouettes.
    """
    parts: list[pd.DataFrame] = []
    before, used = pd.Series(dtype=np.int64), 0
    shares = features[features["asset_class"] == "equity"]
    for year, rows in shares.groupby(shares["ts"].dt.year):
        returns = rows.pivot(index="ts", columns="symbol", values="scaled_return_1")
        returns = returns.loc[:, returns.notna().sum() >= MIN_SESSIONS].dropna()
        if returns.shape[1] < MIN_SYMBOLS or len(returns) < MIN_SESSIONS // 2:
            continue
        own = returns.sub(returns.mean(axis=1), axis=0).to_numpy()
        found, silhouette = _cluster(np.sqrt(np.maximum(2 * (1 - np.corrcoef(own.T)), 0.0)))
        names = match(before, pd.Series(found, returns.columns), used)
        used = max(used, int(names.max()) + 1)
        before = names
        parts.append(
            pd.DataFrame({"year": year, "symbol": names.index, "segment": names.to_numpy(), "silhouette": silhouette})
        )
    columns = ["year", "symbol", "segment", "silhouette"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def match(before: pd.Series, now: pd.Series, first_new: int) -> pd.Series:
    """Labels of `now` [symbol], renamed after those of `before` [symbol] with which they share most symbols.

    A label that shares none is given the numbers from `first_new` on.
    """
    from scipy.optimize import linear_sum_assignment

    shared = pd.crosstab(now.reindex(before.index).dropna(), before)
    renamed: dict[int, int] = {}
    for row, column in zip(*linear_sum_assignment(shared.to_numpy(), maximize=True), strict=True):
        if shared.iloc[row, column]:
            renamed[int(shared.index[row])] = int(shared.columns[column])
    for label in sorted(set(now) - set(renamed)):
        renamed[label] = first_new
        first_new += 1
    return now.map(renamed)


def _cluster(distance: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Labels of the clustering with the highest mean silhouette, and the silhouette of each member."""
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.metrics import silhouette_samples

    np.fill_diagonal(distance, 0.0)
    tried = []
    for size in SIZES[: len(distance) - 2]:
        labels = AgglomerativeClustering(size, metric="precomputed", linkage="average").fit_predict(distance)
        tried.append((labels, silhouette_samples(distance, labels, metric="precomputed")))
    return max(tried, key=lambda one: float(one[1].mean()))
