"""Bars of an hour and of a minute beside those of a day: through files, dbt and what reads its tables."""

from datetime import date
from zoneinfo import ZoneInfo

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from assets_pkg.assets.monitoring import data_drift
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.calendars import write_sessions
from lake.ingest import ingest_source, write_instruments
from lake.landing import ingest_content
from lake.sources import EMBEDDED
from ml.datasets import Panel
from tests.test_dbt_project import Project

pytestmark = pytest.mark.xdist_group("intraday")

# The end of summer time on 3 November, Thanksgiving, and the half day after it.
FIRST, LAST, HOLIDAY, HALF_DAY = "2024-10-21", "2024-12-06", "2024-11-28", "2024-11-29"


def new_york_hours(minutes: int) -> pd.DatetimeIndex:
    """Starts of the bars of every session between `FIRST` and `LAST`, by the clock in New York."""
    days = pd.bdate_range(FIRST, LAST).difference(pd.DatetimeIndex([HOLIDAY]))
    hours = [
        pd.date_range(
            f"{day:%Y-%m-%d} 09:30",
            f"{day:%Y-%m-%d} {'12:59' if f'{day:%Y-%m-%d}' == HALF_DAY else '15:59'}",
            freq=f"{minutes}min",
            tz=ZoneInfo("America/New_York"),
        )
        for day in days
    ]
    return pd.DatetimeIndex(np.concatenate([span.tz_convert("UTC").tz_localize(None) for span in hours]), tz="UTC")


def all_hours(minutes: int, days: int) -> pd.DatetimeIndex:
    return pd.date_range(FIRST, periods=days * 1440 // minutes, freq=f"{minutes}min", tz="UTC")


def csv(symbol: str, asset_class: str, interval: str, ts: pd.DatetimeIndex) -> bytes:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(len(ts)).normal(0, 0.001, len(ts))))
    frame = pd.DataFrame({"ts": ts.strftime("%Y-%m-%dT%H:%M:%SZ"), "open": close, "high": close * 1.001})
    frame = frame.assign(low=close * 0.999, close=close, volume=1.0, symbol=symbol, asset_class=asset_class)
    return frame.assign(interval=interval).to_csv(index=False).encode()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("intraday")
    project = Project(folder / "home", folder / "target")
    write_instruments(project.lake, ["AAPL", "SP500"])
    ingest_source(project.lake, EMBEDDED["skfolio"], ["AAPL", "SP500"], start=date(2022, 1, 3))
    early, lost = pd.DatetimeIndex(["2024-11-04T12:30Z"]), pd.DatetimeIndex(["2024-11-04T16:30Z"])
    series = {
        "mine_1h": csv("MINE", "equity", "1h", new_york_hours(60)),
        "mine_1m": csv("MINE", "equity", "1m", new_york_hours(1)),
        "gaps_1h": csv("GAPS", "equity", "1h", pd.DatetimeIndex([*early, *new_york_hours(60)[:100].drop(lost)])),
        "btc_1h": csv("BTC", "crypto", "1h", all_hours(60, 30)),
        "btc_1m": csv("BTC", "crypto", "1m", all_hours(1, 2)),
    }
    for name, content in series.items():
        batch = ingest_content(project.lake, content, f"{name}.csv")
        assert batch.rejected == 0, name
    write_sessions(project.lake)
    statuses = project.dbt("build", "--exclude-resource-type", "unit_test", "exposure")
    assert set(statuses.values()) == {"pass", "success"}
    return project


def test_every_bar_of_every_interval_comes_through(project: Project) -> None:
    for table in ("market/bars", "market/indicators", "market/features"):
        counts = project.table(table).groupby(["symbol", "interval"]).size().to_dict()
        assert counts[("MINE", "1h")] == len(new_york_hours(60)) == 33 * 7 + 4
        assert counts[("MINE", "1m")] == len(new_york_hours(1)) == 33 * 390 + 210
        assert counts[("BTC", "1h")] == 30 * 24
        assert counts[("BTC", "1m")] == 2 * 1440
        assert counts[("AAPL", "1d")] == counts[("SP500", "1d")]


def test_calendars_agree_with_the_clock_in_new_york_and_with_crypto_around_it(project: Project) -> None:
    violations = project.table("market/calendar_violations").sort_values("finding")
    assert set(violations["symbol"]) == {"GAPS"}
    assert violations[["finding", "expected", "found"]].to_numpy().tolist() == [
        ["missing_bars", 7, 6],
        ["outside_hours", 0, 1],
    ]
    assert set(violations["ts"]) == {pd.Timestamp("2024-11-04", tz="UTC")}


def test_volatility_is_annualised_by_the_bars_of_a_year(project: Project) -> None:
    series = dict(iter(project.table("market/indicators").groupby(["symbol", "interval"])))
    bars_a_year = {("MINE", "1h"): 252 * 6.5, ("MINE", "1m"): 252 * 390, ("BTC", "1h"): 8_760, ("BTC", "1m"): 525_600}
    for key, bars in {**bars_a_year, ("AAPL", "1d"): 252}.items():
        expected = series[key]["log_return_1"].rolling(20).std() * np.sqrt(bars)
        np.testing.assert_allclose(series[key]["realized_vol_20"], expected, rtol=1e-6)


def test_the_market_of_an_interval_is_the_index_at_that_interval(project: Project) -> None:
    features = project.table("market/features")
    market = features.set_index("interval")["market_log_vol_20"]
    assert market[["1h", "1m"]].isna().all()
    assert market["1d"].notna().sum() > 400


def test_models_and_drift_see_days_only(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    features = project.lake.read("market/features").to_pandas()
    assert set(Panel.of(features).frame["interval"]) == {"1d"}
    monkeypatch.setenv("LAKEHOUSE_HOME", str(project.home))
    result = dg.materialize([data_drift], resources={"lakehouse": LakehouseResource()})
    (check,) = result.get_asset_check_evaluations()
    days = features.query("interval == '1d' and log_vol_5 == log_vol_5 and scaled_return_20 == scaled_return_20")
    assert f"the features have {days['ts'].nunique()}" in (check.description or "")
