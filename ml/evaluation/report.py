"""Report: `docs/results.md`, every number of it taken from one run of the study."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ml.arrays import FloatArray
from ml.datasets import Target
from ml.evaluation.comparison import clark_west, diebold_mariano
from ml.evaluation.losses import loss
from ml.evaluation.multiplicity import holm, model_confidence_set, superior_predictive_ability
from ml.evaluation.returns import FLAT, direction_report, rank_ic, return_metrics
from ml.evaluation.scores import SEED
from ml.evaluation.sharpe import deflated_sharpe_ratio, sharpe_ratio
from ml.evaluation.strategy import long_short
from ml.evaluation.study import INTERVALS_FROM, MEAN, RETURN, SCALE, VOLATILITY, Study
from ml.evaluation.volatility import mincer_zarnowitz, volatility_metrics
from ml.intervals import LEVELS
from ml.walk_forward import REGIMES

ADAPTIVE = "adaptive, scaled"
SCORE_LIMIT = 18.1
"""Interval score at 90 % that must be reached, in percent."""


CHOSEN = """Chosen after results of these years had been seen, and so flattered by them to some degree:
- the members of the combination and their equal weights: an earlier study of the same stocks and years had found the
  geometric mean of GJR-GARCH, gradient boosting and LSTM best;
- the step of the adaptive intervals (0.02), from the same study.

Not chosen so: the features, the look-back, the parameters of the models (fixed beforehand, or fitted and stopped inside
the years before each forecast), the years, the stocks (all that the package has) and the limits above."""

METHOD = """- **Walk-forward** ([walk_forward.py](../ml/walk_forward.py)): the models of a year learn from rows whose
  outcome was known ten sessions before it began (purge and embargo); the newest fifth of these only stops and
  calibrates. A test changes the future and looks that no past forecast and no past interval moves.
- **Confidence intervals**: circular block bootstrap, blocks of 20 sessions, all stocks of a session together.
- **Tests** ([evaluation](../ml/evaluation)): on means over the stocks of a session, whose errors are correlated over
  the horizon; Diebold-Mariano with the correction of Harvey, Leybourne and Newbold.
- **Regimes**: the market's volatility of 20 sessions, ranked among all sessions so far: calm below the median, stressed
  in the top tenth.
- **Prices**: adjusted closes of companies that are large today, so returns are flattered by survival. No costs."""


class Facts(NamedTuple):
    """What the page says about its own run."""

    features_version: int
    tried: int
    full: bool


def page(study: Study, table: pd.DataFrame, facts: Facts) -> str:
    """The page, in Markdown; its pictures are `images/results-*.png` beside it."""
    parts = [
        _head(study, facts),
        "## What was to be reached",
        _verdicts(table),
        "## Volatility of the next five sessions",
        _volatility(study.volatilities, table),
        "## Intervals",
        _intervals(table),
        "## Return of the next five sessions",
        _returns(study.returns, table),
        "## How many were tried, and what was chosen when",
        _tried(facts),
        "## How it is done",
        METHOD,
    ]
    return "\n\n".join(parts) + "\n"


def number(table: pd.DataFrame, **where: str) -> pd.Series:
    """The one row of a table with these values."""
    for column, value in where.items():
        table = table.loc[table[column] == value]
    assert len(table) == 1, f"{len(table)} rows of {where}"
    return table.iloc[0]


def _head(study: Study, facts: Facts) -> str:
    frame = study.volatilities
    command = "make evaluate-full" if facts.full else "make evaluate"
    return f"""# What the forecasts are worth

