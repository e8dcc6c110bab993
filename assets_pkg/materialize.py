"""Materialising a selection of the graph in this process, with a line for every asset as it starts and ends."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

import dagster as dg
import psutil

from assets_pkg.metadata import table_metadata
from lake.s3 import one_line
from lake.store import Lake
from lake.tables import TABLES

Say = Callable[[str], None]

_PID_TAG = "lakehouse/pid"
_POLL_SECONDS = 0.5


def select(definitions: dg.Definitions, selection: str) -> AbstractSet[dg.AssetKey]:
    """Asset keys of a selection in Dagster's syntax, for example `key:"raw/bars"+` or `group:models`.

    With an asset come those that only the same step can make: with one raw table all of them.

    Raises
    ------
    ValueError : the selection cannot be parsed, or matches nothing.
    """
    try:
        chosen = dg.AssetSelection.from_string(selection).required_multi_asset_neighbors()
        keys = chosen.resolve(definitions.resolve_asset_graph())
    except dg.DagsterInvalidSubsetError:
        keys = set()
    except Exception as error:
        raise ValueError(f"selection {selection!r} is not understood: {error}") from error
    if not keys:
        known = ", ".join(
            sorted(key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys())
        )
        raise ValueError(f"selection {selection!r} matches no asset; there are {known}")
    return keys


def missing(definitions: dg.Definitions, instance: dg.DagsterInstance, lake: Lake) -> AbstractSet[dg.AssetKey]:
    """Assets that were never materialised or have lost their table, and everything downstream of them."""
    graph = definitions.resolve_asset_graph()
    known = instance.get_latest_materialization_events(graph.get_all_asset_keys())
    gone = {
        key
        for key in graph.get_all_asset_keys()
        if known.get(key) is None or not (key.path[0] == "catalog" or lake.exists("/".join(key.path)))
    }
    whole_steps = dg.AssetSelection.assets(*gone).required_multi_asset_neighbors()
    return whole_steps.downstream().resolve(graph) if gone else set()


def materialize(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    keys: AbstractSet[dg.AssetKey],
    say: Say,
    config: Mapping[str, Any] | None = None,
) -> bool:
    """Materialise assets in the order of the graph; True when all of it worked.

    Parameters
    ----------
    say : receives one line of progress at a time.
    config : Dagster run config.
    """
    run_id = str(uuid.uuid4())
    started = time.monotonic()
    with _progress(instance, run_id, len(keys), say):
        result = definitions.resolve_job_def("everything").execute_in_process(
            run_id=run_id,
            instance=instance,
            asset_selection=sorted(keys),
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, **(config or {})},
            tags={_PID_TAG: str(os.getpid())},
        )
    verdict = "done" if result.success else "FAILED"
    say(f"{verdict}: {len(keys)} assets in {time.monotonic() - started:.0f} s (run {run_id})")
    return bool(result.success)


def report_ingested(instance: dg.DagsterInstance, lake: Lake) -> None:
    """Tell Dagster that the raw tables were written outside of a run, so that automation takes it from there."""
    for table in (name for name in TABLES if name.startswith("raw/")):
        metadata = table_metadata(lake, table)
        instance.report_runless_asset_event(dg.AssetMaterialization(table.split("/"), metadata=metadata))


def end_broken_runs(instance: dg.DagsterInstance, alone: bool) -> int:
    """Mark runs whose process has died (kill -9, power cut) as failed; returns how many there were.

    Dagster's own run launcher has no means to notice. Runs of this command carry their process id; those that the
    daemon has launched are known to be dead only when nothing else works in this home (`alone`).
    """
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    runs = [record.dagster_run for record in instance.get_run_records(dg.RunsFilter(statuses=unfinished))]
    broken = [
        run for run in runs if (not psutil.pid_exists(int(run.tags[_PID_TAG])) if _PID_TAG in run.tags else alone)
    ]
    for run in broken:
        instance.report_run_failed(run, "The process of this run was killed; a new run does what is missing.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)  # or its successor waits for ever
    return len(broken)


@contextmanager
def _progress(instance: dg.DagsterInstance, run_id: str, total: int, say: Say) -> Iterator[None]:
    """Report the events of a run while it works, from a thread that reads the event log."""
    finished = threading.Event()
    reporter = _Reporter(instance, run_id, total, say)

    def watch() -> None:
        while not finished.wait(_POLL_SECONDS):
            reporter.report()
        reporter.report()

    thread = threading.Thread(target=watch, name="progress")
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


class _Reporter:
    """Turns the event log of one run into lines: what starts, what is done, how far, how long."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str, total: int, say: Say) -> None:
        self._instance, self._run_id, self._total, self._say = instance, run_id, total, say
        self._cursor: str | None = None
        self._done = 0
        self._last: dict[str, float] = {}  # when each step last had something to show

    def report(self) -> None:
        """Say what has happened since the last call."""
        if self._instance.get_run_by_id(self._run_id) is None:
            return
        page = self._instance.get_records_for_run(self._run_id, cursor=self._cursor)
        self._cursor = page.cursor
        for record in page.records:
            event = record.event_log_entry.dagster_event
            if event is not None:
                self._line(event, record.event_log_entry.timestamp)

    def _line(self, event: dg.DagsterEvent, timestamp: float) -> None:
        step = event.step_key or ""
        if event.event_type == dg.DagsterEventType.STEP_START:
            self._last[step] = timestamp
            self._say(f"         {step.replace('__', '/')} ...")
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
            self._done += 1
            materialization = event.step_materialization_data.materialization
            rows = materialization.metadata.get("dagster/row_count")
            count = f"{rows.value:>10,} rows" if rows is not None else " " * 15
            seconds = timestamp - self._last.get(step, timestamp)
            self._last[step] = timestamp
            name = materialization.asset_key.to_user_string()
            self._say(f"[{self._done:>2}/{self._total}] {name:<30} {count}  {seconds:6.1f} s")
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                reason = f": {check.description}" if check.description else ""
                self._say(
                    f"         {check.severity.value} {check.asset_key.to_user_string()} {check.check_name}{reason}"
                )
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            cause = error.cause or error if error else None
            reason = one_line(cause.message) if cause else "no message"
            self._say(f"         FAILED {step.replace('__', '/')}: {reason}")
