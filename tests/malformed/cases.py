"""The corpus: malformed files and near misses, each with how many rows are accepted, which rules reject the others.

Text is written as UTF-8; `rules` are those of the rejected rows in the order of the file, `words` are in the reasons or
in the refusal. A case without counts is a file that is refused as a whole.
"""

import gzip
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from lake.sources.files.cells import MAX_BYTES, MAX_COLUMNS, MAX_ROWS


@dataclass(frozen=True)
class Case:
    """`accepted` is None where the file is refused as a whole; `closes` are those accepted, by time."""

    name: str
    filename: str
    content: bytes
    accepted: int | None
    rules: tuple[str, ...]
    words: str
    closes: tuple[float, ...]
    mapping: str


def _case(
    name: str,
    content: str | bytes,
    accepted: int | None = None,
    *rules: str,
    words: str = "",
    closes: Sequence[float] = (),
    filename: str = "NEWCO.csv",
    mapping: str = "",
) -> Case:
    raw = content.encode() if isinstance(content, str) else content
    return Case(name, filename, raw, accepted, rules, words, tuple(closes), mapping)


def _rows(*lines: str, header: str = "date,close") -> str:
    return "\n".join((header, *lines)) + "\n"


def _bars(*rows: str) -> str:
    return _rows(*rows, header="date,open,high,low,close,volume")


