"""The one settings class: every value that may differ between a laptop and a cluster, read from the environment."""

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lake.api import Access, Limits
from lake.providers import BySymbol, Edgar, Provider, Series, Synthetic, Table, parse_sources
from lake.severities import Severities
from lake.smtp import Smtp


def _nested(name: str, default: BaseModel, page: str) -> Any:
    fields = ", ".join(f"`__{field.upper()}`" for field in type(default).model_fields)
    return Field(default=default, description=f"{name}, one variable a field: {fields}. Default: see docs/{page}.")


def _provider(name: str, default: Provider) -> Any:
    return _nested(name, default, "sources.md")


class Settings(BaseSettings):
    """Environment variables `LAKEHOUSE_*` (and `MLFLOW_TRACKING_URI`); the defaults run on a laptop as they are."""

    model_config = SettingsConfigDict(
        env_prefix="LAKEHOUSE_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        extra="ignore",
    )

    home: Path = Field(
        default=Path(".lakehouse"),
        validate_default=True,
        description="Folder that holds everything the project writes: lake, landing folder, MLflow store, "
        "Dagster home, reports and catalogue.",
    )
    lake_uri: str = Field(
        default="",
        description="Where the Delta tables live: a path or `s3://bucket/prefix`. Default: `<home>/lake`.",
    )
    s3_endpoint_url: str | None = Field(
        default=None,
        description="Endpoint of an S3-compatible store (MinIO, Ceph ...). Default: AWS. "
        "Keys come from the usual `AWS_*` variables.",
    )
    landing_uri: str = Field(
        default="",
        description="Folder watched for CSV and Parquet files to ingest. Default: `<home>/landing`.",
    )
    files_uri: str = Field(
        default="",
        description="Where files that are not tables are kept: drift reports, catalogue, MLflow's artefacts. "
        "A path or `s3://bucket/prefix`. Default: `<home>`.",
    )
    mlflow_tracking_uri: str = Field(
        default="",
        validation_alias=AliasChoices("MLFLOW_TRACKING_URI", "mlflow_tracking_uri"),
        description="MLflow tracking store and model registry. Default: the SQLite file `<home>/mlflow/mlflow.db`.",
    )
    alert_webhook_url: str | None = Field(
        default=None,
        description="Notifications (what has arrived, what has failed) are posted here as JSON, as Slack wants it "
        '(`{"text": ...}`), besides being logged.',
    )
    smtp: Smtp = _nested("The mail server that the same notifications go out by", Smtp(), "operations.md")
    engine: Literal["duckdb", "spark"] = Field(
        default="duckdb",
        description="What computes the dbt models: `duckdb`, or `spark` ([when and how](scale.md)), which needs "
        "`pip install '.[spark]'` and Java 17.",
    )
    retention_hours: int = Field(
        default=168,
        ge=1,
        description="Hours that files of older versions are kept after they were replaced; versions that a model or a "
        "forecast names are kept for ever.",
    )
    universe: str = Field(
        default="",
        description="Comma-separated symbols to load from the embedded sources. Default: all 32 series.",
    )
    sources: str = Field(
        default="",
        description="Symbols to load from live providers, each with its providers in order of preference: "
        "`AAPL, MSFT: yahoo, polygon; BTCUSDT: binance`. Default: none, so nothing is asked of the network.",
    )
    severity: Severities = _nested(
        "What becomes of a bar that breaks a rule of its series (`reject`, `flag` or `off`)", Severities(), "quality.md"
    )
    synthetic: Synthetic = _nested("The synthetic market beside the real prices, off", Synthetic(), "sources.md")
    yahoo: Provider = _provider(
        "Yahoo Finance", Provider(base_url="https://query2.finance.yahoo.com", requests_per_minute=60)
    )
    alpha_vantage: Table = _provider(
        "Alpha Vantage",
        Table(base_url="https://www.alphavantage.co", requests_per_minute=5, table="TIME_SERIES_DAILY_ADJUSTED"),
    )
    polygon: Provider = _provider("Polygon.io", Provider(base_url="https://api.polygon.io", requests_per_minute=5))
    nasdaq_data_link: Table = _provider(
        "Nasdaq Data Link",
        Table(base_url="https://data.nasdaq.com/api/v3", requests_per_minute=300, table="QUOTEMEDIA/PRICES"),
    )
    binance: Provider = _provider("Binance", Provider(base_url="https://api.binance.com", requests_per_minute=600))
    fred: Series = _provider(
        "FRED",
        Series(
            base_url="https://api.stlouisfed.org/fred",
            requests_per_minute=60,
            series="GDPC1, CPIAUCSL, FEDFUNDS",
        ),
    )
    bcrp: Series = _provider(
        "The central bank of Peru",
        Series(
            base_url="https://estadisticas.bcrp.gob.pe/estadisticas/series/api",
            requests_per_minute=30,
            series="",
        ),
    )
    edgar: Edgar = _provider("SEC EDGAR", Edgar(base_url="https://data.sec.gov", requests_per_minute=300))
    news: BySymbol = _provider(
        "The news feed",
        BySymbol(
            base_url="https://feeds.finance.yahoo.com/rss/2.0/headline?s={symbol}&region=US&lang=en-US",
            requests_per_minute=30,
        ),
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address that the API listens on; any but loopback needs `LAKEHOUSE_ACCESS__ENABLED=true`.",
    )
    ui_host: str = Field(
        default="127.0.0.1",
        description="Address that the Dagster UI and MLflow listen on. They know no login: whoever reaches them can "
        "run code, so off loopback put a proxy that logs people in before them.",
    )
    api_port: int = Field(default=8000, ge=1, le=65535, description="Port of the HTTP API.")
    api_workers: int = Field(default=1, ge=1, description="Processes that answer the API, on one port.")
    access: Access = _nested("Who may ask the API", Access(), "serving.md")
    limits: Limits = _nested("How much the API takes on at once", Limits(), "serving.md")
    dagster_port: int = Field(default=3000, ge=1, le=65535, description="Port of the Dagster UI.")
    mlflow_port: int = Field(
        default=5000, ge=1, le=65535, description="Port of the MLflow UI (`lakehouse up --mlflow`)."
    )

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("sources", mode="after")
    @classmethod
    def _readable(cls, value: str) -> str:
        parse_sources(value)
        return value

    @model_validator(mode="after")
    def _fill_defaults_below_home(self) -> "Settings":
        self.lake_uri = absolute_uri(self.lake_uri or str(self.home / "lake"))
        self.landing_uri = absolute_uri(self.landing_uri or str(self.home / "landing"))
        self.files_uri = absolute_uri(self.files_uri or str(self.home))
        self.mlflow_tracking_uri = self.mlflow_tracking_uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"
        return self

    @property
    def universe_symbols(self) -> tuple[str, ...]:
        """The symbols of `universe` in upper case; empty means all."""
        return tuple(s.strip().upper() for s in self.universe.split(",") if s.strip())

    @property
    def source_orders(self) -> dict[str, tuple[str, ...]]:
        """The live symbols of `sources` in upper case, each with its providers in order of preference."""
        return parse_sources(self.sources)

    @property
    def keys_file(self) -> Path:
        """File of the API keys' hashes."""
        return Path(self.access.keys_file).expanduser() if self.access.keys_file else self.home / "keys.json"

    @property
    def reports_uri(self) -> str:
        """Folder of the drift reports, served at `/reports`."""
        return f"{self.files_uri}/reports"

    @property
    def catalog_uri(self) -> str:
        """Folder of the dbt catalogue, served at `/catalog`."""
        return f"{self.files_uri}/catalog"

    @property
    def mlflow_artifacts(self) -> str:
        """Root of the MLflow artefacts."""
        return f"{self.files_uri}/mlflow/artifacts"

    @property
    def mlflow_artifact_root(self) -> str:
        """The same as MLflow writes it into its store."""
        return self.mlflow_artifacts if "://" in self.mlflow_artifacts else Path(self.mlflow_artifacts).as_uri()

    @property
    def mlflow_sqlite_file(self) -> Path | None:
        """File of the MLflow store; None where a server keeps it."""
        kind, _, path = self.mlflow_tracking_uri.partition(":///")
        return Path(path.partition("?")[0]) if kind == "sqlite" else None

    @property
    def dagster_home(self) -> Path:
        """`DAGSTER_HOME`: event log, schedules and sensor state."""
        return self.home / "dagster"


def get_settings() -> Settings:
    """Settings of the current environment. Raises pydantic's `ValidationError`, which names the wrong variable."""
    return Settings()


def absolute_uri(uri: str) -> str:
    """A path or URI that means the same in every folder."""
    return uri.rstrip("/") if "://" in uri else str(Path(uri).expanduser().resolve())
