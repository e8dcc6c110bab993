"""Segments: symbols that move together are together, and keep their segment's name from year to year."""

import numpy as np
import pandas as pd

from ml.segments import match, segments

BANKS, OIL = [f"B{i}" for i in range(5)], [f"O{i}" for i in range(5)]


def market(first: int, years: int, groups: list[list[str]], seed: int = 0) -> pd.DataFrame:
    """Symbols that follow the factor of their group."""
    rng = np.random.default_rng(seed)
    ts = pd.bdate_range(f"{first}-01-01", f"{first + years - 1}-12-31", tz="UTC")
    market, parts = rng.standard_normal(len(ts)), []
    for group in groups:
        factor = rng.standard_normal(len(ts))
        for symbol in group:
            own = rng.standard_normal(len(ts))
            parts.append(pd.DataFrame({"symbol": symbol, "ts": ts, "scaled_return_1": 2 * market + factor + 0.5 * own}))
    return pd.concat(parts).assign(asset_class="equity").sample(frac=1, random_state=seed)


def test_symbols_with_the_same_factor_share_a_segment_that_keeps_its_label() -> None:
    found = segments(market(2015, 4, [BANKS, OIL]))
    assert found["year"].unique().tolist() == [2015, 2016, 2017, 2018]
    assert found.groupby("year")["segment"].nunique().tolist() == [2, 2, 2, 2]
    by_symbol = found.pivot(index="symbol", columns="year", values="segment")
    assert (by_symbol.nunique(axis=1) == 1).all()
    assert by_symbol.loc[BANKS].nunique().max() == by_symbol.loc[OIL].nunique().max() == 1
    assert (found["silhouette"] > 0.3).all()


def test_a_year_depends_on_no_later_one() -> None:
    both = pd.concat([market(2015, 2, [BANKS, OIL]), market(2017, 1, [BANKS[:2] + OIL, BANKS[2:]], seed=1)])
    found = segments(both)
    pd.testing.assert_frame_equal(found[found["year"] < 2017], segments(both[both["ts"].dt.year < 2017]))


def test_labels_follow_the_most_members_and_a_new_segment_has_a_new_one() -> None:
    before = pd.Series({"a": 7, "b": 7, "c": 7, "d": 3, "e": 3})
    now = pd.Series({"a": 0, "b": 0, "c": 1, "d": 1, "e": 1, "x": 2, "y": 2})
    assert match(before, now, 9).to_dict() == {"a": 7, "b": 7, "c": 3, "d": 3, "e": 3, "x": 9, "y": 9}
    assert match(pd.Series(dtype=int), now, 0).tolist() == now.tolist()


def test_too_few_symbols_have_no_segments() -> None:
    assert segments(market(2015, 1, [BANKS])).empty
