"""Settings: defaults that just work, the names of the variables, and values that are wrong."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from lake.providers import Provider
from lake.settings import Settings, get_settings
from lake.severities import Severities


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and no setting set."""
    for name in os.environ:
        if name.startswith("LAKEHOUSE_") or name == "MLFLOW_TRACKING_URI":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_any_variable_everything_lies_in_one_folder_of_the_checkout(tmp_path: Path) -> None:
    settings = get_settings()
    home = tmp_path / ".lakehouse"
    assert settings.home == home
    assert settings.lake_uri == str(home / "lake")
    assert settings.landing_uri == str(home / "landing")
    assert settings.mlflow_tracking_uri == f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    assert settings.mlflow_sqlite_file == home / "mlflow" / "mlflow.db"
    assert settings.mlflow_artifacts == str(home / "mlflow" / "artifacts")
    assert settings.mlflow_artifact_root == (home / "mlflow" / "artifacts").as_uri()
    assert settings.dagster_home == home / "dagster"
    assert settings.reports_uri == str(home / "reports")
    assert settings.catalog_uri == str(home / "catalog")
    assert (settings.host, settings.api_port, settings.dagster_port) == ("127.0.0.1", 8000, 3000)
    assert settings.universe_symbols == ()
    assert settings.alert_webhook_url is None
    assert not home.exists()


PROVIDERS = {name for name, field in Settings.model_fields.items() if isinstance(field.default, Provider)}
OTHERS = PROVIDERS | {"access", "engine", "limits", "mlflow_tracking_uri", "sources", "severity", "smtp", "synthetic"}
PLAIN = [name for name in Settings.model_fields if name not in OTHERS]


@pytest.mark.parametrize("field", PLAIN)
def test_every_setting_is_a_variable_with_the_prefix_and_is_described(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = "4321" if Settings.model_fields[field].annotation is int else "s3://bucket/some"
    monkeypatch.setenv(f"LAKEHOUSE_{field.upper()}", value)
    assert str(getattr(get_settings(), field)).endswith(value.removeprefix("s3:/"))
    assert Settings.model_fields[field].description


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_one_field_of_a_provider_is_set_and_the_others_stay(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = getattr(get_settings(), provider)
    monkeypatch.setenv(f"LAKEHOUSE_{provider.upper()}__KEY", "secret")
    after = getattr(get_settings(), provider)
    assert after.key.get_secret_value() == "secret"
    assert "secret" not in repr(get_settings())
    assert after.model_dump(exclude={"key"}) == before.model_dump(exclude={"key"})
    assert Settings.model_fields[provider].description


def test_live_sources_are_orders_of_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_settings().source_orders == {}
    monkeypatch.setenv("LAKEHOUSE_SOURCES", "aapl, MSFT: yahoo, polygon; BTCUSDT: binance")
    assert get_settings().source_orders == {
        "AAPL": ("yahoo", "polygon"),
        "MSFT": ("yahoo", "polygon"),
        "BTCUSDT": ("binance",),
    }
    monkeypatch.setenv("LAKEHOUSE_SOURCES", "AAPL yahoo")
    with pytest.raises(ValidationError, match="not of the form"):
        get_settings()


@pytest.mark.parametrize("rule", Severities.model_fields)
def test_the_severity_of_one_rule_is_set_and_the_others_stay(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = get_settings().severity
    monkeypatch.setenv(f"LAKEHOUSE_SEVERITY__{rule.upper()}", "off")
    after = get_settings().severity
    assert getattr(after, rule) == "off"
    assert after.model_dump(exclude={rule}) == before.model_dump(exclude={rule})
    assert f"__{rule.upper()}" in str(Settings.model_fields["severity"].description)


@pytest.mark.parametrize(("rule", "severity"), [("jump", "ignore"), ("jumps", "off")])
def test_a_severity_that_there_is_not_is_refused_by_name(
    rule: str, severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LAKEHOUSE_SEVERITY__{rule.upper()}", severity)
    with pytest.raises(ValidationError, match=f"severity.{rule}\n"):
        get_settings()


@pytest.mark.parametrize("engine", ["pandas", "", "Spark"])
def test_an_engine_that_there_is_not_is_refused_by_name(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_ENGINE", engine)
    with pytest.raises(ValidationError, match=r"engine\n.*'duckdb' or 'spark'"):
        get_settings()


def test_mlflow_keeps_the_name_that_it_gave_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert get_settings().mlflow_tracking_uri == "http://tracking:5000"
    assert get_settings().mlflow_sqlite_file is None


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", "here/../there")
    monkeypatch.setenv("LAKEHOUSE_LAKE_URI", "data/lake/")
    monkeypatch.setenv("LAKEHOUSE_LANDING_URI", "~/drop")
    settings = get_settings()
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "there"
    assert settings.lake_uri == str(tmp_path / "data" / "lake")
    assert settings.landing_uri == str(Path.home() / "drop")


def test_an_object_store_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_LAKE_URI", "s3://bucket/prefix/")
    assert get_settings().lake_uri == "s3://bucket/prefix"


@pytest.mark.parametrize(
    ("text", "symbols"),
    [("", ()), (" , ", ()), ("aapl", ("AAPL",)), (" aapl, MSFT ,,sp500", ("AAPL", "MSFT", "SP500"))],
)
def test_the_universe_is_a_list_of_symbols(
    text: str, symbols: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_UNIVERSE", text)
    assert get_settings().universe_symbols == symbols


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", ""])
def test_a_port_that_is_none_is_refused_by_name(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_API_PORT", port)
    with pytest.raises(ValidationError, match="api_port"):
        get_settings()
