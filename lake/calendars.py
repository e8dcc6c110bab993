"""Exchange calendars: the sessions that series are held against, and the series that lag behind them."""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from lake import duck
from lake.store import Lake
from lake.tables import RAW_SESSIONS

if TYPE_CHECKING:
    import pandas as pd
    from exchange_calendars import ExchangeCalendar
    from numpy.typing import NDArray

CRYPTO_CALENDAR, US_CALENDAR = "24/7", "XNYS"
DEFAULT_CALENDAR = f"""
    case
        when asset_class = 'crypto' then '{CRYPTO_CALENDAR}'
        when asset_class in ('equity', 'etf') and currency = 'USD' then '{US_CALENDAR}'
    end
"""
STALE_SESSIONS = 5
"""A series may lag so many closed sessions behind its calendar: a week, in which a feed is mended by hand."""


def write_sessions(lake: Lake) -> int:
    """Write the sessions of all calendars in use to `raw/sessions` if they changed; return the table's version.

    They reach from the year of the first known bar, or from as far back as the library knows the calendar, to the end
    of the present year.
    """
    lake.create("raw/sessions")
    this_year = datetime.now(UTC).year
    first_year = min((int(part["year"]) for part in lake.partitions("raw/bars")), default=this_year)
    instruments = lake.read("raw/instruments", ["calendar"]).column("calendar").to_pylist()
    calendars = sorted({*instruments, CRYPTO_CALENDAR, US_CALENDAR})
    sessions = pa.concat_tables([_sessions(calendar, first_year, this_year) for calendar in calendars])
    if not lake.read("raw/sessions").sort_by([("calendar", "ascending"), ("ts", "ascending")]).equals(sessions):
        return lake.replace("raw/sessions", sessions)
    version = lake.version("raw/sessions")
    assert version is not None
    return version


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Define the SQL function `default_calendar(asset_class, currency)`: calendar of a series without an instrument.

    Crypto trades always, stocks and funds in US dollars are taken for listed in New York; of all else nothing is
    expected (null).
    """
    connection.execute(f"create or replace macro default_calendar(asset_class, currency) as {DEFAULT_CALENDAR}")


def stale_series(lake: Lake, now: datetime | None = None) -> list[dict[str, Any]]:
    """Series that lag more than `STALE_SESSIONS` closed sessions behind, and instruments without any bar.

    A source that ends (`raw/instruments.ends_at`) is held against its end. A file that was that old when it came is
    history, of which nothing more is expected.

    Parameters
    ----------
    now : default: the clock.

    Returns
    -------
    Rows with symbol, interval, source, newest and sessions_behind, longest first; the last three are None where there
    is no bar at all.
    """
    with duck.connect(lake) as connection:
        register(connection)
        found = connection.execute(
            f"""
            with delivered as (
                select
                    symbol, interval, source, max(ts) as newest, max_by(ingested_at, ts) as came_at,
                    default_calendar(any_value(asset_class), any_value(currency)) as default_calendar
                from raw.bars group by all
            ),

            series as (
                select
                    delivered.* exclude (default_calendar),
                    coalesce(instruments.calendar, default_calendar) as calendar,
                    case when delivered.source = instruments.source then ends_at end as ends_at
                from delivered left join raw.instruments using (symbol)
                where delivered.source in (coalesce(instruments.source, 'file'), 'file')
                    or list_contains(string_split(fallbacks, ','), delivered.source)
                qualify row_number() over (partition by symbol, interval order by newest desc) = 1
            ),

            lagging as (
                select
                    symbol, interval, source, newest,
                    count(*) as sessions_behind,
                    count(*) filter (closes_at <= came_at) as sessions_behind_when_it_came
                from series join raw.sessions using (calendar)
                where sessions.ts > newest and sessions.ts <= coalesce(ends_at, $now) and closes_at <= $now
                group by all
            )

            select symbol, interval, source, newest, sessions_behind
            from lagging
            where sessions_behind > {STALE_SESSIONS}
                and not (source = 'file' and sessions_behind_when_it_came > {STALE_SESSIONS})
            union all by name
            select symbol, '1d' as interval from raw.instruments anti join series using (symbol)
            order by sessions_behind desc nulls first, symbol, interval
            """,
            {"now": now or datetime.now(UTC)},
        )
        return found.to_arrow_table().to_pylist()


def session_closes(calendar: str, first: date, last: date) -> "pd.Series":
    """When the sessions from `first` to `last` close, by session; empty where there are none."""
    known = _calendar(calendar, date(first.year - 1, 1, 1), date(last.year, 12, 31))  # it must hold a session
    return known.closes.truncate(str(first), str(last))


def _calendar(calendar: str, first: date, last: date) -> "ExchangeCalendar":
    """A calendar from `first`, or from as far back as the library knows it, to `last`."""
    import exchange_calendars as xc
    import pandas as pd

    kind = type(xc.get_calendar(calendar))
    start, end = pd.Timestamp(first), pd.Timestamp(last)
    return xc.get_calendar(calendar, start=max(start, kind.bound_min() or start), end=min(end, kind.bound_max() or end))


def _sessions(calendar: str, first_year: int, last_year: int) -> pa.Table:
    import pandas as pd

    known = _calendar(calendar, date(first_year - 1, 1, 1), date(last_year, 12, 31))
    schedule = known.schedule.truncate(str(first_year))
    closed, scheduled = _holidays(known)
    frame = pd.DataFrame(
        {
            "calendar": calendar,
            "ts": schedule.index.tz_localize("UTC"),
            "opens_at": schedule["open"],
            "closes_at": schedule["close"],
            "break_starts_at": schedule["break_start"],
            "break_ends_at": schedule["break_end"],
            "early_close": schedule.index.isin(known.early_closes),
            "timezone": str(known.tz),
            "previous_holiday": _at(closed, closed.searchsorted(schedule.index) - 1),
            "next_holiday": _at(scheduled, scheduled.searchsorted(schedule.index)),
        }
    )
    return pa.Table.from_pandas(frame, preserve_index=False).cast(RAW_SESSIONS.schema)


def _holidays(known: "ExchangeCalendar") -> tuple["pd.DatetimeIndex", "pd.DatetimeIndex"]:
    """Days of the week without a session: those that there were, and those that follow from the exchange's rules.

    The rules reach a year further, and know of no day of mourning and no storm. Of some calendars the library has a
    list instead of rules; then all of it counts as known in advance.
    """
    import pandas as pd

    first, last = known.first_session, known.last_session
    closed = pd.bdate_range(first, last, freq="C", weekmask=known.weekmask).difference(known.sessions)
    if known.regular_holidays is None:
        return closed, closed
    ahead = pd.bdate_range(first, last + pd.DateOffset(years=1), freq="C", weekmask=known.weekmask)
    ruled = ahead.intersection(known.regular_holidays.holidays(ahead[0], ahead[-1])).difference(known.sessions)
    return closed, ruled


def _at(days: "pd.DatetimeIndex", positions: "NDArray[np.intp]") -> "pd.DatetimeIndex":
    """The days at some positions; none where there is no such position."""
    import pandas as pd

    padded = days.append(pd.DatetimeIndex([pd.NaT]))
    return pd.DatetimeIndex(padded.take(np.where(positions < 0, len(days), positions)), tz="UTC")
