"""What the API answers: one pydantic model a document, with the meaning and unit of every field."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    model_validator,
)


def _decoded(tags: Mapping[str, str]) -> dict[str, Any]:
    return {name: _json_or_text(value) for name, value in tags.items()}


def _json_or_text(value: str) -> Any:
    if not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


class Interval(BaseModel):
    """A prediction interval that was calibrated on past forecasts (conformal)."""

    level: FiniteFloat = Field(gt=0, lt=1, description="Probability that the outcome lies inside.", examples=[0.9])
    lower: FiniteFloat = Field(description="Lower bound, in the unit of the mean.", examples=[-0.0538])
    upper: FiniteFloat = Field(description="Upper bound, in the unit of the mean.", examples=[0.0571])


class ModelVersion(BaseModel):
    """The registered model version that made a forecast."""

    name: str = Field(description="Name in the model registry.", examples=["return_5d"])
    version: str = Field(description="Version in the model registry.", examples=["3"])


class Contribution(BaseModel):
    """What one feature adds to a mean."""

    feature: str = Field(description="Column of `market/features`.", examples=["log_ewma_vol"])
    contribution: FiniteFloat = Field(description="In the unit of the mean.", examples=[0.0021])


class Forecast(BaseModel):
    """One forecast of one target."""

    id: str = Field(description="Identifies the forecast for ever.", examples=["9f3c2a61b0d4e875"])
    target: str = Field(
        description="`return_5d`: log return over the next 5 trading days. `volatility_5d`: realised volatility "
        "over the next 5 trading days (not annualised).",
        examples=["return_5d"],
    )
    horizon: int = Field(ge=1, description="Trading days ahead.", examples=[5])
    mean: FiniteFloat = Field(description="Expected value: a log return, or a volatility.", examples=[0.0016])
    price: FiniteFloat | None = Field(
        description="The mean as a price: last_price * exp(mean). Null where the target is not a return.",
        examples=[129.81],
    )
    intervals: list[Interval] = Field(description="Prediction intervals, narrowest first.")
    model: ModelVersion
    lake_versions: dict[str, int] = Field(
        description="Version of each lake table that the forecast was computed from.",
        examples=[{"market/features": 12}],
    )
    as_of: datetime = Field(
        description="Session that it was made after: the symbol's `as_of`, or an older one.",
        examples=["2022-12-28T00:00:00Z"],
    )
    last_price: FiniteFloat = Field(description="Last price on its `as_of`, as delivered.", examples=[129.61])
    staleness_days: int = Field(
        ge=0, description="Whole days from its `as_of` until today (UTC), weekends included.", examples=[3]
    )
    role: Literal["champion", "challenger", "fallback"] = Field(
        description="Why this version answers: it is the champion; it is the challenger and this symbol is in its "
        "share; or the champion has no forecast of this symbol that still looks ahead, and this is the newest.",
        examples=["champion"],
    )
    contributions: list[Contribution] = Field(
        description="What moved the mean most, largest first; empty where the model has no such explanation.",
    )


class Prediction(BaseModel):
    """The newest forecasts of one symbol."""

    symbol: str = Field(examples=["AAPL"])
    as_of: datetime = Field(
        description="Session after whose close the forecasts were made, 00:00 UTC.",
        examples=["2022-12-28T00:00:00Z"],
    )
    last_price: FiniteFloat = Field(description="Last price on `as_of`, as delivered.", examples=[129.61])
    forecasts: list[Forecast] = Field(description="One a target.")


class Predictions(BaseModel):
    """The newest forecasts of several symbols."""

    predictions: list[Prediction]
    total: int = Field(ge=0, description="Symbols asked for, on all pages.", examples=[32])
    next_offset: int | None = Field(description="Offset of the next page; null on the last.", examples=[None])


class Case(BaseModel):
    """One question: a symbol as it is now, with shocks, or a window of features."""

    model_config = ConfigDict(extra="forbid")

    symbol: str | None = Field(
        default=None, max_length=64, description="Take its newest stored features.", examples=["AAPL"]
    )
    shocks: dict[str, FiniteFloat] = Field(
        default={},
        max_length=512,
        description="Added to the symbol's features of its newest session, by name.",
        examples=[{"log_return_1": -0.05}],
    )
    features: dict[str, Annotated[list[FiniteFloat], Field(max_length=512)]] | None = Field(
        default=None,
        max_length=512,
        description="Instead of a symbol: values of every input by name, oldest session first.",
        examples=[None],
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.symbol is None) == (self.features is None):
            raise ValueError("needs either a symbol or features")
        if self.shocks and self.symbol is None:
            raise ValueError("shocks need a symbol")
        return self


class WhatIf(BaseModel):
    """Questions to the champion of one target."""

    model_config = ConfigDict(extra="forbid")

    target: str = Field(max_length=64, description="What to forecast.", examples=["return_5d"])
    cases: list[Case] = Field(min_length=1, max_length=64, description="Answered in this order, by one version.")
    extrapolate: bool = Field(
        default=False, description="Answer values outside of the training data too, instead of refusing them."
    )


class WhatIfForecast(BaseModel):
    """The answer to one case."""

    symbol: str | None = Field(description="Null for a posted window.", examples=["AAPL"])
    as_of: datetime | None = Field(
        description="Newest session of the stored features; null for a posted window.",
        examples=["2022-12-28T00:00:00Z"],
    )
    last_price: FiniteFloat | None = Field(description="Last price on `as_of`.", examples=[129.61])
    mean: FiniteFloat = Field(description="Expected value: a log return, or a volatility.", examples=[0.0016])
    price: FiniteFloat | None = Field(
        description="The mean as a price: last_price * exp(mean). Null where there is none.", examples=[129.81]
    )
    intervals: list[Interval] = Field(description="Prediction intervals, narrowest first.")
    outside_training_range: list[str] = Field(
        description="Features with a value that the model has not seen in training.", examples=[[]]
    )


class WhatIfAnswer(BaseModel):
    """Answers of one version, in the order of the cases."""

    target: str = Field(examples=["return_5d"])
    horizon: int = Field(ge=1, description="Trading days ahead.", examples=[5])
    model: ModelVersion
    lake_versions: dict[str, int] = Field(
        description="Version of the table that stored features were read from; empty where none were.",
        examples=[{"market/features": 12}],
    )
    forecasts: list[WhatIfForecast]


class Hit(BaseModel):
    """Whether the outcome was inside an interval."""

    level: FiniteFloat = Field(examples=[0.9])
    hit: bool


class Score(BaseModel):
    """A forecast against what happened."""

    outcome: FiniteFloat = Field(description="What happened, in the unit of the mean.", examples=[-0.0102])
    error: FiniteFloat = Field(description="outcome - mean.", examples=[-0.0118])
    loss: FiniteFloat = Field(description="Squared error of a return, QLIKE of a volatility.", examples=[0.00014])
    known_at: datetime = Field(description="Session on which the outcome was known.", examples=["2022-12-28T00:00:00Z"])
    hits: list[Hit] = Field(description="By interval, narrowest first.")


class PastForecast(BaseModel):
    """A forecast as it was made."""

    id: str = Field(description="Identifies the forecast for ever.", examples=["9f3c2a61b0d4e875"])
    target: str = Field(examples=["return_5d"])
    horizon: int = Field(ge=1, description="Trading days ahead.", examples=[5])
    as_of: datetime = Field(description="Session that it was made after.", examples=["2022-12-28T00:00:00Z"])
    created_at: datetime = Field(description="When it was made, UTC.", examples=["2022-12-28T22:31:07Z"])
    last_price: FiniteFloat = Field(description="Last price on its `as_of`, as delivered.", examples=[129.61])
    mean: FiniteFloat = Field(description="Expected value: a log return, or a volatility.", examples=[0.0016])
    price: FiniteFloat | None = Field(description="The mean as a price; null where it is none.", examples=[129.81])
    intervals: list[Interval] = Field(description="Prediction intervals, narrowest first.")
    model: ModelVersion
    role: str | None = Field(
        description="What the version was when it forecast: champion or challenger.", examples=["champion"]
    )
    lake_versions: dict[str, int] = Field(examples=[{"market/features": 12}])
    score: Score | None = Field(description="Null until the outcome is known.")


class History(BaseModel):
    """Forecasts of a symbol, the newest first."""

    symbol: str = Field(examples=["AAPL"])
    forecasts: list[PastForecast]
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last.", examples=[None])


class Lineage(BaseModel):
    """The chain behind a forecast, back to the raw rows."""

    forecast: dict[str, Any] = Field(description="Its row.")
    links: list[dict[str, Any]] = Field(
        description="From the forecast to the raw rows: title, facts, rows, and what was verified or is broken."
    )
    broken: list[str] = Field(description="Whatever does not hold; empty where the chain does.", examples=[[]])


class SymbolSummary(BaseModel):
    """A symbol that has forecasts."""

    symbol: str = Field(examples=["AAPL"])
    as_of: datetime = Field(description="Newest session with a forecast.", examples=["2022-12-28T00:00:00Z"])
    last_price: FiniteFloat = Field(description="Last price on `as_of`, as delivered.", examples=[129.61])
    targets: list[str] = Field(description="Targets with a forecast.", examples=[["return_5d", "volatility_5d"]])


class Symbols(BaseModel):
    """All symbols that have forecasts."""

    symbols: list[SymbolSummary]


class AliasedVersion(BaseModel):
    """A version that an alias of the registry points at, or the last good one where that was refused."""

    model_config = ConfigDict(from_attributes=True)

    version: str = Field(examples=["3"])
    run_id: str | None = Field(description="MLflow run that trained it.")
    created_at: datetime = Field(description="When it was registered, UTC.")
    tags: Annotated[dict[str, Any], BeforeValidator(_decoded)] = Field(
        description="Tags of the version in the registry; those that hold JSON are decoded."
    )


class RegisteredModel(BaseModel):
    """A model of the registry, and what of it is served."""

    name: str = Field(examples=["return_5d"])
    champion: AliasedVersion | None = Field(description="Null where no version is the champion.")
    challenger: AliasedVersion | None = Field(description="Null where no version is the challenger.")
    challenger_share: float | None = Field(
        description="Share of the symbols that the challenger serves; 0 where it forecasts in the shadow only, "
        "null where there is no challenge.",
        examples=[0.25],
    )
    serving: list[str] = Field(
        description="Versions behind the forecasts that are served now; more than the champion where "
        "a challenger has its share, or the champion no forecast that still looks ahead.",
        examples=[["3"]],
    )


class RegisteredModels(BaseModel):
    """All models that are registered or served."""

    models: list[RegisteredModel]


class Health(BaseModel):
    """The process is alive."""

    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    """What is served, and whatever keeps it from being up to date."""

    ready: bool = Field(description="Whether forecasts can be answered.")
    snapshot_version: int = Field(description="Version of the lake table `forecasts/predictions` that is served.")
    symbols: int = Field(description="Symbols served.", examples=[32])
    forecasts: int = Field(description="Forecasts served.", examples=[64])
    newest_as_of: datetime = Field(description="Newest session served.", examples=["2022-12-28T00:00:00Z"])
    loaded_at: datetime = Field(description="When this state was loaded, UTC.")
    reasons: list[str] = Field(
        description="Empty when all is well. Otherwise why the last good state is served on.", examples=[[]]
    )


class ParameterError(BaseModel):
    """What is wrong with one parameter."""

    parameter: str = Field(examples=["symbols"])
    location: str = Field(description="path, query, header or body.", examples=["query"])
    detail: str


class Problem(BaseModel):
    """Problem details (RFC 9457), as `application/problem+json`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(default="about:blank", description="`about:blank`: the status says it.")
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What happened and what to do about it.")
    instance: str = Field(description="Path of the request.", examples=["/v1/predictions/APPL"])
    symbols: list[str] | None = Field(default=None, description="With an unknown symbol: known ones, nearest first.")
    errors: list[ParameterError] | None = Field(default=None, description="With 422: one a wrong parameter.")
    reasons: list[str] | None = Field(default=None, description="With 503: what is missing.")


