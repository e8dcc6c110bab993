"""The dbt project on a Spark of two executors: the tables that DuckDB makes, built whole and brought up to date."""

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dbt.cli.main import dbtRunner

from lake.ingest import ingest, ingest_source
from lake.sources import EMBEDDED
from tests.test_dbt_project import CUT, PROJECT, START, SYMBOLS, Project, write_instruments, write_sessions

TABLES = ("market/bars", "market/indicators", "market/features")
MODELS = [table.removeprefix("market/") for table in TABLES]
RECURSIVE = {"ema_12", "ema_20", "ema_26", "ema_50", "macd", "macd_signal", "rsi_14", "atr_14"}
CLUSTER = "local-cluster[2,1,1024]"  # two executors, each a process with one core and 1 GiB


@pytest.fixture(scope="module", autouse=True)
def java() -> None:
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        assert "CI" not in os.environ, "continuous integration needs a JRE 17"
        pytest.skip("there is no Java (Debian: apt install openjdk-17-jre-headless)")


class OnSpark(Project):
    """The project on a lake of its own, on the Spark of this process: a session takes a while to start."""

    def printed(self, *arguments: str, **environment: str) -> str:
        """Run dbt as `python -m lake.spark_dbt` does."""
        from lake import spark_adapter

        spark_adapter.install()
        place = ["--project-dir", PROJECT, "--profiles-dir", PROJECT]
        paths = ["--target-path", self.target, "--log-path", self.target]
        variables = {"LAKEHOUSE_HOME": str(self.home), "LAKEHOUSE_ENGINE": "spark"}
        variables["PYSPARK_SUBMIT_ARGS"] = f"--master {CLUSTER} --conf spark.sql.shuffle.partitions=2 pyspark-shell"
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**variables, **environment}.items():
                patch.setenv(name, value)
            done = dbtRunner().invoke([str(argument) for argument in (*arguments, *place, *paths)])
        assert done.success, (self.target / "dbt.log").read_text()
        return ""


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Project]]:
    """The same raw tables twice, for DuckDB and for Spark; both have built them whole."""
    folder = tmp_path_factory.mktemp("engines")
    duckdb, spark = Project(folder / "duckdb", folder / "target"), OnSpark(folder / "spark", folder / "target-spark")
    write_instruments(duckdb.lake)
    for name, symbols in SYMBOLS.items():
        ingest_source(duckdb.lake, EMBEDDED[name], symbols, start=START, end=CUT)
    write_sessions(duckdb.lake)
    shutil.copytree(duckdb.home, spark.home)
    for project in (duckdb, spark):
        project.dbt("run", "--select", *MODELS)
    yield duckdb, spark
    from pyspark.sql import SparkSession

    SparkSession.builder.getOrCreate().stop()


def assert_same_tables(duckdb: Project, spark: Project) -> None:
    """Row by row: recursive indicators to the bit, other numbers as `lake.slices` tells whether they have changed."""
    for table in TABLES:
        expected, found = duckdb.table(table), spark.table(table)
        assert found.dtypes.to_dict() == expected.dtypes.to_dict()
        numbers = expected.select_dtypes("float").columns
        pd.testing.assert_frame_equal(found.drop(columns=numbers), expected.drop(columns=numbers))
        for name in numbers:
            if name in RECURSIVE or table == "market/bars":
                np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
            else:
                np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_a_full_build_gives_the_same_rows(engines: tuple[Project, Project]) -> None:
    duckdb, spark = engines
    assert duckdb.lake.row_count("market/indicators") > 2_500
    assert_same_tables(duckdb, spark)


def test_new_days_and_a_late_correction_give_the_same_rows_and_touch_no_others(
    engines: tuple[Project, Project],
) -> None:
    duckdb, spark = engines
    corrected = EMBEDDED["skfolio"].fetch(["AAPL"], CUT - timedelta(days=225), CUT - timedelta(days=225))
    corrected[["close", "adj_close"]] *= 1.01
    for name, symbols in SYMBOLS.items():
        ingest_source(duckdb.lake, EMBEDDED[name], symbols, start=CUT, end=CUT + timedelta(days=4))
    ingest(duckdb.lake, corrected, "skfolio", EMBEDDED["skfolio"].origin)
    shutil.rmtree(Path(spark.lake.path("raw")))
    shutil.copytree(duckdb.lake.path("raw"), spark.lake.path("raw"))
    (Path(spark.lake.path("market/bars")) / "_staging").mkdir()  # what a killed build has left
    before = files(spark)
    for project in (duckdb, spark):
        project.dbt("run", "--select", *MODELS)
    assert_same_tables(duckdb, spark)
    assert {"year=2000"} == {path.split("/")[-2] for path in before & files(spark)}
    assert not list(Path(spark.lake.uri).rglob("_staging"))


def files(project: Project) -> set[str]:
    """Names of the files of the tables' newest versions."""
    from deltalake import DeltaTable

    return {uri for table in TABLES for uri in DeltaTable(project.lake.path(table)).file_uris()}
