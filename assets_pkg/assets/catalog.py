"""catalog: the dbt documentation of every table and column, and the dictionary of features, published at /catalog."""

import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from assets_pkg.conditions import FOLLOW_UPSTREAM
from assets_pkg.resources.dbt import DbtResource
from assets_pkg.resources.lakehouse import LakehouseResource


@dg.asset(
    key=["catalog", "dbt_docs"],
    description="dbt's data catalogue (lineage, columns, tests and SQL of every table, as one static page) and the "
    "feature dictionary, as a page and as CSV.",
    group_name="catalog",
    owners=["team:analytics-engineering"],
    kinds={"dbt"},
    deps=[["market", "features"]],
    automation_condition=FOLLOW_UPSTREAM,
    pool="dbt",
)
def dbt_docs(dbt: DbtResource, lakehouse: LakehouseResource) -> dg.MaterializeResult[Any]:
    """Generate the pages and put each in place whole."""
    from lake.dictionary import as_csv, as_page, dictionary
    from lake.files import Folder

    settings = lakehouse.settings
    with tempfile.TemporaryDirectory(prefix="dbt-") as target:
        invocation = dbt.cli(["docs", "generate", "--static", "--target", "duckdb"], target_path=Path(target)).wait()
        catalog = invocation.get_artifact("catalog.json")
        entries = dictionary(invocation.get_artifact("manifest.json"))
        page = (Path(target) / "static_index.html").read_bytes()
        pictures = {picture.name: picture.read_bytes() for picture in (Path(target) / "assets").iterdir()}
    folder = Folder(settings.catalog_uri, settings)
    for name, content in pictures.items():
        folder.write(f"assets/{name}", content)
    folder.write("dictionary.html", as_page(entries).encode())
    folder.write("dictionary.csv", as_csv(entries).encode())
    path = folder.write("index.html", page)
    tables = {**catalog["sources"], **catalog["nodes"]}
    columns = sum(len(table["columns"]) for table in tables.values())
    return dg.MaterializeResult(
        metadata={
            "tables": len(tables),
            "columns": columns,
            "dictionary entries": len(entries),
            "path": dg.MetadataValue.path(path),
        }
    )
