"""Increments: after whatever happens to the raw tables, what was built step by step is what a full build gives."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake import increments, upkeep
from lake.derived import register_functions
from lake.duck import connect
from lake.increments import Model
from lake.store import Lake
from lake.tables import RAW_BARS, RAW_FLAGS, RAW_INSTRUMENTS, TABLES
from tests.bars import walk

pytestmark = pytest.mark.xdist_group("increments")
PROJECT = Path(__file__).parents[1] / "dbt_project"
MODELS = ("market/bars",)
HISTORY, FUTURE = 330, 30  # sessions that are there at the start, and that may come
SYMBOLS = ("AAPL", "IBM", "SP500", "YOUNG", "NEW")
LEARNED = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """The models as dbt runs them, in the order of the lineage."""
    folder = tmp_path_factory.mktemp("models")
    place = ["--project-dir", PROJECT, "--profiles-dir", PROJECT, "--target-path", folder, "--log-path", folder]
    command = [Path(sys.executable).with_name("dbt"), "run", "--select", *(f"+{name.split('/')[1]}" for name in MODELS)]
    environment = {**os.environ, "LAKEHOUSE_HOME": str(folder / "home")}
    done = subprocess.run([*command, *place], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    nodes = json.loads((folder / "manifest.json").read_text())["nodes"]
    order = [result["unique_id"] for result in json.loads((folder / "run_results.json").read_text())["results"]]
    return [model_of(nodes[name]) for name in order]


def model_of(node: dict) -> Model:
    config = node["config"]
    options = {name: config[name] for name in ("changed_by", "lookback", "warm", "across_symbols") if name in config}
    return Model(
        table=f"{node['schema']}/{node['name']}",
        sql=node["compiled_code"],
        columns={name: column["data_type"] for name, column in node["columns"].items()},
        key=config["unique_key"],
        partition_by=config["partition_by"],
        **options,
    )


class Market:
    """A lake in which the models are built by increments."""

    def __init__(self, folder: Path, models: list[Model]) -> None:
        self.lake, self.models = Lake(str(folder)), models
        self._batches = itertools.count()
        for table in TABLES:
            if table.startswith("raw/"):
                self.lake.create(table)

    def build(self) -> dict[str, increments.Written]:
        """Build all models; what was written."""
        written = {}
        for model in self.models:
            with connect(self.lake) as connection:
                register_functions(connection)
                snapshots = {table: self.lake.snapshot(table) for table in self.lake.tables()}
                written[model.table] = increments.build(connection, self.lake, model, snapshots)
        return written

    def learn(self, bars: pd.DataFrame, source: str, late: timedelta = timedelta(0)) -> None:
        """Append a batch to raw/bars; a `late` one is committed now and was stamped so long before."""
        number = next(self._batches)
        rows = bars.assign(
            source=source,
            batch_id=f"batch-{number:03}",
            ingested_at=LEARNED + timedelta(hours=number) - late,
            year=bars["ts"].dt.year,
        )
        self.lake.append("raw/bars", pa.Table.from_pandas(rows, RAW_BARS.schema, preserve_index=False))

    def prefer(self, sources: dict[str, str]) -> None:
        """Write raw/instruments: the source of each symbol."""
        rows = [
            {"symbol": symbol, "name": symbol, "asset_class": "equity", "calendar": "XNYS", "source": source}
            | {"currency": "USD", "fallbacks": ""}
            for symbol, source in sources.items()
        ]
        self.lake.replace("raw/instruments", pa.Table.from_pylist(rows, RAW_INSTRUMENTS.schema))

    def table(self, name: str) -> pa.Table:
        """Rows of a table in the order of its key."""
        rows = self.lake.read(name)
        return rows.sort_by([(column, "ascending") for column in ("symbol", "interval", "ts")]).combine_chunks()

    def rebuilt(self, folder: Path) -> "Market":
        """The same raw tables in another place, with everything built at once."""
        shutil.copytree(Path(self.lake.uri) / "raw", folder / "raw")
        other = Market(folder, self.models)
        other.build()
        return other

    def equals(self, other: "Market") -> None:
        """Raises `AssertionError` where a table does not say the same, to the last bit."""
        for model in self.models:
            ours, theirs = self.table(model.table), other.table(model.table)
            assert ours.schema == theirs.schema
            for name in ours.column_names:
                left, right = ours[name].to_pylist(), theirs[name].to_pylist()
                if left != right:  # NaN is not equal to itself
                    pd.testing.assert_series_equal(
                        ours[name].to_pandas(), theirs[name].to_pandas(), check_exact=True, obj=f"{model.table} {name}"
                    )
