"""Boosting: scikit-learn's histogram gradient boosting on the newest row of features."""

from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import FloatArray, Windows
from ml.models.base import Sample, ScaledForecaster
from ml.models.graph import Graph

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor


class Boosting(ScaledForecaster):
    """Shallow trees, a small step, large leaves: financial rows are many, but mostly noise."""

    name = "boosting"
    lookback = 1
    _model: "HistGradientBoostingRegressor"

    def _fit(self, train: Sample, validation: Sample) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        self._model = HistGradientBoostingRegressor(
            learning_rate=0.05,
            max_iter=300,
            max_leaf_nodes=15,
            min_samples_leaf=max(20, len(train.outcome) // 200),
            l2_regularization=1.0,
            early_stopping=True,
            n_iter_no_change=15,
            random_state=self.seed,
        )
        self._model.fit(train.windows[:, -1], train.outcome, X_val=validation.windows[:, -1], y_val=validation.outcome)
        curves = zip(self._model.train_score_, self._model.validation_score_, strict=True)
        self.curve = [{"train": -2 * float(t), "validation": -2 * float(v)} for t, v in curves]

    def _predict(self, windows: Windows) -> FloatArray:
        return np.asarray(self._model.predict(windows[:, -1]))

    def _export(self, graph: Graph) -> str:
        return graph.regressor(self._model)
