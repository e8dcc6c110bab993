"""Model cards: the numbers are those of the version, with their uncertainty, and the page says what the JSON says."""

import json
from html import unescape
from pathlib import Path

import pytest

from lake.files import Folder
from lake.settings import Settings
from ml.card import card, html_card, write_card
from ml.gate import decide
from tests.ml_kit import trained

TAGS = {"lake_versions": '{"market/features": 7}', "code_version": "abc", "platform": "Linux", "digest": "d1"}
pytestmark = pytest.mark.xdist_group("ml_training")


def test_a_card_tells_what_a_version_can_do_and_how_sure_that_is(tmp_path: Path) -> None:
    result = trained("volatility_5d", 3)
    decision = decide(result)
    content = card(result, result.challenger, decision, TAGS, "3")
    value, lower, upper = content["metrics"]["QLIKE"]
    assert value == pytest.approx(result.challenger.metrics["test"]["qlike"])
    assert lower < value < upper
    assert content["metrics"]["loss saved against ewma"][0] == pytest.approx(decision.numbers["loss_gain"])
    assert content["metrics"]["coverage of the 90% interval"][0] == result.challenger.metrics["test"]["coverage_90"]
    assert content["data"]["symbols"] == ["S0", "S1", "S2", "S3"]
    assert next(iter(content["importance"])) == "rsi_14_centered", "the planted feature moves it most"

    write_card(Folder(str(tmp_path), Settings(home=tmp_path)), content)
    assert json.loads((tmp_path / "cards/volatility_5d/3.json").read_text()) == json.loads(json.dumps(content))
    page = unescape((tmp_path / "cards/volatility_5d/3.html").read_text())
    for said in (content["intended_use"], *content["limits"], "abc", "d1"):
        assert said in page
    for name, interval in content["metrics"].items():
        assert name in page
        assert all(f"{number:.4g}" in page for number in interval)


def test_the_card_of_a_baseline_compares_it_with_nothing() -> None:
    result = trained("return_5d", 1)
    content = card(result, result.baseline, decide(result), TAGS, "4")
    assert not content["importance"]
    assert {"RMSE", "directional accuracy", "its base rate (share of ups)"} <= set(content["metrics"])
    assert not any("saved" in name for name in content["metrics"])
    assert "What moves it most" not in html_card(content)
