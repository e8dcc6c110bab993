"""evaluation: what forecasts are worth, and how sure that is: losses, scores, intervals, tests. One idea a file."""

from ml.evaluation.bootstrap import Estimate, bootstrap_difference, bootstrap_gain
from ml.evaluation.comparison import PairedTest, clark_west, diebold_mariano
from ml.evaluation.interval_scores import inside, interval_metrics, interval_score
from ml.evaluation.losses import loss, qlike, squared_error
from ml.evaluation.multiplicity import holm, model_confidence_set, superior_predictive_ability
from ml.evaluation.returns import RankIC, direction_report, rank_ic, return_metrics
from ml.evaluation.sharpe import deflated_sharpe_ratio, probabilistic_sharpe_ratio, sharpe_ratio
from ml.evaluation.volatility import MincerZarnowitz, mincer_zarnowitz, volatility_metrics

__all__ = [
    "Estimate",
    "MincerZarnowitz",
    "PairedTest",
    "RankIC",
    "bootstrap_difference",
    "bootstrap_gain",
    "clark_west",
    "deflated_sharpe_ratio",
    "diebold_mariano",
    "direction_report",
    "holm",
    "inside",
    "interval_metrics",
    "interval_score",
    "loss",
    "mincer_zarnowitz",
    "model_confidence_set",
    "probabilistic_sharpe_ratio",
    "qlike",
    "rank_ic",
    "return_metrics",
    "sharpe_ratio",
    "squared_error",
    "superior_predictive_ability",
    "volatility_metrics",
]
