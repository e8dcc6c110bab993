"""Plots: small PNG pictures of a training, of its forecasts and of a symbol, for Dagster metadata and MLflow runs."""

import io
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.training import TrainingResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, MUTED = "#22313f", "#0f7f8c", "#b8c4cc"
BINS = 30


def learning_curve(result: TrainingResult) -> bytes:
    """Training and validation loss of every model that learns step by step."""
    from matplotlib.ticker import MaxNLocator

    curves = {c.model: c.curve for c in result.candidates.values() if c.curve}
    figure, axes = _figure(len(curves))
    for axis, (name, curve) in zip(axes, curves.items(), strict=True):
        steps = np.arange(1, len(curve) + 1)
        axis.plot(steps, [p["train"] for p in curve], color=MUTED, label="train")
        axis.plot(steps, [p["validation"] for p in curve], color=ACCENT, label="validation")
        axis.set(title=f"{result.target.name}: {name}", xlabel="epoch or iteration", ylabel="squared error (scaled)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(frameon=False)
    return _png(figure)


def forecast_vs_outcome(result: TrainingResult) -> bytes:
    """Held-out outcomes averaged in bins of equal forecast count: on the diagonal, a forecast means what it says."""
    figure, (calibration, history) = _figure(2)
    test = result.test
    for column, colour in (("baseline", MUTED), ("challenger", ACCENT)):
        order = np.argsort(test[column].to_numpy(), kind="stable")
        bins = np.array_split(order, min(BINS, test[column].nunique()))
        forecast = [test[column].to_numpy()[b].mean() for b in bins]
        outcome = [test["outcome"].to_numpy()[b].mean() for b in bins]
        calibration.scatter(forecast, outcome, s=14, color=colour, label=getattr(result, column).model)
    low, high = calibration.get_xlim()
    calibration.plot([low, high], [low, high], color=INK, linewidth=0.6, linestyle=":")
    calibration.set(title=f"{result.target.name} on held-out time", xlabel="mean forecast", ylabel="mean outcome")
    calibration.legend(frameon=False)
    by_session = test.groupby("ts")[["outcome", "baseline", "challenger"]].mean()
    for column, colour in (("outcome", INK), ("baseline", MUTED), ("challenger", ACCENT)):
        history.plot(by_session.index, by_session[column], color=colour, linewidth=0.8, label=column)
    history.set(title="mean over symbols", ylabel=result.target.name)
    history.legend(frameon=False)
    history.tick_params(axis="x", rotation=30)
    return _png(figure)


def importance(result: TrainingResult) -> bytes:
    """Mean absolute contribution of each feature to the challenger's held-out forecasts, the largest on top."""
    figure, (axis,) = _figure(1, height=4.2)
    names, values = list(result.importance)[::-1], list(result.importance.values())[::-1]
    axis.barh(names, values, color=ACCENT)
    axis.set(title=f"{result.target.name}: {result.challenger.model}", xlabel="mean absolute contribution")
    axis.tick_params(axis="y", labelsize=6)
    return _png(figure)


def coverage(result: TrainingResult) -> bytes:
    """Held-out coverage of the intervals of both registered candidates, overall and by symbol."""
    figure, (overall, by_symbol) = _figure(2)
    outcome = result.test["outcome"].to_numpy()
    for candidate, colour in ((result.baseline, MUTED), (result.challenger, ACCENT)):
        bounds = candidate.test_bounds
        inside = (outcome[:, None] >= bounds[:, :, 0]) & (outcome[:, None] <= bounds[:, :, 1])
        levels = candidate.contract.conformal.levels
        overall.plot(levels, inside.mean(axis=0), marker="o", color=colour, label=candidate.model)
        shares = pd.Series(inside[:, levels.index(0.90)]).groupby(result.test["symbol"]).mean()
        by_symbol.scatter(shares.index, shares, s=12, color=colour, label=candidate.model)
    overall.plot(levels, levels, color=INK, linewidth=0.6, linestyle=":")
    overall.set(title=f"{result.target.name}: interval coverage", xlabel="nominal", ylabel="held-out")
    overall.legend(frameon=False)
    by_symbol.axhline(0.90, color=INK, linewidth=0.6, linestyle=":")
    by_symbol.set(title="90 % interval by symbol")
    by_symbol.tick_params(axis="x", rotation=90, labelsize=7)
    return _png(figure)


def garch(rows: pd.DataFrame) -> bytes:
    """How long shocks last and how much more a fall counts, by year: median of the symbols, and the middle half."""
    own = rows.loc[rows["estimated_on"] != ""].drop_duplicates(["symbol", "year"])
    shown = pd.DataFrame(
        {
            "persistence (alpha + gamma / 2 + beta)": own["alpha"] + own["gamma"] / 2 + own["beta"],
            "leverage (gamma)": own["gamma"],
        }
    )
    figure, axes = _figure(2)
    for axis, (name, values) in zip(axes, shown.items(), strict=True):
        low, middle, high = (values.groupby(own["year"]).quantile(q) for q in (0.25, 0.5, 0.75))
        axis.fill_between(middle.index, low, high, color=MUTED, alpha=0.4, linewidth=0)
        axis.plot(middle.index, middle, color=ACCENT)
        axis.set(title=name)
    return _png(figure)


def segments(rows: pd.DataFrame) -> bytes:
    """Segment of every share by year, a colour each, and the mean silhouette."""
    figure, (places, quality) = _figure(2, height=1.5 + 0.15 * rows["symbol"].nunique())
    by_year = rows.pivot(index="symbol", columns="year", values="segment").sort_values(rows["year"].max())
    places.pcolormesh(
        by_year.columns, range(len(by_year)), by_year % 20, cmap="tab20", edgecolors="white", linewidth=0.5
    )
    places.set_yticks(range(len(by_year)), by_year.index, fontsize=7)
    places.set_title("segment by year")
    silhouette = rows.groupby("year")["silhouette"].mean()
    quality.plot(silhouette.index, silhouette, color=ACCENT)
    quality.set(title="mean silhouette", ylim=(0, None))
    return _png(figure)


def forecasts(predictions: pa.Table) -> bytes:
    """Newest forecast of every symbol with its 90 % interval, one panel a target."""
    rows = pd.DataFrame(predictions.to_pylist())
    targets = sorted(rows["target"].unique())
    figure, axes = _figure(len(targets), height=1.2 + 0.17 * rows["symbol"].nunique())
    for axis, target in zip(axes, targets, strict=True):
        part = rows.loc[rows["target"] == target].sort_values("symbol", ascending=False)
        ninety = [next(i for i in intervals if i["level"] == 0.90) for intervals in part["intervals"]]
        axis.hlines(
            part["symbol"], [i["lower"] for i in ninety], [i["upper"] for i in ninety], color=MUTED, linewidth=3
        )
        axis.scatter(part["mean"], part["symbol"], color=ACCENT, s=14, zorder=3)
        axis.set(title=f"{target}, 90 % interval")
        axis.tick_params(axis="y", labelsize=7)
    return _png(figure)


def scores(table: pd.DataFrame, sessions: int = 250) -> bytes:
    """Mean loss and 90 % coverage by session, one row of panels a target; challengers in another colour."""
    from matplotlib.figure import Figure

    targets = sorted(table["target"].unique())
    figure = Figure(figsize=(9.6, 3.0 * len(targets)), layout="constrained")
    ninety = [next(i["hit"] for i in hits if i["level"] == 0.90) for hits in table["hits"]]
    for (loss, coverage), target in zip(figure.subplots(len(targets), 2, squeeze=False), targets, strict=True):
        part = table.assign(hit=ninety).loc[table["target"] == target]
        for (version, role), group in part.groupby(["version", "role"]):
            means = group.groupby("as_of")[["loss", "hit"]].mean().tail(sessions)
            style = {
                "color": ACCENT if role == "champion" else INK,
                "linestyle": "-" if role == "champion" else "--",
                "label": f"{role}, version {version}",
            }
            loss.plot(means.index, means["loss"], **style)
            coverage.plot(means.index, means["hit"], **style)
        loss.set(title=f"{target}: mean loss")
        loss.legend(frameon=False)
        coverage.axhline(0.90, color=INK, linewidth=0.6, linestyle=":")
        coverage.set(title=f"{target}: share inside the 90 % interval", ylim=(0, 1.02))
        for axis in (loss, coverage):
            axis.tick_params(axis="x", rotation=30)
    return _png(figure)


def symbol_overview(bars: pd.DataFrame, symbol: str, sessions: int = 504) -> bytes:
    """Price with its averages and bands, RSI and MACD of one symbol.

    `bars` are rows of `market/indicators` joined to `market/bars`: symbol, ts, close_adj, sma_50, bb_upper_20,
    bb_lower_20, rsi_14, macd, macd_signal.
    """
    from matplotlib.figure import Figure

    rows = bars.loc[bars["symbol"] == symbol].sort_values("ts").tail(sessions)
    figure = Figure(figsize=(9, 6), layout="constrained")
    price, rsi, macd = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1, 1])
    price.fill_between(rows["ts"], rows["bb_lower_20"], rows["bb_upper_20"], color=MUTED, alpha=0.4, linewidth=0)
    price.plot(rows["ts"], rows["close_adj"], color=INK, linewidth=1.0, label="close (adjusted)")
    price.plot(rows["ts"], rows["sma_50"], color=ACCENT, linewidth=1.0, label="SMA 50")
    price.set_title(symbol)
    price.legend(frameon=False)
    rsi.plot(rows["ts"], rows["rsi_14"], color=ACCENT, linewidth=0.9)
    rsi.axhspan(30, 70, color=MUTED, alpha=0.25, linewidth=0)
    rsi.set(ylabel="RSI 14", ylim=(0, 100))
    macd.plot(rows["ts"], rows["macd"], color=INK, linewidth=0.9)
    macd.plot(rows["ts"], rows["macd_signal"], color=ACCENT, linewidth=0.9)
    macd.set_ylabel("MACD")
    return _png(figure)


def _figure(panels: int, height: float = 3.4) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * panels, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
