"""Losses: how far a forecast is from what happened, one number a forecast."""

import numpy as np

from ml.arrays import FloatArray
from ml.datasets import Target


def loss(target: Target, outcome: FloatArray, mean: FloatArray) -> FloatArray:
    """Loss of each forecast: squared error of a return, QLIKE of a volatility."""
    return squared_error(outcome, mean) if target.kind == "return" else qlike(outcome, mean)


def squared_error(outcome: FloatArray, mean: FloatArray) -> FloatArray:
    """Squared error; the mean outcome minimises it."""
    return (outcome - mean) ** 2


def qlike(outcome: FloatArray, mean: FloatArray) -> FloatArray:
    """QLIKE of volatility forecasts, on variances: h = outcome² / mean²; h - log h - 1. Zero is perfect.

    References
    ----------
    Patton (2011), Volatility forecast comparison using imperfect volatility proxies.
    """
    ratio = (outcome / mean) ** 2
    return ratio - np.log(ratio) - 1.0
