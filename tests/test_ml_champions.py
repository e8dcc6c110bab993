"""Champions: a newcomer must be as good as the present one, a person may overrule the gate, and each move is told."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lake.store import Lake
from ml.artifact import LoadedModel, pack
from ml.audit import settle
from ml.datasets import TARGETS
from ml.deployments import deployments
from ml.evaluation import loss
from ml.gate import Incumbent, decide
from ml.registry import CHAMPION, PREVIOUS, Registry, RegistryError
from ml.training import Candidate, TrainingResult
from tests.ml_kit import empty_registry, planted, register, trained

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MODEL = "volatility_5d"
pytestmark = [
    pytest.mark.xdist_group("ml_training"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]


@pytest.fixture(scope="module")
def features() -> pd.DataFrame:
    return planted(MODEL, 0.9)


@pytest.fixture(scope="module")
def result() -> TrainingResult:
    return trained(MODEL, 3)


def incumbent(candidate: Candidate, since: str = "2000-01-01") -> Incumbent:
    return Incumbent(LoadedModel(MODEL, "7", "run", candidate.onnx), candidate.learned, None, since)


def five_percent_higher(candidate: Candidate) -> Candidate:
    """The same model, but for its last step."""
    import onnx

    model = onnx.load_from_string(candidate.onnx)
    last = model.graph.node[-1]
    assert (last.op_type, list(last.output)) == ("Identity", ["mean"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([[1.05]], np.float32), "factor"))
    last.op_type = "Mul"
    last.input.append("factor")
    return replace(candidate, onnx=model.SerializeToString(), test_mean=candidate.test_mean * 1.05)


def test_a_newcomer_takes_the_place_of_a_worse_champion(result: TrainingResult, features: pd.DataFrame) -> None:
    decision = decide(result, features, incumbent(result.baseline))
    assert (decision.winner, decision.role, decision.against) == (result.challenger.model, "challenger", "7")
    outcome = result.test["outcome"].to_numpy()
    own, theirs = (loss(TARGETS[MODEL], outcome, c.test_mean) for c in (result.challenger, result.baseline))
    assert decision.numbers["champion_loss_difference"] == pytest.approx(np.mean(own - theirs), rel=1e-4)
    assert decision.numbers["champion_loss_difference_upper"] < 0


def test_a_better_champion_stays_though_the_newcomer_beats_the_baseline(
    result: TrainingResult, features: pd.DataFrame
) -> None:
    challenged = replace(result, challenger=five_percent_higher(result.challenger))
    assert decide(challenged).role == "challenger", "it has an edge over the baseline"
    decision = decide(challenged, features, incumbent(result.challenger))
    assert (decision.winner, decision.role) == (result.challenger.model, "champion")
    assert decision.learned
    assert decision.passed
    assert decision.numbers["champion_loss_difference"] > 0
    assert "version 7) on " in decision.reason
    assert decision.reason.endswith("the champion stays")


def test_the_same_model_again_is_no_worse_than_itself(result: TrainingResult, features: pd.DataFrame) -> None:
    decision = decide(result, features, incumbent(result.challenger))
    assert decision.role == "challenger"
    assert decision.numbers["champion_loss_difference"] == 0


def test_only_what_the_champion_has_not_seen_is_compared(result: TrainingResult, features: pd.DataFrame) -> None:
    ts = result.test["ts"]
    since = ts.sort_values().iloc[len(ts) // 2]
    decision = decide(result, features, incumbent(result.baseline, f"{since:%Y-%m-%d}"))
    assert decision.numbers["champion_forecasts"] == (ts >= since).sum() < len(ts)
    decision = decide(result, features, incumbent(result.baseline, "2100-01-01"))
    assert decision.role == "champion"
    assert "has seen all but 0" in decision.reason


def test_a_champion_whose_intervals_do_not_cover_any_more_must_go(
    result: TrainingResult, features: pd.DataFrame
) -> None:
    contract = result.challenger.contract
    narrow = replace(contract, conformal=replace(contract.conformal, curve=(0.0,) * len(contract.conformal.curve)))
    points = replace(result.challenger, onnx=pack(result.challenger.onnx, narrow), contract=narrow)
    noise = replace(result, challenger=replace(result.challenger, test_mean=result.baseline.test_mean))
    decision = decide(noise, features, incumbent(points))
    assert decision.role == "baseline", "though its loss is higher"
    assert decision.numbers["champion_loss_difference"] > 0
    assert "champion is unsound: its 90% interval covers 0.0%" in decision.reason


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return empty_registry(tmp_path)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def alias(registry: Registry, name: str) -> str | None:
    found: Mapping[str, Any] = registry.client.get_registered_model(MODEL).aliases
    return None if name not in found else str(found[name])


def audit(lake: Lake) -> list[tuple[Any, ...]]:
    columns = ("action", "from_version", "to_version", "who", "why")
    return [tuple(row[c] for c in columns) for row in lake.read("models/audit").sort_by("decided_at").to_pylist()]


def test_every_move_of_a_champion_is_told_once_and_can_be_undone(
    registry: Registry, lake: Lake, result: TrainingResult, features: pd.DataFrame
) -> None:
    first = decide(result)
    old = register(registry, result, first)[result.challenger.model].version
    registry.promote(MODEL, "gate (run 1)")
    assert settle(lake, registry, NOW) == 1
    decision = decide(result, features, registry.incumbent(MODEL))
    new = register(registry, result, decision, {"market/features": 8})[result.challenger.model].version
    for _ in range(2):
        assert registry.promote(MODEL, "gate (run 2)").version == new
        settle(lake, registry, NOW)
    told = [("gate", None, old, "gate (run 1)", first.reason), ("gate", old, new, "gate (run 2)", decision.reason)]
    assert audit(lake) == told
    assert (alias(registry, CHAMPION), alias(registry, PREVIOUS)) == (new, old)

    assert registry.roll_back(MODEL, "ana", "wrong prices") == old
    settle(lake, registry, NOW)
    told.append(("rollback", new, old, "ana", "wrong prices"))
    assert audit(lake) == told
    with pytest.raises(RegistryError, match="no previous champion"):
        registry.roll_back(MODEL, "ana", "again")
    kept = registry.promote(MODEL)
    assert (kept.version, kept.role) == (old, "champion")
    assert f"version {new} was rolled back by ana: wrong prices" in kept.reason

    with pytest.raises(RegistryError, match="no version 99"):
        registry.appoint(MODEL, "99", "ana", "a typing error")
    assert registry.appoint(MODEL, new, "ana", "the prices were right")
    assert not registry.appoint(MODEL, new, "ana", "the prices were right")
    settle(lake, registry, NOW)
    assert audit(lake) == [*told, ("promote", old, new, "ana", "the prices were right")]


def test_a_decision_that_was_overtaken_moves_nothing(registry: Registry, result: TrainingResult) -> None:
    decision = decide(result)
    registered = register(registry, result, decision)
    registry.appoint(MODEL, registered[result.baseline.model].version, "ana", "simpler")
    kept = registry.promote(MODEL)
    assert kept.version == registered[result.baseline.model].version
    assert "compared with version None" in kept.reason


def test_failed_checks_move_nothing(registry: Registry, result: TrainingResult) -> None:
    register(registry, result, decide(result))
    promotion = registry.promote(MODEL, failed_checks=["market/bars bars_make_sense"])
    assert (promotion.passed, promotion.version) == (False, None)
    assert "checks have failed: market/bars bars_make_sense" in promotion.reason


def test_a_kill_between_registry_and_audit_loses_nothing(
    registry: Registry, lake: Lake, result: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = register(registry, result, decide(result))
    baseline, challenger = (registered[c.model].version for c in (result.baseline, result.challenger))
    registry.appoint(MODEL, baseline, "ana", "first")  # killed before it was told
    with monkeypatch.context() as patched:
        patched.setattr(registry, "set_alias", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry.appoint(MODEL, challenger, "ana", "second")
    assert settle(lake, registry, NOW) == 1
    assert registry.appoint(MODEL, challenger, "ana", "second")
    assert settle(lake, registry, NOW) == 1
    told = [("promote", None, baseline, "ana", "first"), ("promote", baseline, challenger, "ana", "second")]
    assert audit(lake) == told
    registry.set_alias(MODEL, baseline)
    assert [settle(lake, registry, datetime.now(UTC)) for _ in range(2)] == [1, 0]
    assert audit(lake)[-1] == ("outside", challenger, baseline, "unknown", "the alias was moved with other tools")


def test_a_challenger_forecasts_only_where_a_person_lets_it(
    registry: Registry, lake: Lake, result: TrainingResult
) -> None:
    with pytest.raises(RegistryError, match="no version of volatility_5d is a challenger"):
        registry.challenge(MODEL, 0.25)
    returns = trained("return_5d", 1)
    naive = register(registry, returns, decide(returns))[returns.baseline.model].version
    registry.promote("return_5d")
    with pytest.raises(LookupError, match="no champion of volatility_5d"):
        deployments(lake, registry)
    registered = register(registry, result, decide(result))
    baseline, challenger = (registered[c.model].version for c in (result.baseline, result.challenger))
    registry.appoint(MODEL, baseline, "ana", "simpler")

    def deployed() -> list[tuple[str, str]]:
        found = deployments(lake, registry)
        first = datetime.fromisoformat(result.split_dates["test"][0]).replace(tzinfo=UTC)
        assert {d.unseen_from for d in found if d.model.name == MODEL} == {first}
        return [(d.model.version, d.role) for d in found]

    champions = [(naive, "champion"), (baseline, "champion")]
    assert deployed() == champions
    assert registry.challenge(MODEL, 0.25) == challenger
    assert registry.challenger_share(MODEL) == 0.25
    assert deployed() == [*champions, (challenger, "challenger")]
    registry.appoint(MODEL, challenger, "ana", "better")
    assert registry.challenge(MODEL, 0.0) is None, "it is the champion"
    assert deployed() == [champions[0], (challenger, "champion")]
    assert registry.challenge(MODEL, None) is None
    assert registry.challenger_share(MODEL) is None
