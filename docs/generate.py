"""Writes what is made from code, the settings page and the picture of dbt's lineage; `make docs` runs it."""

import json
from pathlib import Path

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from assets_pkg.resources.dbt import PROJECT_DIR, ensure_manifest
from lake.diagram import lineage_svg
from lake.settings import Settings

SETTINGS = Path(__file__).with_name("settings.md")
LINEAGE = PROJECT_DIR / "assets" / "lineage.svg"

_HEAD = """<!-- Written by `make docs` from lake/settings.py; changes belong there. -->
# Settings

Environment variables, all optional: the defaults run on a laptop as they are. A wrong value is told in one line that
names the variable. Every command reads them, `make run` included: `LAKEHOUSE_API_PORT=8080 make run`.

| variable | meaning |
|---|---|
"""

_TAIL = """
`<home>` is the value of `LAKEHOUSE_HOME`. Relative paths are taken from the folder that a command is started in.

For S3 see [s3.md](s3.md).
"""


def settings_page() -> str:
    """The page in Markdown: one row a setting, in the order of the class."""
    rows = [f"| `{_variable(name, field)}` | {_meaning(field)} |\n" for name, field in Settings.model_fields.items()]
    return _HEAD + "".join(rows) + _TAIL


def lineage_picture() -> str:
    """The picture on the overview page of the catalogue, as SVG."""
    return lineage_svg(json.loads(ensure_manifest().read_text()))


def _variable(name: str, field: FieldInfo) -> str:
    if isinstance(field.validation_alias, AliasChoices):
        return str(field.validation_alias.choices[0])
    nested = "__..." if isinstance(field.default, BaseModel) else ""
    return f"{Settings.model_config['env_prefix']}{name}".upper() + nested


def _meaning(field: FieldInfo) -> str:
    meaning = field.description or ""
    if field.default and "Default:" not in meaning:  # the ones that follow from others say so themselves
        meaning += f" Default: `{field.default}`."
    return meaning


if __name__ == "__main__":
    SETTINGS.write_text(settings_page())
    LINEAGE.write_text(lineage_picture())
