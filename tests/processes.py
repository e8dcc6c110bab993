"""Child processes of the tests, forked from one that has imported what they need: that takes longer than their work."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

FORKED = multiprocessing.get_context("forkserver")  # the server starts no thread, so that forking it is safe
_PRELOADED = ["dbt.cli.main", "dbt.adapters.duckdb", "lake.dbt_plugin", "lake.landing", "skfolio.datasets"]
FORKED.set_forkserver_preload([*_PRELOADED, "dagster_dbt", "assets_pkg.cli", "tests.graph_kit"])


def fork(target: Callable[..., object], *arguments: Any) -> ForkServerProcess:
    """Start `target(*arguments)` in a process of its own, in the environment that this one has now."""
    process = FORKED.Process(target=_in_environment, args=(dict(os.environ), target, arguments))
    process.start()
    return process


def run(
    main: str, arguments: Sequence[str | Path], cwd: Path, environment: Mapping[str, str], seconds: float = 280
) -> "subprocess.CompletedProcess[str]":
    """A command to its end, as `subprocess.run` does it; it is named by its function: `assets_pkg.cli:main`."""
    words = [main, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        process = FORKED.Process(target=_in_environment, args=(dict(environment), _command, (words, cwd, said)))
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(words, seconds)
        assert process.exitcode is not None
        return subprocess.CompletedProcess(words, process.exitcode, *(path.read_text() for path in said))


def dbt(*arguments: str | Path, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """`dbt ...` to its end."""
    return run("dbt.cli.main:cli", arguments, cwd, os.environ | variables)


def _in_environment(environment: Mapping[str, str], target: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    target(*arguments)


def _command(words: list[str], cwd: Path, said: list[Path]) -> None:
    for number, path in enumerate(said, 1):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    os.chdir(cwd)
    sys.argv = words
    resolve_name(words[0])()
