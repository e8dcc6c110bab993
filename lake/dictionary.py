"""The feature dictionary: what each column of indicators and features is, as the yml of the dbt project declares it."""

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

TABLES = ("market/indicators", "market/cross_section", "market/features")
FIELDS = ("formula", "unit", "source", "window", "first_valid_row", "null_rule")
"""Keys of a column's `meta` in the yml. `first_valid_row` counts from 1, or says in words why there is no fixed one."""

Entry = dict[str, Any]
_COLUMNS = ("table", "column", "description", *FIELDS)


def dictionary(manifest: Mapping[str, Any]) -> list[Entry]:
    """One entry a column, in the order of the tables.

    Parameters
    ----------
    manifest : content of dbt's `manifest.json`.

    Returns
    -------
    Dictionaries of table, column, description and `FIELDS`; a field that the yml does not tell is None.
    """
    models = {f"{it['schema']}/{it['name']}": it for it in manifest["nodes"].values() if it["resource_type"] == "model"}
    return [
        {"table": table, "column": name, "description": column["description"].strip()}
        | {field: column["meta"].get(field) for field in FIELDS}
        for table in TABLES
        if table in models
        for name, column in models[table]["columns"].items()
    ]


def incomplete(entries: Sequence[Entry]) -> list[str]:
    """What the entries lack, as `market/features.log_return_1: unit, window`."""
    lacking = [(entry, [field for field in FIELDS if entry[field] is None]) for entry in entries]
    return [f"{entry['table']}.{entry['column']}: {', '.join(fields)}" for entry, fields in lacking if fields]


def as_csv(entries: Sequence[Entry]) -> str:
    """The dictionary as a table for programs."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    return text.getvalue()


def as_page(entries: Sequence[Entry]) -> str:
    """The dictionary as an HTML page that can be searched and sorted, without anything from elsewhere."""
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in ("column", *FIELDS))
    rows = "".join(
        f"<tr><td><code>{escape(entry['column'])}</code><small>{escape(entry['table'])}</small>"
        f"<p>{escape(entry['description'])}</p></td>{''.join(_cell(entry[field]) for field in FIELDS)}</tr>\n"
        for entry in entries
    )
    return _PAGE.replace("{head}", head).replace("{rows}", rows).replace("{count}", str(len(entries)))


def _cell(value: object) -> str:
    return f"<td>{'' if value is None else escape(str(value))}</td>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Feature dictionary</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #7f8794; --page: Canvas; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } a { color: #2f6fdb; } p.lead { color: var(--soft); margin: 0 0 1rem; }
input { font: inherit; padding: .4rem .6rem; width: min(24rem, 100%); border: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; margin-top: 1rem; }
th, td { text-align: left; padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { position: sticky; top: 0; background: var(--page); color: var(--soft); font-weight: 500; cursor: pointer; }
th[data-order]::after { content: " \\25b4"; } th[data-order="-1"]::after { content: " \\25be"; }
td p { margin: .15rem 0 0; color: var(--soft); max-width: 30rem; } td small { color: var(--soft); margin-left: .6rem; }
td:nth-child(6) { text-align: right; padding-right: 1.5rem; }
</style></head><body>
<h1>Feature dictionary</h1>
<p class="lead"><span id="count">{count}</span> of {count} columns of indicators and features, as the dbt project
declares them. <a href="dictionary.csv">As CSV</a>, <a href="./">data catalogue</a>.</p>
<input id="words" type="search" placeholder="Search, for instance: wilder price" autofocus>
<table><thead><tr>{head}</tr></thead><tbody>
{rows}</tbody></table>
<script>
const body = document.querySelector("tbody"), rows = [...body.rows], heads = [...document.querySelectorAll("th")];
document.getElementById("words").oninput = (event) => {
  const words = event.target.value.toLowerCase().split(/\\s+/);
  for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  document.getElementById("count").textContent = rows.filter((row) => !row.hidden).length;
};
heads.forEach((head, i) => head.onclick = () => {
  const order = head.dataset.order === "1" ? -1 : 1;
  for (const other of heads) delete other.dataset.order;
  head.dataset.order = order;
  const text = (row) => row.cells[i].textContent;
  body.append(...rows.sort((a, b) => order * text(a).localeCompare(text(b), "en", {numeric: true})));
});
</script></body></html>
"""
