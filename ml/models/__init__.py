"""Models: one file a forecaster; which there are for returns and for volatilities, and how they are made."""

from collections.abc import Sequence

from ml.datasets import Target
from ml.models.base import Forecaster
from ml.models.baselines import EwmaVolatility, HistoricalMean, LastValue, Zero
from ml.models.boosting import Boosting
from ml.models.combination import Combination
from ml.models.dense import Dense
from ml.models.forest import RandomForest
from ml.models.garch import Garch
from ml.models.linear import Har, Ridge
from ml.models.lstm import Lstm
from ml.models.network import Network

FORECASTERS: dict[str, dict[str, type[Forecaster]]] = {
    "return": {
        kind.name: kind for kind in (Zero, HistoricalMean, LastValue, Ridge, Boosting, RandomForest, Dense, Lstm)
    },
    "volatility": {kind.name: kind for kind in (EwmaVolatility, Har, Garch, Boosting, Lstm, Combination)},
}
"""By kind of target, then by name."""

COMBINED = ("garch", "boosting", "lstm")
"""Members of the combination."""


def forecasters(
    target: Target,
    names: Sequence[str],
    *,
    seed: int = 0,
    lookback: int = 20,
    epochs: int = 8,
    networks: int = 1,
) -> list[Forecaster]:
    """Unfitted forecasters of a target, in the order to fit them in: the combination after its members.

    Parameters
    ----------
    names : keys of `FORECASTERS[target.kind]`; the combination needs its members among them.
    lookback : sessions in a window of the recurrent network.
    epochs, networks : of every network; at most so many epochs, and so many seeds to average.

    Raises
    ------
    KeyError
        If there is no forecaster of that name for this kind of target.
    ValueError
        If the combination is asked for without its members.
    """
    made: dict[str, Forecaster] = {}
    for name in sorted(names, key=lambda name: name == Combination.name):
        kind = FORECASTERS[target.kind][name]
        if issubclass(kind, Combination):
            if missing := set(COMBINED) - set(made):
                raise ValueError(f"the combination needs {', '.join(sorted(missing))} as well")
            made[name] = kind(target, [made[member] for member in COMBINED], seed=seed)
        elif issubclass(kind, Network):
            window = {"lookback": lookback} if issubclass(kind, Lstm) else {}
            made[name] = kind(target, seed=seed, epochs=epochs, networks=networks, **window)
        else:
            made[name] = kind(target, seed=seed)
    return list(made.values())
