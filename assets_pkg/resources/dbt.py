"""dbt as a resource: the project's manifest, parsed when a file has changed, its SQL, and a CLI without detours."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from dagster_dbt import DbtCliInvocation, DbtCliResource
from dbt.version import get_installed_version
from packaging.version import Version

from lake.evidence import DAGSTER_RUN
from lake.settings import get_settings

PROJECT_DIR = Path(__file__).resolve().parents[2] / "dbt_project"
MANIFEST = PROJECT_DIR / "target" / "manifest.json"
_PARSED = "partial_parse.msgpack"
_DBT = Path(sys.executable).with_name("dbt")
_GENERATED = {"target", "logs"}


class DbtResource(DbtCliResource):
    """`DbtCliResource` that runs dbt once a call.

    The original also runs `dbt --version` and builds an adapter in this process, for metadata that an in-memory
    database cannot give: 11 s a call instead of 5.
    """

    def cli(self, args: Sequence[str], **options: Any) -> DbtCliInvocation:
        """Run dbt; what it commits to the lake names the Dagster run of `context`."""
        if (context := options.get("context")) is not None:
            os.environ[DAGSTER_RUN] = context.run_id
        return super().cli(args, **options)

    @property
    def _cli_version(self) -> Version:
        return Version(get_installed_version().to_version_string(skip_matcher=True))

    def _initialize_dbt_core_adapter(self, args: Any) -> Any:
        return None


def dbt_resource() -> DbtResource:
    """The resource for this project, on the engine of the settings."""
    on_spark = get_settings().engine == "spark"
    return DbtResource(
        project_dir=os.fspath(PROJECT_DIR),
        profiles_dir=os.fspath(PROJECT_DIR),
        dbt_executable=sys.executable if on_spark else os.fspath(_DBT),
        global_config_flags=["-m", "lake.spark_dbt"] if on_spark else [],
    )


def ensure_manifest() -> Path:
    """Path of the manifest, after parsing the project if a file of it is newer, or the engine is another one.

    Raises
    ------
    RuntimeError : dbt cannot parse the project; the message carries dbt's own words.
    """
    newest = max(
        path.stat().st_mtime
        for path in PROJECT_DIR.rglob("*")
        if path.is_file() and path.relative_to(PROJECT_DIR).parts[0] not in _GENERATED
    )
    if not MANIFEST.exists() or MANIFEST.stat().st_mtime < newest or _parsed_for() != get_settings().engine:
        _parse()
    return MANIFEST


def model_queries() -> dict[str, str]:
    """The SQL of every model by the lake table that it makes, each after those that it reads.

    Raises
    ------
    RuntimeError : dbt cannot compile the project; the message carries dbt's own words.
    """
    ensure_manifest()
    with tempfile.TemporaryDirectory(prefix="dbt-") as target:
        shutil.copy(MANIFEST.with_name(_PARSED), target)  # so that dbt need not parse again
        _dbt("compile", "--target", "duckdb", "--select", "config.materialized:delta", target=target)
        nodes = json.loads(Path(target, MANIFEST.name).read_text())["nodes"]
    models = {name: node for name, node in nodes.items() if node["config"]["materialized"] == "delta"}
    order = TopologicalSorter({name: node["depends_on"]["nodes"] for name, node in models.items()}).static_order()
    return {
        f"{models[name]['schema']}/{models[name]['name']}": models[name]["compiled_code"]
        for name in order
        if name in models
    }


def _parsed_for() -> str:
    engine: str = json.loads(MANIFEST.read_text())["metadata"]["adapter_type"]
    return engine


def _parse() -> None:
    MANIFEST.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=MANIFEST.parent, prefix="parse-") as target:
        _dbt("parse", target=target)
        for name in (_PARSED, MANIFEST.name):  # the manifest last: it says that all is there
            os.replace(Path(target) / name, MANIFEST.with_name(name))


def _dbt(command: str, *options: str, target: str) -> None:
    project = os.fspath(PROJECT_DIR)
    place = ["--project-dir", project, "--profiles-dir", project, "--target-path", target, "--log-path", target]
    done = subprocess.run([_DBT, "--quiet", command, *options, *place], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"dbt cannot {command} {PROJECT_DIR.name}:\n{done.stdout}{done.stderr}")
