"""`make evaluate`: the whole walk-forward on the lake's features; writes docs/results.md and `models/evaluation`."""

import argparse
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from lake.settings import get_settings
from lake.store import Lake
from ml.evaluation import plots, report
from ml.evaluation.results import DAILY, FEATURES, WALK_FORWARD, replace
from ml.evaluation.scores import forecast_scores, interval_scores
from ml.evaluation.study import MEAN, RETURN, VOLATILITY, Study, configurations, forecaster, study, with_intervals
from ml.intervals import LEVELS
from ml.walk_forward import Store, identity

DOCS = Path(__file__).parents[2] / "docs"


def main() -> int:
    """Run the study, or what of it is not stored yet, and write its results."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluation", description=__doc__)
    parser.add_argument("--full", action="store_true", help="rolling windows and networks of other seeds, too")
    parser.add_argument("--version", type=int, help=f"version of {FEATURES} to read; default: the newest")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder to write results.md into")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ml").setLevel(logging.INFO)
    settings = get_settings()
    lake = Lake.from_settings(settings)
    version = lake.version(FEATURES) if options.version is None else options.version
    if version is None:
        print(f"evaluate: {lake.uri} has no {FEATURES} yet; `make run` builds it", file=sys.stderr)
        return 1
    store = Store(settings.home / "walk_forward")
    done = study(stock_features(lake, version), store, full=options.full)
    table = scored(done)
    replace(lake, WALK_FORWARD, table, version, datetime.now(UTC))
    facts = report.Facts(version, tried(options.docs / "results.csv", options.full), options.full)
    (options.docs / "results.md").write_text(report.page(done, table, facts))
    for name, picture in {
        "volatility": plots.gains(table, VOLATILITY.name, "ewma"),
        "intervals": plots.coverage(table, RETURN.name, report.ADAPTIVE),
        "returns": plots.gains(table, RETURN.name, MEAN),
    }.items():
        (options.docs / "images" / f"results-{name}.png").write_bytes(picture)
    print(f"{options.docs / 'results.md'} is written")
    return 0


def stock_features(lake: Lake, version: int) -> pd.DataFrame:
    """Daily features of the stocks that skfolio ships: the longest embedded series, of one kind."""
    instruments = lake.read("raw/instruments", ["symbol", "asset_class", "source"]).to_pandas()
    stocks = instruments.query("source == 'skfolio' and asset_class == 'equity'")["symbol"].tolist()
    return lake.read(FEATURES, filters=DAILY & pc.field("symbol").isin(stocks), version=version).to_pandas()


def scored(done: Study) -> pd.DataFrame:
    """Rows of `models/evaluation` of a study."""
    returns, volatilities = done.returns.loc[with_intervals(done.returns)], done.volatilities
    names = {t.name: [c.name for c in configurations(t, done.full)] for t in (RETURN, VOLATILITY)}
    return pd.concat(
        [
            forecast_scores(done.volatilities, VOLATILITY, names[VOLATILITY.name], ("ewma", "har")),
            forecast_scores(done.returns, RETURN, names[RETURN.name], ("zero", MEAN)),
            interval_scores(returns, RETURN, done.return_bounds, LEVELS),
            interval_scores(volatilities.loc[with_intervals(volatilities)], VOLATILITY, done.volatility_bounds, LEVELS),
        ],
        ignore_index=True,
    )


def tried(ledger: Path, full: bool) -> int:
    """Enter the configurations that were just scored into the ledger, if they are new; how many it has."""
    known = pd.read_csv(ledger) if ledger.exists() else pd.DataFrame(columns=["target", "configuration", "digest"])
    now = [
        (target.name, configuration.name, identity(forecaster(target, configuration))[:12])
        for target in (VOLATILITY, RETURN)
        for configuration in configurations(target, full)
    ]
    entered = pd.concat([known, pd.DataFrame(now, columns=known.columns)]).drop_duplicates()
    entered.to_csv(ledger, index=False, lineterminator="\n")
    return len(entered)


if __name__ == "__main__":
    sys.exit(main())
