"""The documentation: what it names exists, what exists is named, and what is made from code is up to date."""

import importlib.util
import re
import subprocess
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from assets_pkg.cli import app
from assets_pkg.definitions import build_definitions

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_image_leads_to_a_file(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    dead = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_that_is_named_exists(page: Path) -> None:
    make, lakehouse = _verbs(page)
    assert make <= _targets()
    assert lakehouse <= set(_commands())


def test_the_readme_names_every_verb() -> None:
    make, lakehouse = _verbs(ROOT / "README.md")
    assert make == _targets() - {"help"}
    assert lakehouse == set(_commands())


def test_the_readme_names_every_asset() -> None:
    text = (ROOT / "README.md").read_text()
    keys = build_definitions().resolve_asset_graph().get_all_asset_keys()
    assert [key for key in map(dg.AssetKey.to_user_string, keys) if f"`{key}`" not in text] == []


def test_what_is_made_from_code_is_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.SETTINGS.read_text() == generate.settings_page(), "`make docs` writes it anew"
    assert generate.LINEAGE.read_text() == generate.lineage_picture(), "`make docs` writes it anew"


def test_every_command_explains_itself() -> None:
    for command in _commands():
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def _verbs(page: Path) -> tuple[set[str], set[str]]:
    """Verbs of `make` and `lakehouse` in code: between backticks, or at the start of a line of a code block."""
    pieces = re.split(r"^```.*$", page.read_text(), flags=re.MULTILINE)
    code = "\n".join(pieces[1::2]) + "\n" + "\n".join(re.findall(r"`([^`]+)`", "\n".join(pieces[::2])))
    start = r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?"
    make, lakehouse = (
        set(re.findall(rf"{start}{tool} ([a-z]+)", code, flags=re.MULTILINE)) for tool in ("make", "lakehouse")
    )
    return make, lakehouse


def _targets() -> set[str]:
    shown = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(re.findall(r"^  make (\w+)", shown.stdout, flags=re.MULTILINE))


def _commands() -> list[str]:
    groups = [group.name for group in app.registered_groups if group.name]
    return groups + [
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    ]
