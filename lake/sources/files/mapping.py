"""Mapping files: what a person says about files whose form cannot be recognised."""

import codecs
import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from lake.sources.files.cells import UnreadableFileError

SUFFIX = ".mapping.yaml"
Field = Literal[
    "ts", "time", "symbol", "open", "high", "low", "close", "adj_close", "volume", "currency", "asset_class", "interval"
]


def _dates(value: str) -> str:
    if value not in ("YMD", "DMY", "MDY") and not re.search("%[A-Za-z]", value):
        raise ValueError("must be YMD, DMY, MDY, or a format such as '%d-%b-%y'")
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("is not a time zone; an example is Europe/London") from error
    return value


def _encoding(value: str) -> str:
    try:
        "".encode(value)
        return codecs.lookup(value).name
    except LookupError as error:
        raise ValueError("is not a text encoding; an example is cp1250") from error


def _separator(value: str) -> str:
    value = "\t" if value == "tab" else value
    if len(value) != 1 or value.isalnum() or value in '"\r\n':
        raise ValueError("must be one character, or the word tab")
    return value


class FileMapping(BaseModel):
    """What a mapping file may say; all of it is optional.

    Attributes
    ----------
    files : names of the files that it is about, with `*` and `?`; default: those with the mapping file's own name.
    header : column names of a file that has none.
    columns : our field to the name of the file's column (null: there is none); others are recognised as usual.
    symbol, asset_class, interval, currency : for files without such a column.
    dates : YMD, DMY, MDY, or a strptime format.
    decimal : decimal sign.
    timezone : of time stamps that do not name one; IANA name.
    separator, encoding : of text files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = []
    header: list[str] = []
    columns: dict[Field, str | None] = {}
    symbol: str = ""
    asset_class: str = ""
    interval: str = ""
    currency: str = ""
    dates: Annotated[str, AfterValidator(_dates)] | None = None
    decimal: Literal[".", ","] | None = None
    timezone: Annotated[str, AfterValidator(_timezone)] | None = None
    separator: Annotated[str, AfterValidator(_separator)] | None = None
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None


def find_mapping(filename: str, mappings: Mapping[str, str]) -> FileMapping | None:
    """The mapping that is about a file; one of the file's own name before one that names it in `files`.

    Parameters
    ----------
    mappings : text of the mapping files in the file's folder, by their names.

    Raises
    ------
    UnreadableFileError : two mappings name the file, or a mapping that may be about it cannot be read.
    """
    for name in own_mapping_names(filename):
        if name in mappings:
            return _parse(filename, name, mappings[name])
    parsed = {name: _parse(filename, name, text) for name, text in sorted(mappings.items())}
    found = [name for name, mapping in parsed.items() if any(fnmatch(filename, each) for each in mapping.files)]
    if len(found) > 1:
        raise UnreadableFileError(f"{filename}: both {found[0]} and {found[1]} name it")
    return parsed[found[0]] if found else None


def own_mapping_names(filename: str) -> tuple[str, str]:
    """Names of the mapping file that is about one file: of `a.csv`, a.mapping.yaml and a.csv.mapping.yaml."""
    unpacked = filename.removesuffix(".gz").removesuffix(".zip")
    return PurePosixPath(unpacked).stem + SUFFIX, filename + SUFFIX


def _parse(filename: str, name: str, text: str) -> FileMapping:
    try:
        said: Any = yaml.safe_load(text)
        return FileMapping.model_validate({} if said is None else said)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        problem = f"{place}: {first['msg'].removeprefix('Value error, ')}"
    raise UnreadableFileError(f"{filename}: its mapping {name} cannot be read ({problem})")
