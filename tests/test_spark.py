"""The dbt project on a Spark of two executors: the tables that DuckDB makes, built whole and brought up to date."""

import os
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dbt.cli.main import dbtRunner
from deltalake import DeltaTable

from lake.calendars import write_sessions
from lake.ingest import ingest, ingest_source, write_instruments
from lake.sources import EMBEDDED
from tests.bars import walk
from tests.test_dbt_project import CUT, PROJECT, START, SYMBOLS, Project

pytestmark = [pytest.mark.slow, pytest.mark.spark, pytest.mark.xdist_group("spark"), pytest.mark.timeout(600)]

BARS, INDICATORS, RANKS, FEATURES = (f"market/{name}" for name in ("bars", "indicators", "cross_section", "features"))
FINDINGS = {
    "market/bars_back_adjusted": [],
    "market/calendar_violations": ["finding"],
    "market/corporate_actions": ["kind"],
    "market/reconciliation": ["finding", "source_a"],
}
TABLES = (BARS, INDICATORS, RANKS, FEATURES, *FINDINGS)
# A logarithm of C and one of Java may differ in the last bit, and with it whatever follows from it.
LOGARITHMIC = {
    INDICATORS: ("log_", "realized_vol_", "parkinson_", "garman_klass_", "ewma_", "beta_", "corr_"),
    FEATURES: ("log_", "scaled_", "ewma_", "close_", "sma_", "macd_", "drawdown_", "market_", "detrended_"),
}
CLUSTER = "local-cluster[2,1,1024]"  # two executors, each a process with one core and 1 GiB
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # of a JVM that lives for a minute


@pytest.fixture(scope="module", autouse=True)
def java() -> None:
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        assert "CI" not in os.environ, "continuous integration needs a JRE 17"
        pytest.skip("there is no Java (Debian: apt install openjdk-17-jre-headless)")


class OnSpark(Project):
    """The project on a lake of its own, on the Spark of this process: a session takes a while to start."""

    def run(self) -> None:
        """Build all models, as `python -m lake.spark_dbt run` does."""
        from lake import spark_adapter

        spark_adapter.install()
        place = {"project-dir": PROJECT, "profiles-dir": PROJECT, "target-path": self.target, "log-path": self.target}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAKEHOUSE_HOME", str(self.home))
            patch.setenv("LAKEHOUSE_ENGINE", "spark")
            options = {"sql.shuffle.partitions": 2, "ui.enabled": "false"}
            options |= {f"{jvm}.extraJavaOptions": f"'{QUICK_START}'" for jvm in ("driver", "executor")}
            told = " ".join(f"--conf spark.{name}={value}" for name, value in options.items())
            patch.setenv("PYSPARK_SUBMIT_ARGS", f"--master {CLUSTER} {told} pyspark-shell")
            done = dbtRunner().invoke(["run", *(f"--{name}={path}" for name, path in place.items())])
        assert done.success, (self.target / "dbt.log").read_text()


def of_other_clocks(start: date, end: date) -> pd.DataFrame:
    """Bars of Tokyo, of a coin that is traded every day, and of the hours of New York."""
    sessions = pd.bdate_range("2001-01-04", "2002-02-08", tz="UTC")
    opening = sessions[-60:] + pd.Timedelta(hours=14.5)
    series = {
        "TOYOTA": (sessions, {"currency": "JPY"}),
        "BITCOIN": (pd.date_range("2001-04-01", "2002-02-08", tz="UTC"), {"asset_class": "crypto"}),
        "HOURLY": (opening.union(opening + pd.Timedelta(hours=1)), {"interval": "1h"}),
    }
    bars = pd.concat(
        [walk(symbol, len(ts), seed=len(ts)).assign(ts=ts, **columns) for symbol, (ts, columns) in series.items()]
    )
    return bars[bars["ts"].dt.date.between(start, end)]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, OnSpark]]:
    """The same raw tables twice, for DuckDB and for Spark; both have built them whole."""
    folder = tmp_path_factory.mktemp("engines")
    duckdb, spark = Project(folder / "duckdb", folder / "target"), OnSpark(folder / "spark", folder / "target-spark")
    write_instruments(duckdb.lake)
    for name, symbols in SYMBOLS.items():
        ingest_source(duckdb.lake, EMBEDDED[name], symbols, start=START, end=CUT)
    ingest(duckdb.lake, of_other_clocks(START, CUT), "file", "test")
    write_sessions(duckdb.lake)
    shutil.copytree(duckdb.home, spark.home)
    duckdb.dbt("run")
    spark.run()
    yield duckdb, spark
    from pyspark.sql import SparkSession

    SparkSession.builder.getOrCreate().stop()


def assert_same_tables(duckdb: Project, spark: Project) -> None:
    """Row by row and to the bit, but for what follows from logarithms."""
    for table in TABLES:
        key = ["symbol", "interval", "ts", *FINDINGS.get(table, [])]
        expected, found = (
            project.lake.read(table).to_pandas().sort_values(key, ignore_index=True) for project in (duckdb, spark)
        )
        numbers = list(expected.select_dtypes("float").columns)
        pd.testing.assert_frame_equal(found.drop(columns=numbers), expected.drop(columns=numbers))
        for name in numbers:
            if name.startswith(LOGARITHMIC.get(table, ())):
                np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-14, err_msg=name)
            else:
                np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_full_build_gives_the_same_rows(engines: tuple[Project, OnSpark]) -> None:
    duckdb, spark = engines
    assert duckdb.lake.row_count(INDICATORS) > 3_000
    features = duckdb.table(FEATURES)
    assert {"TOYOTA", "BITCOIN", "HOURLY"} < set(features["symbol"])
    assert features.loc[features["symbol"] == "TOYOTA", "market_log_vol_20"].notna().any()
    assert_same_tables(duckdb, spark)


def test_new_days_and_a_late_correction_give_the_same_rows_and_leave_older_years_alone(
    engines: tuple[Project, OnSpark],
) -> None:
    duckdb, spark = engines
    corrected = EMBEDDED["skfolio"].fetch(["AAPL"], CUT - timedelta(days=227), CUT - timedelta(days=227))
    corrected[["close", "adj_close"]] *= 1.01
    assert len(corrected) == 1
    for name, symbols in SYMBOLS.items():
        ingest_source(duckdb.lake, EMBEDDED[name], symbols, start=CUT, end=CUT + timedelta(days=4))
    ingest(duckdb.lake, corrected, "skfolio", EMBEDDED["skfolio"].origin)
    ingest(duckdb.lake, of_other_clocks(CUT + timedelta(days=1), CUT + timedelta(days=4)), "file", "more")
    shutil.rmtree(spark.lake.path("raw"))
    shutil.copytree(duckdb.lake.path("raw"), spark.lake.path("raw"))
    killed, running = (Path(spark.lake.path(BARS), "_staging", name) for name in ("killed", "running"))
    for build in (killed, running):
        build.mkdir(parents=True, exist_ok=True)
        build.joinpath("part.parquet").touch()
    for path in (killed, killed / "part.parquet"):
        os.utime(path, (0, 0))
    before = files(spark)
    duckdb.dbt("run")
    spark.run()
    assert_same_tables(duckdb, spark)
    for table, kept in before.items():
        assert any("year=2000" in path for path in kept & files(spark)[table])
    assert list(Path(spark.lake.uri).rglob("_staging/*")) == [running]


def files(project: Project) -> dict[str, set[str]]:
    """Files of the newest version of each table."""
    return {table: set(DeltaTable(project.lake.path(table)).file_uris()) for table in (BARS, INDICATORS, FEATURES)}