def _parquet(**columns: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def _zip(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _bomb() -> bytes:
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as archive:
        for _ in range(MAX_BYTES // 2**20 + 1):
            archive.write(b"0" * 2**20)
    return file.getvalue()


def _long_texts() -> bytes:
    """A small Parquet file whose one text, repeated, would fill more than `MAX_BYTES`."""
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 40_000, pa.int32()), pa.array(["x" * 10_000]))
    return _parquet(date=words, close=pa.array([1.0] * 40_000))


GOOD = _rows("2024-01-02,10", "2024-01-03,11")
UTF16 = GOOD.encode("utf-16")
DAYS = [date(2024, 1, 2), date(2024, 1, 3)]
PARQUET = _parquet(date=pa.array(DAYS), close=pa.array([10.0, 11.0]))
NEW_YORK = [
    datetime(2024, 3, 8, tzinfo=ZoneInfo("America/New_York")),
    datetime(2024, 3, 11, tzinfo=ZoneInfo("America/New_York")),
]
NUMBERS_IN_GERMAN = "Datum;Erster;Hoch;Tief;Schlusskurs;Stuecke\n02.01.2024;1.100,50;1.101,5;1.099,5;1.100,1;1.234\n"

ENCODINGS = [
    _case("utf-8 with a byte order mark", b"\xef\xbb\xbf" + GOOD.encode(), 2, closes=(10, 11)),
    _case("utf-16 with a byte order mark", UTF16, 2, closes=(10, 11)),
    _case("utf-16 big endian with a mark", b"\xfe\xff" + GOOD.encode("utf-16-be"), 2, closes=(10, 11)),
    _case("utf-16 without a mark", GOOD.encode("utf-16-le"), 2, closes=(10, 11)),
    _case("utf-16 big endian without a mark", GOOD.encode("utf-16-be"), 2, closes=(10, 11)),
    _case("utf-32", GOOD.encode("utf-32"), 2, closes=(10, 11)),
    _case("utf-16 cut in the middle of a character", UTF16[:-1], words="not a readable csv"),
    _case("latin-1 names", "Datum;Er\xf6ffnung;Schlu\xdf\n02.01.2024;9,5;10,5\n".encode("latin-1"), 1, closes=(10.5,)),
    _case(
        "latin-1 cells", _rows("2024-01-02,Z\xfcrich,10", header="date,place,close").encode("latin-1"), 1, closes=(10,)
    ),
    _case("bytes that no encoding explains", b"date,close\n2024-01-02,\x81\x8d\n", 0, "unreadable"),
    _case(
        "an encoding that only the mapping knows",
        "дата,close\n2024-01-02,10\n".encode("cp1251"),
        1,
        closes=(10,),
        mapping="encoding: cp1251\ncolumns: {ts: дата}",
    ),
    _case("a NUL in a row", "date,close\n2024-01-02,10\n2024-01-03,1\0\n", 1, "unreadable", words="NUL"),
    _case("a tail of NULs, half-written", b"date,close\n2024-01-02,10\n" + b"\0" * 500, 1, "unreadable", words="NUL"),
]

LINES = [
    _case("windows line ends", GOOD.replace("\n", "\r\n"), 2, closes=(10, 11)),
    _case("old mac line ends", GOOD.replace("\n", "\r"), 2, closes=(10, 11)),
    _case(
        "mixed line ends and blank lines", "date,close\r\n\n2024-01-02,10\r\r\n  \n2024-01-03,11", 2, closes=(10, 11)
    ),
    _case("tabs", GOOD.replace(",", "\t"), 2, closes=(10, 11), filename="NEWCO.tsv"),
    _case("semicolons", GOOD.replace(",", ";"), 2, closes=(10, 11)),
    _case("bars", GOOD.replace(",", "|"), 2, closes=(10, 11)),
    _case("Excel's hint of its separator", "sep=;\n" + GOOD.replace(",", ";"), 2, closes=(10, 11)),
    _case(
        "a separator that only the mapping knows", GOOD.replace(",", "~"), 2, closes=(10, 11), mapping="separator: '~'"
    ),
    _case("one separator more at the end of rows", _rows("2024-01-02,10,", "2024-01-03,11,"), 2, closes=(10, 11)),
    _case("rows of separators alone, from Excel", _rows("2024-01-02,10", ",", ","), 1, closes=(10,)),
    _case(
        "too few cells",
        _rows("2024-01-02,10,5", "2024-01-03", header="date,close,volume"),
        1,
        "unreadable",
        words="1 cells where 3",
    ),
    _case("too many cells", _rows("2024-01-02,10,5", "2024-01-03,11"), 1, "unreadable", words="3 cells where 2"),
    _case(
        "numbers with decimal commas in a comma file",
        _rows("2024-01-02,10,5", "2024-01-03,11,5"),
        0,
        "unreadable",
        "unreadable",
        words="3 cells where 2",
    ),
    _case(
        "a quote that never closes",
        _rows('2024-01-02,"10', "2024-01-03,11"),
        1,
        "unreadable",
        words="quotes",
        closes=(11,),
    ),
    _case(
        "a quote inside a cell",
        _rows('2024-01-02,"1"0', "2024-01-03,11"),
        1,
        "unreadable",
        words="quotes",
        closes=(11,),
    ),
    _case(
        "two quotes that close each other",
        _rows('2024-01-02,"10', '2024-01-03,"11', "2024-01-04,12"),
        1,
        "unreadable",
        "unreadable",
        closes=(12,),
    ),
    _case("a quoted line break", _rows('2024-01-02,"New\nCo",10', header="date,name,close"), 1, closes=(10,)),
    _case("half-written: the last row is cut", _bars("2024-01-02,9,11,8,10,100", "2024-01-03,9,11"), 1, "unreadable"),
    _case(
        "a row longer than any reason",
        _rows("2024-01-02,10", "2024-01-03," + "9" * 50_000 + "x"),
        1,
        "unreadable",
        words="(50001 characters)",
    ),
]

SCHEMAS = [
    _case("empty", "", words="is empty"),
    _case("blank", "\n \n\n", words="is empty"),
    _case("a header and no rows", "date,close\n", words="no rows"),
    _case("no close", _rows("2024-01-02,1", header="date,open"), words="'close' is missing; found date, open"),
    _case("no column of dates", _rows("1,2", header="open,close"), words="'ts' is missing"),
    _case("no header", "2024-01-02,10\n2024-01-03,11\n", words="is missing; found 2024-01-02, 10"),
    _case(
        "no header, but the mapping names the columns",
        "2024-01-02,10\n2024-01-03,11\n",
        2,
        closes=(10, 11),
        mapping="header: [date, close]",
    ),
    _case(
        "a mapping with another number of columns",
        "2024-01-02,10\n",
        words="3 columns are named",
        mapping="header: [date, open, close]",
    ),
    _case("a mapping with an unknown word", GOOD, words="decimals", mapping="decimals: ','"),
    _case("a mapping of a column that is not there", GOOD, words="'NAV' is missing", mapping="columns: {close: NAV}"),
    _case("a mapping that is no YAML", GOOD, words="mapping.yaml cannot be read", mapping="columns: {"),
    _case("a mapping with a zone that is a path", GOOD, words="not a time zone", mapping="timezone: ../../etc/passwd"),
    _case("a column twice", _rows("2024-01-02,10,99", header="date,close,close"), 1, closes=(10,)),
    _case("a column whose name is a sign", _rows("2024-01-02,10,99", header="date,close,%"), 1, closes=(10,)),
    _case("a column without a name", _rows("2024-01-02,10,99", header="date,close,"), 1, closes=(10,)),
    _case("HTML in place of data", "<!DOCTYPE html><html>429 Too Many Requests</html>", words="error page"),
    _case("JSON in place of data", '{"error": "limit"}', words="is JSON"),
    _case("an Excel workbook called csv", b"PK\x03\x04rest", words="Excel"),
    _case("an old Excel workbook called csv", b"\xd0\xcf\x11\xe0rest", words="Excel"),
    _case("a Parquet file called csv", PARQUET, words="name it .parquet"),
    _case("gzip called csv", gzip.compress(GOOD.encode()), words="name it .csv.gz"),
    _case("random bytes", bytes(range(256)) * 4, words="is missing"),
    _case("too many columns", ",".join(f"c{n}" for n in range(MAX_COLUMNS + 1)) + "\n1\n", words="columns, at most"),
    _case("too many rows", b"date,close\n" + b"2\n" * (MAX_ROWS + 1), words="rows; split it"),
    _case("one endless line", b"date" * 300_000, words="no rows"),
]

ARCHIVES = [
    _case("gzip", gzip.compress(GOOD.encode()), 2, closes=(10, 11), filename="NEWCO.csv.gz"),
    _case("gzip, half-written", gzip.compress(GOOD.encode())[:-9], words="not a readable gz", filename="NEWCO.csv.gz"),
    _case("text called gz", GOOD, words="not a readable gz", filename="NEWCO.csv.gz"),
    _case("a gzip bomb", _bomb(), words="split it", filename="NEWCO.csv.gz"),
    _case("zip", _zip(**{"NEWCO.csv": GOOD.encode()}), 2, closes=(10, 11), filename="NEWCO.zip"),
    _case(
        "zip whose member leads out of its folder",
        _zip(**{"../../etc/cron.d/x.csv": GOOD.encode()}),
        2,
        closes=(10, 11),
        filename="NEWCO.zip",
    ),
    _case("zip of two files", _zip(**{"a.csv": b"1", "b.csv": b"2"}), words="holds 2 files", filename="NEWCO.zip"),
    _case("zip of a zip", _zip(**{"a.zip": _zip(**{"a.csv": b"1"})}), words="expected one of", filename="NEWCO.zip"),
    _case(
        "zip, half-written", _zip(**{"a.csv": GOOD.encode()})[:-30], words="not a readable zip", filename="NEWCO.zip"
    ),
    _case("a zip bomb", _zip(**{"a.csv": b"0" * (MAX_BYTES + 1)}), words="split it", filename="NEWCO.zip"),
]

NUMBERS = [
    _case(
        "not a number", _rows("2024-01-02,ten", "2024-01-03,11"), 1, "unreadable", words="close 'ten' cannot be read"
    ),
    _case(
        "words for nothing",
        _rows("2024-01-02,null", "2024-01-03,NaN", "2024-01-04,-", "2024-01-05,N/A"),
        0,
        *["close_missing"] * 4,
    ),
    _case(
        "infinite",
        _rows("2024-01-02,inf", "2024-01-03,-Infinity", "2024-01-04,1e999"),
        0,
        "price_finite",
        "price_positive",
        "price_finite",
    ),
    _case("infinite volume", _rows("2024-01-02,10,inf", header="date,close,volume"), 0, "volume_finite"),
    _case(
        "negative and zero prices",
        _rows("2024-01-02,-10", "2024-01-03,0", "2024-01-04,+12"),
        1,
        "price_positive",
        "price_positive",
        closes=(12,),
    ),
    _case("negative volume", _rows("2024-01-02,10,-5", header="date,close,volume"), 0, "volume_not_negative"),
    _case("high below low", _bars("2024-01-02,10,8,11,10,1"), 0, "high_not_below_low"),
    _case("close above high", _bars("2024-01-02,10,11,8,12,1"), 0, "close_within_range"),
    _case(
        "other digits, underscores, hex",
        _rows("2024-01-02,١٢", "2024-01-03,1_0", "2024-01-04,0x10"),
        0,
        *["unreadable"] * 3,
    ),
    _case("thousands", _rows('2024-01-02,"1,234.50"', '2024-01-03,"1,250"'), 2, closes=(1234.5, 1250)),
    _case("thousands in the wrong places", _rows('2024-01-02,"12,34.5"', "2024-01-03,1240.5"), 1, "unreadable"),
    _case(
        "thousand or decimal comma?",
        _rows('2024-01-02,"1,234"', '2024-01-03,"1,250"'),
        words="1,234 is above a thousand",
    ),
    _case(
        "thousand or decimal comma, the mapping tells",
        _rows('2024-01-02,"1,234"', '2024-01-03,"1,250"'),
        2,
        closes=(1.234, 1.25),
        mapping="decimal: ','",
    ),
    _case("thousand or decimal point in a semicolon file?", "date;close\n2024-01-02;1.234\n", words="above a thousand"),
    _case("decimal commas", NUMBERS_IN_GERMAN, 1, closes=(1100.1,)),
    _case("a decimal point among commas", NUMBERS_IN_GERMAN + "03.01.2024;1.1;1.2;1.0;1.15;9\n", 1, "unreadable"),
    _case(
        "spaces and apostrophes between thousands",
        "date;close\n2024-01-02;1\xa0234,5\n2024-01-03;1'240,5\n",
        2,
        closes=(1234.5, 1240.5),
    ),
    _case("a percent sign in a price", _rows("2024-01-02,10%"), 0, "unreadable"),
    _case("a formula in a price", _rows("2024-01-02,=1+9", "2024-01-03,@SUM(A1)"), 0, "unreadable", "unreadable"),
]

TEXTS = [
    _case(
        "a formula as symbol", _rows("2024-01-02,=cmd|' /C calc'!A0,10", header="date,symbol,close"), 0, "symbol_form"
    ),
    _case(
        "formulas in other texts",
        _rows("2024-01-02,10,+USD,equity", "2024-01-03,10,USD,@x", header="date,close,currency,asset_class"),
        0,
        "unreadable",
        "unreadable",
        words="in the form of a currency",
    ),
    _case(
        "a path as symbol",
        _rows("2024-01-02,../../etc/passwd,10", "2024-01-03,..\\x,10", "2024-01-04,A/B,10", header="date,symbol,close"),
        0,
        *["symbol_form"] * 3,
    ),
    _case("a file name that is no symbol", GOOD, words="rename it to SYMBOL.csv", filename="..csv"),
    _case(
        "a file name that is no symbol, the mapping tells",
        GOOD,
        2,
        closes=(10, 11),
        filename="my prices.csv",
        mapping="symbol: newco",
    ),
    _case(
        "SQL as symbol", _rows("2024-01-02,x'; drop table bars; --,10", header="date,symbol,close"), 0, "symbol_form"
    ),
    _case("an empty symbol", _rows("2024-01-02,,10", header="date,symbol,close"), 0, "symbol_missing"),
    _case(
        "a symbol that looks like another",
        _rows("2024-01-02,\u0131BM,10", "2024-01-03,\u0391\u0391PL,10", header="date,symbol,close"),
        0,
        "symbol_form",
        "symbol_form",
    ),
    _case("a symbol with an end of line", _rows('2024-01-02,"A\nB",10', header="date,symbol,close"), 0, "symbol_form"),
    _case("a month called minute", _rows("2024-01-02,1M,10", header="date,interval,close"), 0, "interval_known"),
]

TIMES = [
    _case(
        "dates that are none",
        _rows(",10", "soon,10", "2024-13-45,10", "2024-02-30,10", "2024,10", "2024-01,10", "45293,10"),
        0,
        "ts_missing",
        *["unreadable"] * 6,
    ),
    _case(
        "far away",
        _rows("0001-01-01,10", "9999-12-31,10", "2150-01-01,10"),
        0,
        "unreadable",
        "unreadable",
        "ts_in_future",
    ),
    _case("day or month first?", _rows("03/04/2024,10", "05/06/2024,11"), words="may be day first or month first"),
    _case(
        "day or month first, the mapping tells",
        _rows("03/04/2024,10", "02/05/2024,11"),
        2,
        closes=(10, 11),
        mapping="dates: DMY",
    ),
    _case("day first, one date tells", _rows("03/04/2024,10", "13/04/2024,11"), 2, closes=(10, 11)),
    _case("month first, one date tells", _rows("03/04/2024,11", "02/13/2024,10"), 2, closes=(10, 11)),
    _case("day first and month first in one file", _rows("13/04/2024,10", "04/14/2024,11"), words="is month first"),
    _case("the same in both orders", _rows("05/05/2024,10"), 1, closes=(10,)),
    _case("two-digit years", _rows("02-01-24,10"), 0, "unreadable"),
    _case("two-digit years, the mapping tells", _rows("02-Jan-24,10"), 1, closes=(10,), mapping='dates: "%d-%b-%y"'),
    _case(
        "a day that the mapping's order does not have",
        _rows("13/04/2024,10", "04/14/2024,11"),
        1,
        "unreadable",
        closes=(10,),
        mapping="dates: DMY",
    ),
    _case("a daily bar at half past nine", _rows("2024-01-02 09:30,10"), 0, "ts_on_grid"),
    _case(
        "midnight in New York, winter and summer",
        _rows("2024-03-08 00:00:00-05:00,10", "2024-03-11 00:00:00-04:00,11"),
        2,
        closes=(10, 11),
    ),
    _case(
        "one session in two time zones",
        _rows("2024-01-02 00:00:00-05:00,10", "2024-01-02T00:00:00Z,11"),
        1,
        "duplicate_key",
        closes=(11,),
    ),
    _case("milliseconds and microseconds", _rows("1704153600000,10", "1704240000000000,11"), 2, closes=(10, 11)),
    _case(
        "an hour that summer time skips",
        _rows("2024-03-10 02:30,10", "2024-03-10 03:30,11"),
        0,
        "unreadable",
        "interval_known",
        words="does not exist or exists twice in America/New_York",
        mapping="timezone: America/New_York\ninterval: 5m",
    ),
    _case(
        "an hour that exists twice",
        _rows("2024-11-03 01:30,10"),
        0,
        "unreadable",
        words="exists twice",
        mapping="timezone: America/New_York\ninterval: 5m",
    ),
    _case(
        "some rows name a zone, others do not",
        _rows("2024-01-02 09:30Z,10", "2024-01-02 09:35,11"),
        0,
        "interval_known",
        "unreadable",
        words="names no time zone",
    ),
    _case(
        "weekly bars are no daily ones",
        _rows(*(f"2024-01-{day:02},10" for day in (1, 8, 15, 22, 29))),
        0,
        *["interval_known"] * 5,
    ),
    _case(
        "MetaTrader's clock has no zone",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n"
        "2024.01.02\t00:00:00\t1\t1\t1\t1\t1\n2024.01.02\t00:01:00\t1\t1\t1\t1\t1\n",
        words="timezone: Europe/Athens",
    ),
    _case(
        "the same key three times",
        _rows("2024-01-02,10", "2024-01-02,11", "2024-01-02,12"),
        1,
        "duplicate_key",
        "duplicate_key",
        closes=(12,),
    ),
    _case("the same row twice", _rows("2024-01-02,10", "2024-01-02,10"), 1, "duplicate_key", closes=(10,)),
]

PARQUETS = [
    Case(
        f"parquet: {case.name}",
        "NEWCO.parquet",
        *(getattr(case, f) for f in ("content", "accepted", "rules", "words", "closes", "mapping")),
    )
    for case in (
        _case("dates", PARQUET, 2, closes=(10, 11)),
        _case("empty", b"", words="not a readable parquet"),
        _case("half-written", PARQUET[:-20], words="not a readable parquet"),
        _case("damaged", PARQUET[:10] + b"\xff" * 40 + PARQUET[50:], words="not a readable parquet"),
        _case("only the magic", b"PAR1PAR1", words="not a readable parquet"),
        _case("text", GOOD, words="not a readable parquet"),
        _case("no rows", _parquet(date=pa.array([], pa.date32()), close=pa.array([], pa.float64())), words="no rows"),
        _case(
            "zoned time stamps",
            _parquet(date=pa.array(NEW_YORK, pa.timestamp("us", "America/New_York")), close=pa.array([10.0, 11.0])),
            2,
            closes=(10, 11),
        ),
        _case(
            "nanoseconds without a zone",
            _parquet(date=pa.array(DAYS).cast(pa.timestamp("ns")), close=pa.array([10, 11])),
            2,
            closes=(10, 11),
        ),
        _case(
            "epoch milliseconds",
            _parquet(date=pa.array([1704153600000]), close=pa.array([10.5], pa.float32())),
            1,
            closes=(10.5,),
        ),
        _case(
            "decimals",
            _parquet(date=pa.array(DAYS), close=pa.array([Decimal("10.25"), Decimal("11.50")])),
            2,
            closes=(10.25, 11.5),
        ),
        _case(
            "dictionaries",
            _parquet(
                date=pa.array(["2024-01-02", "x"]).dictionary_encode(), close=pa.array(["10", "11"]).dictionary_encode()
            ),
            1,
            "unreadable",
            closes=(10,),
        ),
        _case(
            "nulls, NaN and infinity",
            _parquet(date=pa.array([*DAYS, date(2024, 1, 4)]), close=pa.array([None, float("nan"), float("inf")])),
            0,
            "close_missing",
            "close_missing",
            "price_finite",
        ),
        _case(
            "a nested close",
            _parquet(date=pa.array(DAYS), close=pa.array([[10.0], [11.0]])),
            words="'close' is missing",
        ),
        _case(
            "a nested column beside",
            _parquet(date=pa.array(DAYS), close=pa.array([10.0, 11.0]), more=pa.array([{"a": 1}, {"a": 2}])),
            2,
            closes=(10, 11),
        ),
        _case(
            "binary texts", _parquet(date=pa.array([b"2024-01-02"]), close=pa.array([10.0])), words="'ts' is missing"
        ),
        _case(
            "truth for a price",
            _parquet(date=pa.array(DAYS), close=pa.array([True, False])),
            0,
            "unreadable",
            "unreadable",
        ),
        _case("too many rows", _parquet(close=pa.nulls(MAX_ROWS + 1, pa.int8())), words="rows; split it"),
        _case("a bomb of repeated text", _long_texts(), words="split it"),
    )
]

CASES = [*ENCODINGS, *LINES, *SCHEMAS, *ARCHIVES, *NUMBERS, *TEXTS, *TIMES, *PARQUETS]
