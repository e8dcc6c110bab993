"""The few HTML pages for people: landing page, index of the reports, error page. No scripts, nothing from elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import PurePosixPath
from urllib.parse import quote

from lake.files import File

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #7f8794; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 3rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.lead { color: var(--soft); margin: 0 0 1.5rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .45rem .75rem .45rem 0; border-top: 1px solid var(--line); vertical-align: top; }
th { border-top: 0; color: var(--soft); font-weight: 500; } td.n { white-space: nowrap; }
a { color: #2f6fdb; text-decoration: none; } a:hover { text-decoration: underline; }
code { font-size: .9em; }
"""


@dataclass(frozen=True)
class Report:
    """The files of one report: the same name with different endings.

    Attributes
    ----------
    written_at : when the newest of its files was written, UTC.
    """

    folder: str
    name: str
    files: tuple[PurePosixPath, ...]
    written_at: datetime


def landing(base: str, dagster_url: str, status: str, symbol: str) -> str:
    """The page at `/`.

    Parameters
    ----------
    base : path that the app is mounted under; empty at the root.
    status : one sentence on what is served.
    symbol : a symbol to show in the example link.
    """
    links = [
        (dagster_url, "Lineage graph", "Every asset, run, check and schedule, in the Dagster UI"),
        (
            f"{base}/v1/predictions/{quote(symbol, safe='')}",
            "A forecast",
            f"The newest forecasts of {symbol}, as JSON",
        ),
        (f"{base}/v1/predictions", "All forecasts", "The newest forecasts of all symbols"),
        (f"{base}/v1/models", "Models", "Champions of the registry and the versions served"),
        (f"{base}/v1/symbols", "Symbols", "What there are forecasts for"),
        (f"{base}/docs", "API documentation", "Try every route in the browser"),
        (f"{base}/reports", "Reports", "Data drift reports, newest first"),
        (f"{base}/catalog/", "Data catalogue", "Tables, columns, tests and their lineage, by dbt"),
        (
            f"{base}/catalog/dictionary.html",
            "Feature dictionary",
            "What each indicator and feature is, and from when on",
        ),
        (f"{base}/readyz", "Readiness", "What is served, and whatever is wrong"),
        (f"{base}/metrics", "Metrics", "For Prometheus"),
    ]
    rows = "".join(
        f'<tr><td class="n"><a href="{escape(url)}">{escape(name)}</a></td><td>{escape(text)}</td></tr>'
        for url, name, text in links
    )
    return _page("Asset lakehouse", f'<p class="lead">{escape(status)}</p><table>{rows}</table>')


def reports_index(base: str, reports: list[Report]) -> str:
    """The page at `/reports`: newest first, all kinds together."""
    if not reports:
        body = '<p class="lead">No report yet. Materializing <code>monitoring/data_drift</code> writes one.</p>'
        return _page("Reports", body + _home(base))
    rows = "".join(
        f"<tr><td class='n'>{report.written_at:%Y-%m-%d %H:%M:%S}</td><td>{escape(report.folder)}</td>"
        f"<td>{escape(report.name)}</td><td class='n'>{_file_links(base, report)}</td></tr>"
        for report in reports
    )
    head = "<tr><th>Written (UTC)</th><th>Kind</th><th>Run</th><th>Open</th></tr>"
    count = "1 report" if len(reports) == 1 else f"{len(reports)} reports, newest first"
    lead = f'<p class="lead">{count}.</p>'
    return _page("Reports", f"{lead}<table>{head}{rows}</table>{_home(base)}")


def error(title: str, detail: str, base: str) -> str:
    """A page for an error; the same words as the problem details."""
    return _page(title, f'<p class="lead">{escape(detail)}</p>{_home(base)}')


def group_reports(files: Mapping[str, File]) -> list[Report]:
    """Reports, newest first, of the files below the reports' folder."""
    grouped: dict[tuple[str, str], list[PurePosixPath]] = {}
    for path in map(PurePosixPath, files):
        if path.suffix in {".html", ".json"} and str(path).isprintable():
            grouped.setdefault((path.parent.as_posix(), path.stem), []).append(path)
    reports = [
        Report(folder, name, tuple(sorted(paths)), max(files[str(path)].modified for path in paths))
        for (folder, name), paths in grouped.items()
    ]
    return sorted(reports, key=lambda report: (report.written_at, report.name), reverse=True)


def _file_links(base: str, report: Report) -> str:
    return " ".join(
        f'<a href="{base}/reports/{quote(file.as_posix())}">{escape(file.suffix[1:])}</a>' for file in report.files
    )


def _home(base: str) -> str:
    return f'<p><a href="{escape(base)}/">Overview</a></p>'


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
