"""Risk: value at risk and expected shortfall from a volatility forecast, and the tests that they must pass."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.arrays import FloatArray


@dataclass(frozen=True)
class TailRisk:
    """Loss of a holding, in units of its volatility forecast, that the worst share of outcomes reaches.

    Filtered historical simulation: past returns, each divided by the volatility that was forecast for it, stand for
    what may come; no distribution is assumed.

    Attributes
    ----------
    level : share of outcomes that are to be no worse than the value at risk: 0.95, 0.99.
    value_at_risk : loss that the others exceed.
    expected_shortfall : mean loss of these others.

    References
    ----------
    Barone-Adesi, Giannopoulos, Vosper (1999), VaR without correlations for portfolios of derivative securities.
    """

    level: float
    value_at_risk: float
    expected_shortfall: float

    @classmethod
    def of(cls, returns: FloatArray, volatility: FloatArray, level: float) -> Self:
        """From past returns [N] and the volatilities [N] that had been forecast for them.

        Raises
        ------
        ValueError
            If not even one outcome is expected beyond the level.
        """
        beyond = int(len(returns) * (1 - level) + 1e-9)
        if beyond < 1:
            raise ValueError(f"a value at risk of {level:.1%} needs more than {len(returns)} past returns")
        losses = np.sort(-returns / volatility)[::-1]
        return cls(level, float(losses[beyond]), float(losses[:beyond].mean()))


class LikelihoodRatio(NamedTuple):
    """A test statistic and the probability of one at least as large where the model is right."""

    statistic: float
    p_value: float


def kupiec(exceeded: NDArray[np.bool_], level: float) -> LikelihoodRatio:
    """Whether the value at risk is exceeded as often as it should be; `exceeded` [sessions], oldest first.

    References
    ----------
    Kupiec (1995), Techniques for verifying the accuracy of risk measurement models.
    """
    n, hits = len(exceeded), int(exceeded.sum())
    return _ratio_test(_log_likelihood(n - hits, hits, 1 - level), _log_likelihood(n - hits, hits, hits / n), 1)


def christoffersen(exceeded: NDArray[np.bool_]) -> LikelihoodRatio:
    """Whether an exceedance makes none the more likely for the session after it: independence.

    The sessions must not overlap: of five-day outcomes, every fifth.

    References
    ----------
    Christoffersen (1998), Evaluating interval forecasts.
    """
    before, after = exceeded[:-1], exceeded[1:]
    together = _log_likelihood((~after).sum(), after.sum(), after.mean())
    apart = 0.0
    for state in (False, True):
        following = after[before == state]
        if len(following):
            apart += _log_likelihood((~following).sum(), following.sum(), following.mean())
    return _ratio_test(together, apart, 1)


def conditional_coverage(exceeded: NDArray[np.bool_], level: float) -> LikelihoodRatio:
    """Both at once: as often as it should be, and independently."""
    from scipy.stats import chi2

    statistic = kupiec(exceeded, level).statistic + christoffersen(exceeded).statistic
    return LikelihoodRatio(statistic, float(chi2.sf(statistic, 2)))


def backtest(forecasts: pd.DataFrame, *, horizon: int, first_year: int, level: float) -> pd.DataFrame:
    """Value at risk of every forecast from what was known at the start of its year, beside what happened.

    Parameters
    ----------
    forecasts : symbol, ts, known_at (when the outcome was), outcome (log return over the horizon), volatility (its
        forecast); the years before `first_year` are only learned from.

    Returns
    -------
    A row a symbol: exceeded (share of its outcomes; `level` asks for 1 - level), shortfall (mean loss beyond the value
    at risk, over the expected one), and the p-values kupiec and christoffersen, both of every `horizon`-th session, so
    that outcomes do not overlap.
    """
    rows = forecasts.sort_values(["symbol", "ts"], ignore_index=True)
    year = rows["ts"].dt.year
    limit, beyond = (pd.Series(np.nan, rows.index) for _ in range(2))
    for y in range(first_year, year.max() + 1):
        past = rows[rows["known_at"] < rows.loc[year == y, "ts"].min()]
        risk = TailRisk.of(past["outcome"].to_numpy(), past["volatility"].to_numpy(), level)
        limit[year == y] = risk.value_at_risk * rows["volatility"]
        beyond[year == y] = risk.expected_shortfall * rows["volatility"]
    judged = rows[year >= first_year]
    loss, exceeded = -judged["outcome"], -judged["outcome"] > limit[year >= first_year]
    found = {}
    for symbol, index in judged.groupby("symbol").groups.items():
        hits = exceeded[index].to_numpy()
        apart = hits[::horizon]
        found[symbol] = {
            "exceeded": hits.mean(),
            "shortfall": (loss[index][hits] / beyond[index][hits]).mean(),
            "kupiec": kupiec(apart, level).p_value,
            "christoffersen": christoffersen(apart).p_value,
        }
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("symbol").reset_index()


def _log_likelihood(misses: float, hits: float, share: float) -> float:
    from scipy.special import xlog1py, xlogy

    return float(xlog1py(misses, -share) + xlogy(hits, share))


def _ratio_test(restricted: float, free: float, degrees: int) -> LikelihoodRatio:
    from scipy.stats import chi2

    statistic = max(0.0, -2 * (restricted - free))
    return LikelihoodRatio(statistic, float(chi2.sf(statistic, degrees)))