Written by `{command}`: every number and picture is of that run, on version {facts.features_version} of
`market/features`. {len(frame):,} forecasts of each target, for {frame["symbol"].nunique()} large US stocks
(skfolio's adjusted closes), {frame["ts"].min():%Y-%m-%d} to {frame["ts"].max():%Y-%m-%d}.
Each year is forecast by models fitted on what was known before it. Square brackets are 95 % confidence intervals. The
table `models/evaluation` has all of it by year, symbol and regime."""


def _verdicts(table: pd.DataFrame) -> str:
    own = table.loc[(table["target"] == VOLATILITY.name) & (table["model"] == SCALE)]
    rows = []
    for reference, name, least, aim in (("ewma", "EWMA(0.94)", 0.08, 0.12), ("har", "HAR", 0.03, 0.06)):
        gain = number(own, grouping="all", metric=f"gain_vs_{reference}")
        good = gain["value"] >= least and gain["lower"] > 0
        rows.append((f"QLIKE saved against {name}, %", f"{least:.0%} (aim {aim:.0%})", _interval(gain), _reached(good)))
    years = own.loc[(own["grouping"] == "year") & (own["metric"] == "gain_vs_ewma"), "value"]
    share = float((years > 0).mean())
    better = f"{(years > 0).sum()} of {len(years)}"
    rows.append(("years in which it is better than EWMA", "90 % (aim: all)", better, _reached(share >= 0.9)))
    own = table.loc[(table["target"] == RETURN.name) & (table["model"] == ADAPTIVE)]
    for grouping, what, most in (("all", "overall", 1), ("year", "worst year", 2), ("symbol", "worst symbol", 4)):
        gaps = [_worst_gap(own.loc[own["grouping"] == grouping], level) for level in LEVELS]
        claim = f"coverage of return intervals at 80, 90 and 95 %: {what}"
        shown = ", ".join(f"{gap:+.1f}" for gap in gaps)
        rows.append((claim, f"within {most} points", shown, _reached(max(map(abs, gaps)) <= most)))
    score = 100 * number(own, grouping="all", metric="interval_score_90")["value"]
    good = score <= SCORE_LIMIT
    rows.append(("their interval score at 90 %, in %", f"at most {SCORE_LIMIT}", f"{score:.2f}", _reached(good)))
    rows.append(
        ("RMSE of the return", "no worse than the historical mean", "it is the historical mean", _reached(True))
    )
    return _markdown(("claim", "must be", "is", ""), rows)


def _worst_gap(rows: pd.DataFrame, level: float) -> float:
    """Largest distance of a coverage from its level, in points."""
    gaps = 100 * (rows.loc[rows["metric"] == f"coverage_{level * 100:.0f}", "value"] - level)
    return float(gaps.loc[gaps.abs().idxmax()])


def _volatility(frame: pd.DataFrame, table: pd.DataFrame) -> str:
    target = VOLATILITY
    losses = _losses(frame, target, table)
    ts, outcome = frame["ts"].to_numpy("datetime64[us]"), frame["outcome"].to_numpy()
    tests = {
        name: diebold_mariano(own, losses["har"], ts, target.horizon) for name, own in losses.items() if name != "har"
    }
    adjusted = holm({name: test.p_value for name, test in tests.items()})
    best = model_confidence_set(losses, ts, seed=SEED)
    rows = []
    for name in sorted(losses, key=lambda name: float(np.mean(losses[name]))):
        where = {"target": target.name, "model": name, "grouping": "all"}
        regression = mincer_zarnowitz(outcome, frame[name].to_numpy(), ts, target.horizon)
        rmse = volatility_metrics(outcome, frame[name].to_numpy(), frame["naive_volatility"].to_numpy())
        rows.append(
            (
                name,
                f"{np.mean(losses[name]):.4f}",
                "" if name == "ewma" else _interval(number(table, **where, metric="gain_vs_ewma")),
                "" if name == "har" else _interval(number(table, **where, metric="gain_vs_har")),
                "" if name == "har" else f"{tests[name].statistic:.1f} ({_p(adjusted[name])})",
                _p(best[name]),
                f"{rmse['rmse_ratio_to_ewma']:.3f}",
                f"{regression.intercept:.2f}, {regression.slope:.2f}",
            )
        )
    header = (
        "model",
        "QLIKE",
        "saved against EWMA",
        "saved against HAR",
        "Diebold-Mariano against HAR (p)",
        "p of being among the best",
        "RMSE / EWMA's",
        "Mincer-Zarnowitz",
    )
    return f"""{_markdown(header, rows)}

QLIKE is Patton's loss on variances; lower is better. p-values against HAR hold for all models together (Holm); those of
being among the best are of the model confidence set. Mincer-Zarnowitz: intercept (0 is right, in units of the mean
variance) and slope (1 is right) of outcomes on forecasts.

![QLIKE saved against EWMA, overall, by regime and by year](images/results-volatility.png)

QLIKE saved against EWMA(0.94), by regime of the market and by year:

{_by_group(table, target, "gain_vs_ewma", list(losses), ("regime", "year"))}"""


def _intervals(table: pd.DataFrame) -> str:
    text = []
    for target, unit in ((RETURN, "return, around its historical mean"), (VOLATILITY, "volatility")):
        own = table.loc[(table["target"] == target.name) & table["metric"].str.startswith("coverage")]
        rows = []
        for method in dict.fromkeys(own["model"]):
            for level in LEVELS:
                name = f"{level * 100:.0f}"
                where = {"target": target.name, "model": str(method), "grouping": "all"}
                covered = number(table, **where, metric=f"coverage_{name}")
                parts = own.loc[(own["model"] == method) & (own["metric"] == f"coverage_{name}")]
                rows.append(
                    (
                        str(method),
                        f"{name} %",
                        _interval(covered),
                        *(_range(parts.loc[parts["grouping"] == grouping, "value"]) for grouping in ("year", "symbol")),
                        *(f"{100 * v:.1f}" for v in _regimes(parts)),
                        f"{100 * number(table, **where, metric=f'width_{name}')['value']:.2f}",
                        f"{100 * number(table, **where, metric=f'interval_score_{name}')['value']:.2f}",
                    )
                )
        header = ("method", "level", "covers, %", "years", "symbols", *REGIMES, "width, %", "interval score, %")
        text.append(f"Of the {unit}, {INTERVALS_FROM} to {own.loc[own['grouping'] == 'year', 'group'].max()}:")
        text.append(_markdown(header, rows))
    text.append(
        f"""*split* is calibrated once a year on all forecasts before it; *adaptive* learns from each outcome on the
day that it becomes known. *scaled*: in units of the volatility forecast ({SCALE}). Unscaled intervals are too wide for
quiet stocks and too narrow for wild ones, which the mean over all hides. *years*, *symbols*: lowest and highest.

![Coverage by year, symbol and regime](images/results-intervals.png)"""
    )
    return "\n\n".join(text)


def _returns(frame: pd.DataFrame, table: pd.DataFrame) -> str:
    target = RETURN
    losses = _losses(frame, target, table)
    ts, outcome = frame["ts"].to_numpy("datetime64[us]"), frame["outcome"].to_numpy()
    mean = frame[MEAN].to_numpy()
    learned = [name for name in losses if name not in {MEAN, "zero"}]
    tests = {name: clark_west(outcome, mean, frame[name].to_numpy(), ts, target.horizon) for name in learned}
    adjusted = holm({name: test.p_value for name, test in tests.items()})
    luck = superior_predictive_ability({name: losses[name] for name in learned}, losses[MEAN], ts, seed=SEED)
    portfolios = {name: long_short(frame, name, target.horizon) for name in learned}
    portfolios = {name: earned for name, earned in portfolios.items() if earned.any()}
    trials = [sharpe_ratio(earned) for earned in portfolios.values()]
    rows = []
    for name in sorted(losses, key=lambda name: float(np.mean(losses[name]))):
        scores = return_metrics(outcome, frame[name].to_numpy(), mean)
        order = rank_ic(outcome, frame[name].to_numpy(), ts, target.horizon)
        where = {"target": target.name, "model": name, "grouping": "all"}
        rows.append(
            (
                name,
                f"{100 * scores['rmse']:.3f}",
                f"{100 * scores['mae']:.3f}",
                f"{scores['rmse_ratio_to_mean']:.4f}",
                "" if name == MEAN else _interval(number(table, **where, metric=f"gain_vs_{MEAN}"), 2),
                _p(adjusted[name]) if name in adjusted else "",
                _interval(number(table, **where, metric="directional_accuracy")),
                f"{order.mean:.3f} ({order.t:.1f})" if order else "",
                f"{sharpe_ratio(portfolios[name]) * (252 / target.horizon) ** 0.5:.2f} "
                f"({deflated_sharpe_ratio(portfolios[name], trials):.0%})"
                if name in portfolios
                else "",
            )
        )
    header = (
        "model",
        "RMSE, %",
        "MAE, %",
        "RMSE / mean's",
        "R2 against the mean, %",
        "Clark-West p",
        "direction right, %",
        "rank IC (t)",
        "Sharpe (deflated)",
    )
    best = min(learned, key=lambda name: float(np.mean(losses[name])))
    classes = direction_report(outcome, frame[best].to_numpy(), frame["naive_volatility"].to_numpy())
    lines = [
        (name, *(f"{scores[score]:.2f}" for score in ("precision", "recall", "f1")), f"{scores['support']:,.0f}")
        for name, scores in classes.items()
    ]
    return f"""{_markdown(header, rows)}

- *Direction*: "always up" is right in {100 * np.mean(outcome > 0):.1f} % of cases; only what is above that counts.
- *Clark-West*: whether a model adds to the historical mean; p-values that hold for all models together (Holm). That the
  best of these {len(learned)} beats the mean in squared error: p = {_p(luck)} (Hansen, superior predictive ability).
- *Sharpe*: of a year, before costs, of holding the better half of the stocks against the other one, five sessions each;
  in brackets the probability that it is more than the luckiest of {len(portfolios)} worthless ones would show.

![R2 against the historical mean, overall, by regime and by year](images/results-returns.png)

Up, flat and down (flat: within {FLAT:.0%} of the expected volatility) by {best}, the best of those that learn:

{_markdown(("class", "precision", "recall", "F1", "outcomes"), lines)}"""


def _tried(facts: Facts) -> str:
    return f"""**{facts.tried}** configurations have been scored on these years ([results.csv](results.csv): target,
model, window and seed, and a hash of parameters and code); each later run adds what is new.

{CHOSEN}"""


def _losses(frame: pd.DataFrame, target: Target, table: pd.DataFrame) -> dict[str, FloatArray]:
    names = table.loc[(table["target"] == target.name) & table["metric"].isin(("mse", "qlike")), "model"].unique()
    return {name: loss(target, frame["outcome"].to_numpy(), frame[name].to_numpy()) for name in names}


def _by_group(table: pd.DataFrame, target: Target, metric: str, models: Sequence[str], groupings: Iterable[str]) -> str:
    rows = table.loc[(table["target"] == target.name) & (table["metric"] == metric) & table["model"].isin(models)]
    shown = [name for name in models if name in set(rows["model"])]
    lines = []
    for grouping in groupings:
        own = rows.loc[rows["grouping"] == grouping]
        wide = own.pivot_table(index="group", columns="model", values="value")
        lines += [(str(group), *(f"{100 * wide.loc[group, name]:.1f} %" for name in shown)) for group in wide.index]
    return _markdown(("", *shown), lines)


def _regimes(parts: pd.DataFrame) -> list[float]:
    by_regime = parts.loc[parts["grouping"] == "regime"].set_index("group")["value"]
    return [float(by_regime[name]) for name in REGIMES]


def _range(values: pd.Series) -> str:
    return f"{100 * values.min():.1f} to {100 * values.max():.1f}"


def _interval(row: Mapping[str, float] | pd.Series, digits: int = 1) -> str:
    value, lower, upper = (f"{100 * row[name]:.{digits}f}" for name in ("value", "lower", "upper"))
    return f"{value} [{lower}, {upper}]"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _reached(truth: bool) -> str:
    return "reached" if truth else "**missed**"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
