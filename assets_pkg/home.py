"""The home folder: made ready before anything starts, so that Dagster, dbt and MLflow find absolute paths and quiet."""

import os
import shutil
from pathlib import Path

from lake.backup import unfinished_restore
from lake.s3 import is_remote
from lake.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
_TEMPLATE = ROOT / "deploy" / "dagster.yaml"
_QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class HomeError(RuntimeError):
    """The home folder cannot be used; the message says why in one sentence."""


def prepare(settings: Settings, needed_mib: int = 0) -> None:
    """Create the folders, install `dagster.yaml` into an absolute `DAGSTER_HOME`, and set this process's environment.

    Raises
    ------
    HomeError : the folder cannot be written, fewer than `needed_mib` MiB are left, or a restore was interrupted.
    """
    if (restoring := unfinished_restore(settings)) is not None:
        raise HomeError(f"{settings.home} is half restored: run `lakehouse restore {restoring.source}` again.")
    try:
        for folder in (settings.dagster_home, settings.home / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        if not is_remote(settings.landing_uri):
            Path(settings.landing_uri).mkdir(parents=True, exist_ok=True)
        free_mib = shutil.disk_usage(settings.home).free // 2**20
        if free_mib < needed_mib:
            raise HomeError(
                f"The disk of {settings.home} has {free_mib} MiB left and {needed_mib} are needed: make room, or set "
                "LAKEHOUSE_HOME to a folder on another disk."
            )
        shutil.copyfile(_TEMPLATE, settings.dagster_home / "dagster.yaml")
    except OSError as error:
        raise HomeError(f"{settings.home} cannot be written: {error.strerror or error}.") from error
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    os.environ["LAKEHOUSE_HOME"] = str(settings.home)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