def _check_symbols(value: str | None) -> str | None:
    if value is not None and not all(part.strip() for part in value.split(",")):
        raise ValueError("must be symbols separated by commas, for example AAPL,MSFT")
    return value


class PredictionsQuery(BaseModel):
    """Query of `GET /v1/predictions`; a parameter that does not exist is an error, not all symbols."""

    model_config = ConfigDict(extra="forbid")

    symbols: Annotated[str | None, AfterValidator(_check_symbols)] = Field(
        default=None,
        max_length=4096,
        description="Symbols separated by commas, upper or lower case. All when absent.",
        examples=["AAPL,MSFT"],
        json_schema_extra={"pattern": r"^[^,]*[^,\s][^,]*(,[^,]*[^,\s][^,]*)*$"},
    )

    limit: int = Field(default=500, ge=1, le=5000, description="Symbols a page.")
    offset: int = Field(default=0, ge=0, le=10**6, description="Symbols before this page.")
    format: Literal["json", "csv"] | None = Field(
        default=None, description="Instead of the header `Accept`.", examples=["csv"]
    )

    def names(self) -> list[str] | None:
        """The symbols asked for, each once, in the order of asking; None for all."""
        if self.symbols is None:
            return None
        return list(dict.fromkeys(part.strip() for part in self.symbols.split(",")))


class HistoryQuery(BaseModel):
    """Query of `GET /v1/predictions/{symbol}/history`."""

    model_config = ConfigDict(extra="forbid")

    target: str | None = Field(default=None, max_length=64, description="All when absent.", examples=["return_5d"])
    limit: int = Field(default=100, ge=1, le=1000, description="Forecasts a page.")
    cursor: str | None = Field(
        default=None, max_length=256, description="`next_cursor` of the page before; the first page without it."
    )
