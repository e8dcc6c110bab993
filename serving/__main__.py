"""Starts the API server with the settings of the environment: `python -m serving`."""

import ctypes
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from granian import Granian
from granian.constants import Interfaces
from granian.http import HTTP1Settings

from lake.api import ExposedError, refuse_exposure
from lake.settings import Settings, get_settings
from serving.logs import CONFIGURATION

if TYPE_CHECKING:
    from fastapi import FastAPI

_HEADER_MILLISECONDS = 10_000
_HEADER_BYTES = 64 * 1024
_DRAIN_SECONDS = 10
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until SIGTERM or SIGINT; what is being answered then is answered to its end."""
    settings = get_settings()
    try:
        refuse_exposure(settings.host, settings.access)
    except ExposedError as error:
        sys.exit(f"lakehouse: {error}")
    if settings.api_workers == 1:
        _serve(settings)
        return
    with tempfile.TemporaryDirectory(prefix="lakehouse-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # where processes add their counts up
        _serve(settings)


def application() -> "FastAPI":
    """The app in a process of its own, which ends with the one that started it, even if that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    from serving.app import create_app  # in the process that serves, so that the other one stays small

    return create_app()


def _serve(settings: Settings) -> None:
    Granian(
        "serving.__main__:application",
        factory=True,
        interface=Interfaces.ASGI,
        address=settings.host,
        port=settings.api_port,
        workers=settings.api_workers,
        websockets=False,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_MILLISECONDS, max_buffer_size=_HEADER_BYTES),
        respawn_failed_workers=True,
        workers_kill_timeout=_DRAIN_SECONDS,
        log_dictconfig=CONFIGURATION,
        working_dir=Path.cwd(),
    ).serve()


if __name__ == "__main__":
    main()
