"""GARCH: the stored volatility is that of the library `arch`, and no row knows anything of what comes after it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from arch import arch_model

from lake.store import Lake
from ml import garch as module
from ml.garch import MIN_SESSIONS, RISK_METRICS, Gjr, estimate, garch_volatility, mean_variance
from ml.inputs import read_inputs, update_garch
from tests.ml_kit import universe

TRUE = Gjr(omega=0.05, alpha=0.03, gamma=0.10, beta=0.88)


def bars(symbol: str, sessions: int, seed: int) -> pd.DataFrame:
    """Closes whose returns follow `TRUE` with Student-t errors."""
    rng = np.random.default_rng(seed)
    variance, returns = 1.0, np.zeros(sessions)
    for t in range(1, sessions):
        returns[t] = np.sqrt(variance) * rng.standard_t(8) * np.sqrt(6 / 8)
        variance = TRUE.omega + (TRUE.alpha + TRUE.gamma * (returns[t] < 0)) * returns[t] ** 2 + TRUE.beta * variance
    ts = pd.bdate_range("2010-01-01", periods=sessions, tz="UTC")
    return pd.DataFrame({"symbol": symbol, "ts": ts, "close": 100 * np.exp(np.cumsum(returns) / 100)})


HISTORY = bars("A", 1300, 1)


def test_a_year_is_forecast_as_arch_does_with_the_parameters_of_the_years_before() -> None:
    returns = 100 * np.log(HISTORY["close"]).diff().to_numpy()[1:]
    first = int((HISTORY["ts"].dt.year < 2014).sum())
    model = arch_model(returns, mean="Zero", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False)
    fitted = model.fit(disp="off", last_obs=first - 1)
    variance = fitted.forecast(horizon=5, start=first - 1).variance.to_numpy().mean(axis=1)
    ours = garch_volatility(HISTORY).to_numpy()[first:]
    same_year = (HISTORY["ts"].dt.year == 2014).to_numpy()[first:]
    np.testing.assert_allclose(ours[same_year], np.sqrt(variance)[same_year] / 100, rtol=1e-6)


def test_the_parameters_of_a_long_series_are_found() -> None:
    returns = 100 * np.diff(np.log(bars("A", 20_000, 3)["close"]))
    np.testing.assert_allclose(estimate(returns, RISK_METRICS), TRUE, atol=0.025)


def test_a_short_series_has_the_exponentially_weighted_volatility() -> None:
    short = HISTORY.head(MIN_SESSIONS // 2)
    returns = np.log(short["close"]).diff().iloc[1:]
    variance = (returns**2).ewm(alpha=0.06, adjust=False).mean()
    first_year = (short["ts"].dt.year == 2010).to_numpy()
    ours = garch_volatility(short).to_numpy()
    assert np.isnan(ours[0])
    np.testing.assert_allclose(ours[first_year][1:], np.sqrt(variance)[first_year[1:]], rtol=1e-9)


def test_the_mean_variance_is_the_mean_of_what_simulations_give() -> None:
    rng = np.random.default_rng(0)
    variance = np.full(400_000, 2.0)
    seen = []
    for _ in range(5):
        seen.append(variance.mean())
        shock = rng.standard_normal(len(variance)) * np.sqrt(variance)
        variance = TRUE.omega + (TRUE.alpha + TRUE.gamma * (shock < 0)) * shock**2 + TRUE.beta * variance
    assert mean_variance(np.array([2.0]), TRUE, 5)[0] == pytest.approx(np.mean(seen), rel=2e-3)


def test_the_future_and_other_symbols_change_no_row() -> None:
    other = bars("B", 700, 2)
    together = garch_volatility(pd.concat([HISTORY, other]).sample(frac=1, random_state=0, ignore_index=True))
    both = pd.concat([HISTORY, other]).sample(frac=1, random_state=0, ignore_index=True)
    alone = garch_volatility(HISTORY)
    mine = both.assign(vol=together).query("symbol == 'A'").sort_values("ts")["vol"].to_numpy()
    np.testing.assert_array_equal(mine, alone)
    cut = 900
    crash = HISTORY.assign(close=HISTORY["close"].where(HISTORY.index < cut, HISTORY["close"] * 0.2))
    np.testing.assert_array_equal(garch_volatility(crash)[:cut], alone[:cut])
    assert (garch_volatility(crash)[cut:] != alone[cut:]).any()


def test_a_year_is_estimated_once_and_only_years_that_differ_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(str(tmp_path))
    features = universe(2, 800).drop(columns="garch_vol")  # 2015 to early 2018
    counted = []

    def counting(returns, before):
        counted.append(len(returns))
        return estimate(returns, before)

    monkeypatch.setattr(module, "estimate", counting)

    def ingest(rows: pd.DataFrame) -> list[int]:
        lake.replace("market/features", pa.Table.from_pandas(rows, preserve_index=False))
        return update_garch(lake)

    yesterday = features[features["ts"] < features["ts"].max()]
    assert ingest(yesterday) == [2015, 2016, 2017, 2018]
    assert len(counted) == 4, "two symbols have two years behind them in 2017 and in 2018"
    assert ingest(yesterday) == []
    assert ingest(features) == [2018]
    assert len(counted) == 4
    late = (features["ts"].dt.year == 2017) & (features["symbol"] == "S1")
    corrected = features.assign(close=features["close"].where(~late, features["close"] * 1.02))
    assert ingest(corrected) == [2017, 2018]
    assert len(counted) == 5
    inputs, versions = read_inputs(lake)
    assert versions == {
        "market/features": lake.version("market/features"),
        "models/garch": lake.version("models/garch"),
    }
    expected = garch_volatility(corrected)
    np.testing.assert_array_equal(inputs["garch_vol"], expected)
    before = {**versions, "models/garch": versions["models/garch"] - 1}
    assert not read_inputs(lake, before)[0]["garch_vol"].equals(inputs["garch_vol"])


def test_a_series_of_one_bar_has_no_volatility() -> None:
    assert garch_volatility(HISTORY.head(1)).isna().all()
