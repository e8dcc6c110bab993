"""A few rounds of `make chaos`: kill -9 at random moments, rerun, and the lake is that of an undisturbed run."""

from pathlib import Path

import pytest

from tests.chaos import ingestion_rounds, materialization_rounds


@pytest.mark.slow
def test_ingestion_killed_anywhere_ends_in_the_same_lake(tmp_path: Path) -> None:
    for this in ingestion_rounds(4, seed=3, folder=tmp_path):
        assert not this.problems, this
        assert this.reads


@pytest.mark.slow
def test_materialization_killed_while_its_dbt_goes_on_ends_in_the_same_lake(tmp_path: Path) -> None:
    for this in materialization_rounds(1, seed=0, folder=tmp_path):
        assert this.what == "lakehouse alone"
        assert not this.problems, this
