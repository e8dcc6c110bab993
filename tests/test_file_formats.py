"""Vendors' files: each is recognised by its header and read like the same bars in the lake's own form."""

import io
from pathlib import Path

import pandas as pd
import pytest

from lake.landing import Landing, ingest_file
from lake.settings import Settings
from lake.sources.files import FileBars, UnreadableFileError, read_bars, read_cells
from lake.sources.files.mapping import FileMapping, find_mapping
from lake.store import Lake
from tests.test_landing import drop

KLINE_MS = (
    "1704067200000,42283.58,44184.1,42180.77,44179.55,27174.3,1704153599999,1169995682.2,1104954,13965.3,6013.8,0\n"
)
KLINE_US = "1735689600000000,93576,93610.93,93537.5,93610.93,8.21827,1735689659999999,768978.56,1631,3.95,369757.3,0\n"
METATRADER = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
INVESTING = '"Date","Price","Open","High","Low","Vol.","Change %"\n'


def read(name: str, text: str, mapping: FileMapping | None = None) -> FileBars:
    return read_bars(*read_cells(io.BytesIO(text.encode()), name, mapping), mapping)


def first(name: str, text: str, mapping: FileMapping | None = None) -> tuple[object, ...]:
    found = read(name, text, mapping)
    assert found.unreadable.isna().all()
    row = found.bars.iloc[0]
    return (row["symbol"], row["interval"], f"{row['ts']:%Y-%m-%d %H:%M}", row["open"], row["close"], row["volume"])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "AAPL.csv",  # Yahoo
            "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-02,187.15,188.44,183.89,185.64,184.94,82488700\n",
            ("AAPL", "1d", "2024-01-02 00:00", 187.15, 185.64, 82488700),
        ),
        (
            "AAPL.csv",  # yfinance
            "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n2024-01-02 00:00:00-05:00,1,2,1,2,5,0,0\n",
            ("AAPL", "1d", "2024-01-02 00:00", 1, 2, 5),
        ),
        (
            "aapl_us_d.csv",  # Stooq
            "Date,Open,High,Low,Close,Volume\n2024-01-02,187.15,188.44,183.89,185.64,82488700\n",
            ("AAPL", "1d", "2024-01-02 00:00", 187.15, 185.64, 82488700),
        ),
        (
            "sap_de_d (1).csv",
            "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen\n2024-01-02,1,2,1,2,5\n",
            ("SAP_DE_D", "1d", "2024-01-02 00:00", 1, 2, 5),
        ),
        (
            "daily_IBM.csv",  # Alpha Vantage
            "timestamp,open,high,low,close,volume\n2024-01-02,1,2,1,2,5\n",
            ("IBM", "1d", "2024-01-02 00:00", 1, 2, 5),
        ),
        (
            "intraday_1min_IBM.csv",
            "timestamp,open,high,low,close,volume\n2024-07-02 09:30:00,1,2,1,2,5\n",
            ("IBM", "1m", "2024-07-02 13:30", 1, 2, 5),
        ),
        ("BTCUSDT-1d-2024-01.csv", KLINE_MS, ("BTCUSDT", "1d", "2024-01-01 00:00", 42283.58, 44179.55, 27174.3)),
        ("BTCUSDT.csv", KLINE_US, ("BTCUSDT", "1m", "2025-01-01 00:00", 93576, 93610.93, 8.21827)),
        (
            "EURUSD_Daily_202401020000_202401030000.csv",  # MetaTrader 5
            METATRADER.replace("<TIME>\t", "") + "2024.01.02\t1.1\t1.2\t1\t1.15\t45\t0\t3\n",
            ("EURUSD", "1d", "2024-01-02 00:00", 1.1, 1.15, 0),
        ),
        (
            "EURUSD1440.csv",  # MetaTrader 4
            "2024.01.02,00:00,1.1,1.2,1.0,1.15,123\n",
            ("EURUSD", "1d", "2024-01-02 00:00", 1.1, 1.15, 123),
        ),
        (
            "SPX Historical Data.csv",  # Investing.com
            "\ufeff" + INVESTING + '"01/16/2024","4,765.98","4,772.35","4,782.34","4,747.12","1.5B","-0.37%"\n',
            ("SPX", "1d", "2024-01-16 00:00", 4772.35, 4765.98, 1.5e9),
        ),
        (
            "AAPL.csv",  # Nasdaq
            "Date,Close/Last,Volume,Open,High,Low\n01/02/2024,$185.64,82488670,$187.15,$188.44,$183.885\n",
            ("AAPL", "1d", "2024-01-02 00:00", 187.15, 185.64, 82488670),
        ),
        (
            "BMW.csv",
            "Datum;Erster;Hoch;Tief;Schlusskurs;Stuecke;Volumen\n02.01.2024;1.100,50;1.101;1.099;1.100,1;1.234;9,5\n",
            ("BMW", "1d", "2024-01-02 00:00", 1100.5, 1100.1, 1234),
        ),
        (
            "ALICORC1.csv",
            "Fecha;Apertura;Máximo;Mínimo;Cierre;Volumen\n31/01/2024;6,5;6,6;6,4;6,55;1.000\n",
            ("ALICORC1", "1d", "2024-01-31 00:00", 6.5, 6.55, 1000),
        ),
    ],
)
def test_a_vendors_file_is_recognised(name: str, text: str, expected: tuple[object, ...]) -> None:
    assert first(name, text) == expected


