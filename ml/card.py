"""Model cards: what a registered version is, was trained on, can do and cannot, as JSON and as one plain page.

References
----------
Mitchell et al. (2019), Model cards for model reporting.
"""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from lake.files import Folder
from ml.evaluation import bootstrap_difference, bootstrap_gain, inside, loss
from ml.gate import Decision
from ml.training import Candidate, TrainingResult

FOLDER = "cards"
_TOP = 10  # features that are listed by importance
_NAMES = {"return": "log return", "volatility": "realised volatility, not annualised,"}
_USE = (
    "Forecasts for the next sessions of the series that it was trained on, read together with their intervals: to "
    "study, to compare models, to feed a risk report. Not investment advice, and not for orders that nobody looks at."
)
_LIMITS = {
    "return": (
        "Returns are close to unpredictable. Compare the directional accuracy with its base rate, not with 50 %.",
    ),
    "volatility": ("It follows the volatility of the last weeks: the first days of a shock come as a surprise to it.",),
}
_COMMON_LIMITS = (
    "The series are today's choice, most of them survivors; a symbol that it has not seen may behave otherwise.",
    "Intervals hold on average, over sessions like those of calibration; in a new regime they cover less at first.",
    "It knows daily prices alone: no order book, no news, no announcements.",
)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem }
table { border-collapse: collapse; margin: .4rem 0 } li { margin: .2rem 0 }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid #e4e4e4; vertical-align: top }
td { overflow-wrap: anywhere } th { font-weight: 600 } .number { text-align: right; font-variant-numeric: tabular-nums }
"""


def card(
    result: TrainingResult,
    candidate: Candidate,
    decision: Decision,
    tags: Mapping[str, str],
    version: str,
) -> dict[str, Any]:
    """The card of a version as one JSON document.

    Parameters
    ----------
    tags : of the registered version.

    Returns
    -------
    Each metric is a list of value, lower and upper end of its 95 % interval (block bootstrap over sessions).
    """
    target = result.target
    return {
        "name": target.name,
        "version": version,
        "model": candidate.model,
        "forecasts": f"the {_NAMES[target.kind]} of the next {target.horizon} sessions",
        "intended_use": _USE,
        "data": {
            "lake_versions": json.loads(tags["lake_versions"]),
            "symbols": sorted(result.test["symbol"].unique().tolist()),
            "periods": {part: list(dates) for part, dates in result.split_dates.items()},
            "rows": {part: result.params[f"{part}_rows"] for part in result.split_dates},
        },
        "features": list(candidate.contract.inputs),
        "lookback": candidate.contract.lookback,
        "importance": dict(list(result.importance.items())[:_TOP]) if candidate is result.challenger else {},
        "metrics": _metrics(result, candidate),
        "limits": [*_LIMITS[target.kind], *_COMMON_LIMITS],
        "gate": decision.reason,
        "made_by": {
            "arguments": dict(result.arguments),
            "code": tags["code_version"],
            "platform": tags["platform"],
            "digest": tags["digest"],
        },
    }


def html_card(content: Mapping[str, Any]) -> str:
    """The same as one HTML page that needs nothing else."""
    data = content["data"]
    symbols = data["symbols"]
    periods = ((part, *dates, f"{data['rows'][part]:,}") for part, dates in data["periods"].items())
    numbers = ((name, *(f"{number:.4g}" for number in interval)) for name, interval in content["metrics"].items())
    sections = {
        "What it forecasts": _sentence(f"{content['forecasts']}, by the model {content['model']}."),
        "Intended use": _sentence(content["intended_use"]),
        "Limits": "".join(f"<li>{escape(limit)}</li>" for limit in content["limits"]).join(("<ul>", "</ul>")),
        "On held-out time": _table(("", "value", "95 % interval from", "to"), numbers)
        + _paragraph("Intervals by a block bootstrap over sessions of the test period, which chose nothing."),
        "The gate said": _sentence(content["gate"]),
        "Data": _paragraph(
            f"{', '.join(f'{table}, version {number}' for table, number in data['lake_versions'].items())}; "
            f"{len(symbols)} symbols: {', '.join(symbols)}."
        )
        + _table(("period", "from", "to", "forecasts"), periods),
        "Features": _paragraph(f"{', '.join(content['features'])}; {content['lookback']} sessions of them."),
        "What moves it most": _table(
            ("feature", "mean absolute contribution"),
            ((name, f"{value:.3g}") for name, value in content["importance"].items()),
        ),
        "Made by": _table(("", ""), ((name, _text(value)) for name, value in content["made_by"].items())),
    }
    if not content["importance"]:
        del sections["What moves it most"]
    title = f"{content['name']}, version {content['version']}"
    body = "".join(f"<h2>{escape(name)}</h2>{section}" for name, section in sections.items())
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    head += f"<style>{_STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>{body}</body></html>'


def write_card(reports: Folder, content: Mapping[str, Any]) -> None:
    """Write both forms below the reports: `cards/<name>/<version>.json` and `.html`."""
    place = f"{FOLDER}/{content['name']}/{content['version']}"
    reports.write(f"{place}.json", json.dumps(content, indent=2).encode())
    reports.write(f"{place}.html", html_card(content).encode())


def _metrics(result: TrainingResult, candidate: Candidate) -> dict[str, tuple[float, float, float]]:
    target, seed = result.target, result.seed
    outcome, ts = result.test["outcome"].to_numpy(np.float64), result.test["ts"].to_numpy("datetime64[us]")
    mean, naive = candidate.test_mean, result.baseline.test_mean
    losses, reference = loss(target, outcome, mean), loss(target, outcome, naive)
    found = {}
    if target.kind == "return":
        found["RMSE"] = tuple(x**0.5 for x in bootstrap_difference(losses, ts, seed=seed))
        right = ((mean > 0) == (outcome > 0)).astype(np.float64)
        found["directional accuracy"] = tuple(bootstrap_difference(right, ts, seed=seed))
        found["its base rate (share of ups)"] = tuple(
            bootstrap_difference((outcome > 0).astype(np.float64), ts, seed=seed)
        )
    else:
        found["QLIKE"] = tuple(bootstrap_difference(losses, ts, seed=seed))
    if candidate is not result.baseline:
        gain = bootstrap_gain(losses, reference, ts, seed=seed)
        found[f"loss saved against {result.baseline.model}"] = tuple(gain)
    for i, level in enumerate(candidate.contract.conformal.levels):
        hits = inside(outcome, np.asarray(candidate.test_bounds[:, i], np.float64)).astype(np.float64)
        found[f"coverage of the {level:.0%} interval"] = tuple(bootstrap_difference(hits, ts, seed=seed))
    return found


def _sentence(text: str) -> str:
    return _paragraph(text[0].upper() + text[1:])


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [
        f"<td>{escape(first)}</td>" + "".join(f"<td class=number>{escape(cell)}</td>" for cell in rest)
        for first, *rest in rows
    ]
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    return f"<table><tr>{titles}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _text(value: object) -> str:
    return json.dumps(value).replace('"', "") if isinstance(value, dict) else str(value)
