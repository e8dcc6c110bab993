"""Sharpe: the ratio of a strategy, and the probability that it is not the luckiest of many that are worth nothing."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ml.arrays import FloatArray


def sharpe_ratio(returns: FloatArray) -> float:
    """Mean by standard deviation of returns per period, not annualised."""
    return float(np.mean(returns) / np.std(returns, ddof=1))


def probabilistic_sharpe_ratio(returns: FloatArray, threshold: float = 0.0) -> float:
    """Probability that the true ratio exceeds a threshold, given length, skewness and fat tails of the returns.

    References
    ----------
    Bailey, Lopez de Prado (2012), The Sharpe ratio efficient frontier.
    """
    skewness, kurtosis = stats.skew(returns), stats.kurtosis(returns, fisher=False)
    return confidence(sharpe_ratio(returns), threshold, len(returns), float(skewness), float(kurtosis))


def confidence(ratio: float, threshold: float, periods: int, skewness: float, kurtosis: float) -> float:
    """The probabilistic Sharpe ratio from moments; `kurtosis` is 3 for the normal distribution."""
    error = np.sqrt((1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2) / (periods - 1))
    return float(stats.norm.cdf((ratio - threshold) / error))


def expected_maximum(variance: float, trials: int) -> float:
    """Sharpe ratio that the best of `trials` worthless strategies shows on average, their ratios having `variance`."""
    if trials < 2:
        return 0.0
    quantiles = stats.norm.ppf([1 - 1 / trials, 1 - 1 / (trials * np.e)])
    return float(np.sqrt(variance) * ((1 - np.euler_gamma) * quantiles[0] + np.euler_gamma * quantiles[1]))


def deflated_sharpe_ratio(returns: FloatArray, trials: Sequence[float]) -> float:
    """Probability that a strategy beats the best that luck would show among the `trials` (Sharpe ratios, its own too).

    References
    ----------
    Bailey, Lopez de Prado (2014), The deflated Sharpe ratio.
    """
    variance = float(np.var(trials, ddof=1)) if len(trials) > 1 else 0.0
    return probabilistic_sharpe_ratio(returns, expected_maximum(variance, len(trials)))
