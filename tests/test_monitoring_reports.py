"""The drift report on disk: a page that opens anywhere, numbers that another program can read, a picture."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lake.files import Folder
from lake.settings import Settings
from monitoring import reports
from monitoring.drift import COLUMNS, MONITORS, DriftReport, data_drift

pytestmark = pytest.mark.xdist_group("monitoring_reports")


@pytest.fixture(scope="module")
def report() -> DriftReport:
    """Three series, 900 sessions, every monitor white noise until it triples in the newest month."""
    days = pd.bdate_range("2010-01-04", periods=900, tz="UTC")
    rows = [(symbol, day) for day in days for symbol in ("AAA", "BBB", "<C&C>")]
    noise = np.random.default_rng(0).standard_normal((len(rows), len(MONITORS)))
    noise[-63:] *= 3
    return data_drift(pd.DataFrame([(*row, *values) for row, values in zip(rows, noise, strict=True)], columns=COLUMNS))


@pytest.fixture(scope="module")
def files(report: DriftReport, tmp_path_factory: pytest.TempPathFactory) -> reports.ReportFiles:
    """The report, written once."""
    return reports.write(report, Folder(str(tmp_path_factory.mktemp("reports")), Settings()), "run-1")


def test_the_json_holds_the_verdict_and_evidently_agrees(report: DriftReport, files: reports.ReportFiles) -> None:
    document = json.loads(Path(files.json).read_text())
    assert document["alarm"] is report.alarm is True
    assert document["run_id"] == "run-1"
    assert document["drifted"] == list(report.drifted)
    count, *columns = [metric["value"] for metric in document["evidently"]["metrics"]]
    assert count["count"] == len(report.drifted)
    assert columns == pytest.approx([m.distance for m in report.monitors])


def test_the_page_needs_no_network_and_opens_with_the_verdict(report: DriftReport, files: reports.ReportFiles) -> None:
    page = Path(files.html).read_text()
    assert report.summary in page
    assert "&lt;C&amp;C&gt;" in page
    assert "<C&C>" not in page.split("</header>", 1)[0]
    assert not re.search(r"""<(script|link|img)[^>]*(src|href)=["'](https?:)?//""", page)
    assert all(column in page for column in MONITORS)


def test_reports_of_other_runs_stay_and_nothing_half_written_is_left(report: DriftReport, tmp_path: Path) -> None:
    older = tmp_path / "data_drift" / "run-0.html"
    older.parent.mkdir()
    older.write_text("older")
    older.with_name("run-1.html").write_text("the same run, tried before")
    reports.write(report, Folder(str(tmp_path), Settings()), "run-1")
    assert sorted(path.name for path in older.parent.iterdir()) == ["run-0.html", "run-1.html", "run-1.json"]
    assert older.read_text() == "older"
    assert report.summary in older.with_name("run-1.html").read_text()


def test_the_plot_is_a_picture_with_and_without_thresholds(report: DriftReport) -> None:
    young = DriftReport(
        **{
            **{name: getattr(report, name) for name in report.__dataclass_fields__},
            "monitors": tuple(type(m)(m.column, m.distance, None) for m in report.monitors),
            "history": report.history.iloc[:3],
        }
    )
    for each in (report, young):
        picture = reports.plot(each)
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 10_000
