"""Random forest: scikit-learn's, of deep but large-leaved trees on the newest row of features."""

from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import FloatArray, Windows
from ml.models.base import Sample, ScaledForecaster
from ml.models.graph import Graph

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor


class RandomForest(ScaledForecaster):
    """Each tree sees a quarter of the rows and a third of the features; a leaf holds half a percent of its rows."""

    name = "random_forest"
    lookback = 1
    _model: "RandomForestRegressor"

    def _fit(self, train: Sample, validation: Sample) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self._model = RandomForestRegressor(
            n_estimators=100,
            max_features=1 / 3,
            max_samples=0.25,
            min_samples_leaf=max(5, len(train.outcome) // 800),
            random_state=self.seed,
        )
        self._model.fit(train.windows[:, -1], train.outcome)

    def _predict(self, windows: Windows) -> FloatArray:
        return np.asarray(self._model.predict(windows[:, -1]))

    def _export(self, graph: Graph) -> str:
        return graph.regressor(self._model)
