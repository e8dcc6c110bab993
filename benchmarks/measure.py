"""What every measurement needs: a number with its limit, processes that are watched and always stopped, the machine."""

import os
import platform
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 2**20
_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Measure:
    """One line of the table; without a limit it explains the lines above it."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    least: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the value is within its limits."""
        return (self.limit is None or self.value <= self.limit) and (self.least is None or self.value >= self.least)


class Watched:
    """A running command, and the most memory that it and its descendants held together."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.peak_mib = 0.0
        self._family = psutil.Process(process.pid)
        self._seen: dict[int, psutil.Process] = {}
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory")
        self._thread.start()

    def memory_mib(self) -> float:
        """Resident memory of the process and its descendants now; pages that they share count once for each."""
        total = 0
        for process in self._alive():
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total / MIB

    def own_memory_mib(self) -> float:
        """The same, where pages that processes share count once."""
        return sum(process.memory_full_info().pss for process in self._alive()) / MIB

    def survivors(self) -> int:
        """How many of the processes that were ever seen in the family are alive."""
        return sum(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in self._seen.values())

    def stop(self) -> None:
        """Kill what is left of the family, orphans included."""
        self._finished.set()
        self._thread.join()
        for process in [*self._alive(), *self._seen.values()]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def _alive(self) -> list[psutil.Process]:
        try:
            family = [self._family, *self._family.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self._seen |= {process.pid: process for process in family}
        return family

    def _watch(self) -> None:
        while not self._finished.wait(_SAMPLE_SECONDS):
            self.peak_mib = max(self.peak_mib, self.memory_mib())


@contextmanager
def running(
    home: Path, arguments: Sequence[str], program: str | Path = sys.executable, **settings: object
) -> Iterator[Watched]:
    """A program (this Python) on `arguments`, with the default settings but for `home` and `settings`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LAKEHOUSE_", "MLFLOW_", "DAGSTER_"))}
    chosen = {f"LAKEHOUSE_{name.upper()}": str(value) for name, value in {"home": home, **settings}.items()}
    process = subprocess.Popen(
        [program, *arguments],
        env={**inherited, **chosen, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watched = Watched(process)
    try:
        yield watched
    finally:
        watched.stop()


def seconds_until(address: str, watched: Watched, began: float, patience: float = 60) -> float:
    """Seconds from `began` (of `time.perf_counter`) until an address answers with 200.

    Raises
    ------
    RuntimeError : the process has ended, or it does not answer in time.
    """
    while time.perf_counter() - began < patience:
        if watched.process.poll() is not None:
            output = watched.process.stdout.read() if watched.process.stdout else ""
            raise RuntimeError(f"it has ended:\n{output}")
        try:
            with urllib.request.urlopen(address, timeout=1):
                return time.perf_counter() - began
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{address} does not answer after {patience:g} s")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def machine() -> str:
    """Where this was measured, in a line."""
    cores = len(psutil.Process().cpu_affinity()) if sys.platform == "linux" else os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    busy = "; the machine is busy, so times may be too long" if load > 0.5 * (cores or 1) else ""
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}; load {load:.1f} before{busy}"
    )
