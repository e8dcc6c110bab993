"""The page of a forecast's evidence, for people: as HTML that needs nothing else, and as text for a terminal."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem }
table { border-collapse: collapse; font-size: .85rem; margin: .4rem 0 } .rows { display: block; overflow-x: auto }
th, td { text-align: left; padding: .15rem .8rem .15rem 0; border-bottom: 1px solid #e4e4e4; vertical-align: top }
td { overflow-wrap: anywhere } .rows td { white-space: nowrap } th { font-weight: 600; white-space: nowrap }
li { list-style: none } ul { padding: 0; margin: .2rem 0 }
.ok { color: #1a7f37 } .broken { color: #b42318; font-weight: 600 }
"""


def html_page(evidence: Mapping[str, Any]) -> str:
    """One HTML page."""
    title = escape(_title(evidence["forecast"]))
    body = [f"<h1>{title}</h1>", f"<p class={_class(evidence)}>{escape(_verdict(evidence))}</p>"]
    body.append(_facts(_summary(evidence["forecast"])))
    for link in evidence["links"]:
        body.append(f"<h2>{escape(link['title'])}</h2>{_facts(link['facts'])}")
        if link["rows"]:
            head = "".join(f"<th>{escape(name)}</th>" for name in link["rows"][0])
            lines = ("".join(f"<td>{escape(_text(v))}</td>" for v in row.values()) for row in link["rows"])
            body.append(f"<table class=rows><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>")
        items = [("ok", "✓", it) for it in link["verified"]] + [("broken", "✗", it) for it in link["broken"]]
        body.append("<ul>" + "".join(f"<li class={c}>{sign} {escape(it)}</li>" for c, sign, it in items) + "</ul>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{"".join(body)}</body></html>'
    )


def text_page(evidence: Mapping[str, Any]) -> Iterator[str]:
    """The same as lines of text."""
    yield _title(evidence["forecast"])
    for name, value in _summary(evidence["forecast"]).items():
        yield f"  {name:<20}{_text(value)}"
    for link in evidence["links"]:
        yield ""
        yield link["title"]
        for name, value in link["facts"].items():
            yield f"  {name:<20}{_text(value)}"
        for row in link["rows"]:
            yield "    " + "  ".join(_text(value) for value in row.values())
        yield from (f"  ok      {found}" for found in link["verified"])
        yield from (f"  BROKEN  {found}" for found in link["broken"])
    yield ""
    yield _verdict(evidence)


def _title(forecast: Mapping[str, Any]) -> str:
    return f"Forecast {forecast['id']}: {forecast['target']} of {forecast['symbol']} as of {forecast['as_of'][:10]}"


def _summary(forecast: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: forecast[name] for name in ("mean", "last_price", "price", "model", "version", "lake_versions")}
    bounds = {f"{it['level']:.0%} interval": f"{it['lower']:.6g} to {it['upper']:.6g}" for it in forecast["intervals"]}
    return {**shown, **bounds}


def _verdict(evidence: Mapping[str, Any]) -> str:
    if not evidence["broken"]:
        return (
            f"The chain holds: {sum(len(link['verified']) for link in evidence['links'])} facts verified, none broken."
        )
    return f"The chain is broken in {len(evidence['broken'])} places: {'; '.join(evidence['broken'])}"


def _class(evidence: Mapping[str, Any]) -> str:
    return "broken" if evidence["broken"] else "ok"


def _facts(facts: Mapping[str, Any]) -> str:
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(_text(value))}</td></tr>" for name, value in facts.items())
    return f"<table>{''.join(rows)}</table>"


def _text(value: object) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value).replace('"', "")
    return "" if value is None else str(value)