def test_the_names_of_pairs_say_class_and_currency() -> None:
    binance = read("BTCUSDT-1d-2024-01.csv", KLINE_MS).bars.iloc[0]
    assert (binance["asset_class"], binance["currency"]) == ("crypto", "USDT")
    forex = read("USDJPY1440.csv", "2024.01.02,00:00,141,142,140,141.5,123\n").bars.iloc[0]
    assert (forex["asset_class"], forex["currency"]) == ("fx", "JPY")


def test_columns_that_many_have_are_not_taken_for_new_yorks() -> None:
    text = "timestamp,open,high,low,close,volume\n2024-07-02 09:30:00,1,2,1,2,5\n2024-07-02 09:31:00,1,2,1,2,5\n"
    assert first("BTC.csv", text) == ("BTC", "1m", "2024-07-02 09:30", 1, 2, 5)


def test_metatraders_clock_is_read_in_the_zone_that_the_mapping_says() -> None:
    text = METATRADER + "2024.01.02\t10:00:00\t1\t1\t1\t1\t9\t0\t3\n"
    expected = ("EURUSD", "1m", "2024-01-02 08:00", 1, 1, 0)
    assert first("EURUSD_M1.csv", text, FileMapping(timezone="Europe/Athens")) == expected


@pytest.mark.parametrize(
    ("step", "interval"), [("1min", "1m"), ("60min", "1h"), ("5min", "5m"), ("1D", "1d"), ("7D", "1w")]
)
def test_the_interval_follows_from_the_distance_of_the_bars(step: str, interval: str) -> None:
    stamps = pd.date_range("2024-01-02", periods=6, freq=step)
    found = read("NEWCO.csv", "\n".join(["ts,close", *(f"{stamp},10" for stamp in stamps)]))
    assert set(found.bars["interval"]) == {interval}


def test_sessions_of_several_zones_are_days(lake: Lake) -> None:
    lines = [f"2024-01-0{day} 00:00:00{zone},{day}" for day in (2, 3, 4) for zone in ("-05:00", "+09:00")]
    found = read("NEWCO.csv", "\n".join(["ts,close", *lines]))
    assert set(found.bars["interval"]) == {"1d"}
    assert found.bars["ts"].dt.day.tolist() == [2, 2, 3, 3, 4, 4]


def test_a_mapping_says_what_a_file_does_not(tmp_path: Path, lake: Lake) -> None:
    (tmp_path / "fund.mapping.yaml").write_text(
        "columns: {ts: Valuation, close: NAV, volume: null}\nsymbol: myfund\ncurrency: eur\ndates: DMY\n"
    )
    (tmp_path / "fund.csv").write_text("Valuation,NAV,Volume\n03/04/2024,10.5,none at all\n")
    assert ingest_file(lake, tmp_path / "fund.csv").accepted == 1
    (bar,) = lake.read("raw/bars").to_pylist()
    assert (bar["symbol"], f"{bar['ts']:%Y-%m-%d}", bar["currency"]) == ("MYFUND", "2024-04-03", "EUR")


def test_a_mapping_in_the_landing_folder_is_about_the_files_that_it_names(settings: Settings, lake: Lake) -> None:
    drop(settings, "vendor.mapping.yaml", 'files: "vendor_*.csv"\ndates: MDY\n')
    drop(settings, "vendor_NEWCO.csv", "symbol,date,close\nNEWCO,03/04/2024,10\n")
    drop(settings, "OTHER.csv", "date,close\n03/04/2024,10\n")
    assert sorted(batch.accepted for batch in Landing(settings).ingest(lake)) == [0, 1]
    assert f"{lake.read('raw/bars')['ts'][0].as_py():%Y-%m-%d}" == "2024-03-04"
    assert (Path(settings.landing_uri) / "vendor.mapping.yaml").exists()
    assert "OTHER.mapping.yaml" in lake.read("raw/rejects")["reason"][0].as_py()


def test_two_mappings_for_a_file_are_refused_and_its_own_comes_first() -> None:
    mappings = {"a.mapping.yaml": "files: x*\ndates: DMY", "b.mapping.yaml": "files: [xy.csv]\ndates: MDY"}
    with pytest.raises(UnreadableFileError, match=r"both a\.mapping\.yaml and b\.mapping\.yaml name it"):
        find_mapping("xy.csv", mappings)
    own = find_mapping("xy.csv", {**mappings, "xy.mapping.yaml": "dates: YMD"})
    assert own is not None
    assert own.dates == "YMD"
    assert find_mapping("other.csv", mappings) is None


def test_how_a_file_was_read_is_kept_with_its_batch(tmp_path: Path, lake: Lake) -> None:
    (tmp_path / "NEWCO.csv").write_text("date;close\n13/01/2024;10,5\n")
    batch = ingest_file(lake, tmp_path / "NEWCO.csv")
    (kept,) = lake.read("raw/readings").to_pylist()
    assert (kept["batch_id"], kept["origin"]) == (batch.batch_id, "NEWCO.csv")
    assert '"dates": "DMY", "decimal": ","' in kept["reading"]


def test_a_file_beyond_the_limit_is_refused_without_reading_it_whole(tmp_path: Path, lake: Lake) -> None:
    with (tmp_path / "NEWCO.csv").open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: 10 GiB of zeros
    with pytest.raises(UnreadableFileError, match="more than 256 MiB; split it"):
        ingest_file(lake, tmp_path / "NEWCO.csv")
