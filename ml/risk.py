"""Risk: value at risk and expected shortfall from a volatility forecast, and the tests that they must pass."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
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


def _log_likelihood(misses: float, hits: float, share: float) -> float:
    from scipy.special import xlog1py, xlogy

    return float(xlog1py(misses, -share) + xlogy(hits, share))


def _ratio_test(restricted: float, free: float, degrees: int) -> LikelihoodRatio:
    from scipy.stats import chi2

    statistic = max(0.0, -2 * (restricted - free))
    return LikelihoodRatio(statistic, float(chi2.sf(statistic, degrees)))
