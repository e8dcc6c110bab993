"""What a person looks at: the drift report as a page that opens without a network, as JSON, and as one picture."""

import base64
import html
import io
import json
import warnings
from typing import Any, NamedTuple

import pyarrow as pa

from lake.files import Folder
from lake.store import Lake
from lake.tables import DATA_DRIFT
from monitoring.drift import DriftReport

RED, GREEN, BLUE = "#c03028", "#2f7d4f", "#4878a8"


class ReportFiles(NamedTuple):
    """Where a report was written."""

    html: str
    json: str


def write(report: DriftReport, folder: Folder, run_id: str) -> ReportFiles:
    """Write `data_drift/<run_id>.html` and `.json` to the reports' folder, each whole or not at all.

    The page is about 4 MB, since it carries Evidently's scripts along. Reports of other runs stay. Raises `OSError`
    where the folder cannot be written.
    """
    page, metrics = render(report)
    document = json.dumps({**report.document(), "run_id": run_id, "evidently": metrics}, indent=1)
    page_uri = folder.write(f"data_drift/{run_id}.html", page.encode())
    # The JSON last: who finds it, finds the page too.
    return ReportFiles(page_uri, folder.write(f"data_drift/{run_id}.json", document.encode()))


def store(report: DriftReport, lake: Lake, run_id: str) -> None:
    """Write a row a monitor to `monitoring/data_drift`, in place of an earlier measurement of the same session."""
    as_of = report.current_span[1].to_pydatetime()
    rows = [
        {
            "as_of": as_of,
            "monitor": monitor.column,
            "distance": monitor.distance,
            "threshold": monitor.threshold,
            "drifted": monitor.drifted,
            "dagster_run_id": run_id,
        }
        for monitor in report.monitors
    ]
    lake.create(DATA_DRIFT.name)
    table = pa.Table.from_pylist(rows, schema=DATA_DRIFT.schema)
    lake.replace(DATA_DRIFT.name, table, predicate=f"as_of = '{as_of.isoformat()}'")


def render(report: DriftReport) -> tuple[str, dict[str, Any]]:
    """Evidently's page for a report, headed by our verdict and picture, and Evidently's metrics as JSON values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about empty bins of a histogram
        from evidently import Report
        from evidently.presets import DataDriftPreset

        # Without thresholds nothing may be called drifted; with them one column of seven is an alarm.
        limits = {m.column: m.threshold if m.threshold is not None else 1e9 for m in report.monitors}
        preset = DataDriftPreset(
            columns=list(limits),
            num_method="wasserstein",
            per_column_threshold=limits,
            drift_share=0.1,
        )
        snapshot = Report([preset]).run(report.current, report.reference)
        page = snapshot.get_html_str(as_iframe=False)
    page = page.replace("<head>", f"<head><title>Data drift, {report.current_span[1]:%Y-%m-%d}</title>", 1)
    return page.replace("<body>", f"<body>{_header(report)}", 1), json.loads(snapshot.json())


def plot(report: DriftReport) -> bytes:
    """PNG: the largest distance of every past window in units of today's thresholds, and today's seven distances."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    past, now = figure.subplots(2, 1, height_ratios=[3, 2])
    past.set_title("Market drift: the newest 21 sessions against the 252 before them", loc="left")
    if report.calibrated:
        limits = [m.threshold for m in report.monitors]
        largest = (report.history / limits).max(axis=1)
        past.plot(largest.index, largest, color=BLUE, linewidth=1, label="past windows")
        newest = report.current_span[1], report.worst.exceedance
        past.plot(*newest, "o", color=_verdict_colour(report), label="now")
        past.axhline(1, color=RED, linestyle="--", linewidth=1, label="alarm")
        past.legend(loc="upper left", ncols=3, frameon=False)
        past.set_ylim(bottom=0, top=1.25 * max(largest.max(), report.worst.exceedance, 1))
    else:
        past.text(0.5, 0.5, report.summary, ha="center", va="center", transform=past.transAxes)
    past.set_ylabel("largest distance / threshold")
    monitors = report.monitors[::-1]
    colours = [RED if m.drifted else BLUE for m in monitors]
    now.barh([m.column for m in monitors], [m.exceedance for m in monitors], color=colours)
    now.axvline(1, color=RED, linestyle="--", linewidth=1)
    now.set_xlabel("distance now / threshold")
    for axes in (past, now):
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _header(report: DriftReport) -> str:
    picture = base64.b64encode(plot(report)).decode()
    verdict = f"font-size: 1.2em; padding-left: .8em; border-left: 6px solid {_verdict_colour(report)}"
    names = ", ".join(report.symbols[:40]) + (" ..." if len(report.symbols) > 40 else "")
    return (
        f'<header style="font-family: sans-serif; max-width: 1100px; margin: 2em auto">'
        f'<p style="{verdict}">{html.escape(report.summary)}</p>'
        f"<p>{len(report.symbols)} series: {html.escape(names)}</p>"
        f'<img style="max-width: 100%" alt="Distances of the past and of now" src="data:image/png;base64,{picture}">'
        "<p>Evidently's view of the same two windows follows. Its drift scores are the distances themselves, "
        "not shares of a threshold.</p></header>"
    )


def _verdict_colour(report: DriftReport) -> str:
    return RED if report.alarm else GREEN
