"""The lineage of the dbt project as a picture: from raw tables through models to whoever reads them, left to right."""

from collections.abc import Mapping
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 190, 34, 64, 14, 12
_COLOURS = {"source": "#5fb236", "model": "#0094b3", "exposure": "#ff694b"}  # as dbt's own graph has them

Edges = dict[str, set[str]]


def lineage_svg(manifest: Mapping[str, Any]) -> str:
    """SVG of the sources that models read, the models that are tables, and the exposures.

    Parameters
    ----------
    manifest : content of dbt's `manifest.json`. What is ephemeral is passed over.
    """
    parents = _parents(manifest)
    columns = _columns(parents)
    tallest = max(len(column) for column in columns)
    height = tallest * (_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
    places = {}
    for i, column in enumerate(columns):
        top = (height - len(column) * (_HEIGHT + _GAP_Y) + _GAP_Y) / 2
        for j, node in enumerate(column):
            places[node] = (_MARGIN + i * (_WIDTH + _GAP_X), top + j * (_HEIGHT + _GAP_Y))
    width = len(columns) * (_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN
    arrows = [
        _arrow(places[parent], places[node])
        for node in sorted(parents)
        for parent in sorted(parents[node])
        if parent in places
    ]
    boxes = [_box(node, *place) for node, place in places.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" '
        f'font-family="sans-serif" font-size="13">\n' + "\n".join(arrows + boxes) + "\n</svg>\n"
    )


def _parents(manifest: Mapping[str, Any]) -> Edges:
    """What each node that is drawn is made from; a source is made from nothing."""
    models = {name: node for name, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    ephemeral = {name for name, node in models.items() if node["config"]["materialized"] == "ephemeral"}

    def above(node: Mapping[str, Any]) -> set[str]:
        direct = node["depends_on"]["nodes"]
        return {it for name in direct for it in (above(models[name]) if name in ephemeral else {name})}

    drawn = {name: node for name, node in models.items() if name not in ephemeral} | manifest["exposures"]
    parents = {name: above(node) for name, node in drawn.items()}
    sources = set().union(*parents.values()) - parents.keys()
    return {name: set() for name in sorted(sources)} | parents


def _columns(parents: Edges) -> list[list[str]]:
    """Nodes by their distance from the sources, exposures last; within a column near to what they are made from."""
    depths: dict[str, int] = {}

    def depth(node: str) -> int:
        if node not in depths:
            depths[node] = 1 + max((depth(parent) for parent in parents[node]), default=-1)
        return depths[node]

    last = max(depth(node) for node in parents if not node.startswith("exposure.")) + 1
    levels = {node: last if node.startswith("exposure.") else depth(node) for node in parents}
    columns: list[list[str]] = []
    height: dict[str, float] = {}
    for level in range(last + 1):
        column = sorted(node for node, at in levels.items() if at == level)
        column.sort(key=lambda node: sum(height[it] for it in parents[node]) / max(len(parents[node]), 1))
        height |= {node: (i + 0.5) / len(column) for i, node in enumerate(column)}
        columns.append(column)
    return columns


def _box(node: str, x: float, y: float) -> str:
    kind, *_, name = node.split(".")
    label = f"raw.{name}" if kind == "source" else f"market.{name}" if kind == "model" else name.replace("_", " ")
    middle = f'x="{x + _WIDTH / 2:g}" y="{y + _HEIGHT / 2 + 5:g}" text-anchor="middle"'
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{_COLOURS[kind]}"/>'
        f'<text {middle} fill="white">{escape(label)}</text>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1, x2, y2 = start[0] + _WIDTH, start[1] + _HEIGHT / 2, end[0], end[1] + _HEIGHT / 2
    bend = _GAP_X * 0.6
    return (
        f'<path d="M{x1:g} {y1:g} C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}" '
        f'fill="none" stroke="#9aa5b1" stroke-width="1.2"/>'
    )
