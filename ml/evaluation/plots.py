"""Plots: pictures of the rows of `models/evaluation`, for `docs/results.md` and for the asset in Dagster."""

import io
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED = "#22313f", "#b8c4cc"
COLOURS = ("#0f7f8c", "#d08c2e", "#7a5195", "#4f7942", "#c8553d", "#5b7db1", "#8a6d5a", "#2e4057")


def gains(table: pd.DataFrame, target: str, reference: str) -> bytes:
    """Share of the reference's loss that each model saves, with 95 % intervals: overall, by regime and by year."""
    from matplotlib.ticker import MaxNLocator

    rows = table.loc[(table["target"] == target) & (table["metric"] == f"gain_vs_{reference}")]
    models = rows.loc[rows["grouping"] == "all"].sort_values("value")["model"].tolist()
    figure, (overall, by_regime, by_year) = _figure((3, 2.2, 6))
    for i, model in enumerate(models):
        own, colour = rows.loc[rows["model"] == model], COLOURS[i % len(COLOURS)]
        _with_interval(overall, own.loc[own["grouping"] == "all"], [i], colour, across=True)
        shift = (i - (len(models) - 1) / 2) * 0.8 / len(models)
        regime = (
            own.loc[own["grouping"] == "regime"].set_index("group").reindex(["calm", "normal", "stressed"]).dropna()
        )
        _with_interval(by_regime, regime, [k + shift for k in range(len(regime))], colour)
        year = own.loc[own["grouping"] == "year"].sort_values("group")
        _with_interval(by_year, year, [int(y) + shift for y in year["group"]], colour, model)
    overall.set_yticks(range(len(models)), models)
    overall.axvline(0, color=INK, linewidth=0.7)
    overall.set(title="overall", xlabel=f"loss saved against {reference}, %")
    by_regime.set_xticks(range(3), ["calm", "normal", "stressed"])
    by_regime.set_title("market when forecast")
    for axis in (by_regime, by_year):
        axis.axhline(0, color=INK, linewidth=0.7)
    by_year.set(title=f"{target} by year", ylabel="%")
    by_year.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_year.legend(frameon=False, fontsize=7, ncols=2)
    return _png(figure)


def coverage(table: pd.DataFrame, target: str, method: str) -> bytes:
    """Coverage of a method's intervals, by year, symbol and regime, beside what they promise."""
    rows = table.loc[
        (table["target"] == target) & (table["model"] == method) & table["metric"].str.startswith("coverage")
    ]
    groups = ("year", "symbol", "regime")
    figure, axes = _figure((5, 5.4, 2))
    for axis, grouping in zip(axes, groups, strict=True):
        for i, (metric, own) in enumerate(
            rows.loc[rows["grouping"] == grouping].sort_values("group").groupby("metric")
        ):
            level = int(str(metric).removeprefix("coverage_"))
            _with_interval(axis, own, list(range(len(own))), COLOURS[i], f"{level} %")
            axis.axhline(level, color=COLOURS[i], linewidth=0.7, linestyle=":")
            axis.set_xticks(range(len(own)), own["group"], rotation=90, fontsize=7)
        axis.set_title(f"by {grouping}")
    axes[0].set_ylabel("outcomes inside, %")
    axes[0].legend(frameon=False, fontsize=7, ncols=3)
    figure.suptitle(f"{target}: coverage of the intervals ({method})", fontsize=10)
    return _png(figure)


def _with_interval(
    axis: "Axes", rows: pd.DataFrame, places: list[float], colour: str, label: str = "", *, across: bool = False
) -> None:
    """Values in percent at `places`, with their intervals."""
    value = 100 * rows["value"].to_numpy()
    error = [value - 100 * rows["lower"].to_numpy(), 100 * rows["upper"].to_numpy() - value]
    style: dict[str, Any] = {"fmt": "o", "markersize": 3.5, "linewidth": 1.0, "color": colour, "label": label or None}
    if across:
        axis.errorbar(value, places, xerr=error, **style)
    else:
        axis.errorbar(places, value, yerr=error, **style)


def _figure(widths: tuple[float, ...]) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(sum(widths), 3.6), layout="constrained")
    return figure, list(figure.subplots(1, len(widths), width_ratios=widths))


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
