"""What-if calls: the champion's answer to features that have not happened."""

import asyncio
import math

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from serving import problems
from serving.dependencies import SnapshotDep, StateDep
from serving.features import TABLE, Stored, StoredFeatures
from serving.registry import CHAMPION, RegisteredVersion, RegistryError
from serving.routes.responses import INVALID, NOT_READY, UNREADABLE
from serving.schemas import Case, Forecast, Interval, ModelVersion, WhatIf, WhatIfAnswer, WhatIfForecast
from serving.snapshot import Snapshot
from serving.state import ServingState
from serving.vault import RefusedError
from serving.whatif import Answering, Errors

router = APIRouter(prefix="/v1", tags=["forecasts"])


@router.post(
    "/predict",
    response_model=WhatIfAnswer,
    responses=UNREADABLE | INVALID | NOT_READY,
    summary="What-if: forecasts of features that you choose",
)
async def predict(request: Request, state: StateDep, snapshot: SnapshotDep, asked: WhatIf) -> Response:
    """The champion answers each case by ONNX: the newest stored features of a symbol with shocks, or a posted window.

    A feature that is missing, unknown, not finite or outside of what the model was trained on is named (422); with
    `extrapolate` the last is allowed, and named with the forecast. Intervals are those of the model's calibration.
    """
    example = _example(snapshot, asked.target)
    version, answering = _champion(state, snapshot, example)
    lake_versions, stored = await _stored(request.app.state.features, snapshot, asked, answering)
    found = [stored.get(snapshot.symbol(case.symbol) or "") if case.symbol else None for case in asked.cases]
    windows, outside, wrong = [], [], Errors()
    for i, (case, newest) in enumerate(zip(asked.cases, found, strict=True)):
        window, errors, beyond = _window(answering, case, newest, asked.extrapolate)
        wrong |= {f"cases.{i}.{where}": detail for where, detail in errors.items()}
        windows.append(window)
        outside.append(sorted(beyond))
    if wrong:
        raise problems.invalid("body", wrong)
    means, bounds = answering.answer(np.stack(windows))
    if unanswered := np.flatnonzero(~(np.isfinite(means) & np.isfinite(bounds).all(axis=(1, 2)))).tolist():
        raise problems.invalid("body", {f"cases.{i}": "the model has no finite answer to it" for i in unanswered})
    answer = WhatIfAnswer(
        target=asked.target,
        horizon=answering.horizon,
        model=ModelVersion(name=version.name, version=version.version),
        lake_versions=lake_versions,
        forecasts=[
            WhatIfForecast(
                symbol=snapshot.symbol(case.symbol) if case.symbol else None,
                as_of=newest.as_of if newest else None,
                last_price=newest.last_price if newest else None,
                mean=mean,
                price=_price(newest, mean) if newest and example.price is not None else None,
                intervals=[
                    Interval(level=level, lower=lower, upper=upper)
                    for level, (lower, upper) in zip(answering.model.contract.conformal.levels, bound, strict=True)
                ],
                outside_training_range=beyond,
            )
            for case, newest, mean, bound, beyond in zip(
                asked.cases, found, means.tolist(), bounds.tolist(), outside, strict=True
            )
        ],
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _price(newest: Stored, mean: float) -> float | None:
    """The mean return as a price; None where an extrapolated one is beyond all prices."""
    try:
        return newest.last_price * math.exp(mean)
    except OverflowError:
        return None


def _example(snapshot: Snapshot, target: str) -> Forecast:
    """A served forecast of a target; it tells the horizon and whether the target is a return."""
    by_target = {made.target: made for found in snapshot.predictions.values() for made in found.forecasts}
    if target not in by_target:
        raise problems.invalid("body", {"target": f"is none of {', '.join(sorted(by_target))}"})
    return by_target[target]


def _champion(state: ServingState, snapshot: Snapshot, example: Forecast) -> tuple[RegisteredVersion, Answering]:
    name = example.model.name
    registered = snapshot.models.get(name)
    version = registered.aliases.get(CHAMPION) if registered else None
    if version is None:
        raise problems.busy(f"No version of {name} may answer now: /readyz says why.")
    try:
        model = state.vault.load(version)
        scaled = model.contract.conformal.scaled_by
        scale = state.vault.load(state.vault.scale(version, state.registry)) if scaled else None
    except (RefusedError, RegistryError, OSError) as error:
        raise problems.busy(f"{name} version {version.version} cannot be loaded now: {error}.") from error
    return version, Answering(model, scale, example.horizon)


async def _stored(
    features: StoredFeatures, snapshot: Snapshot, asked: WhatIf, answering: Answering
) -> tuple[dict[str, int], dict[str, Stored]]:
    """Version of the features, and the newest windows by symbol as it is spelt; nothing where no case needs them."""
    symbols = {spelt for case in asked.cases if case.symbol and (spelt := snapshot.symbol(case.symbol))}
    if not symbols:
        return {}, {}
    try:
        version, found = await asyncio.to_thread(features.newest, symbols, answering.columns, answering.lookback)
    except Exception as error:  # whatever a store raises
        raise problems.busy(f"The table {TABLE} cannot be read now ({type(error).__name__}).") from error
    return {TABLE: version}, found


def _window(
    answering: Answering, case: Case, stored: Stored | None, extrapolate: bool
) -> tuple[NDArray[np.float32], Errors, Errors]:
    """Window of a case, what is wrong with it, and which features are outside of the training data."""
    empty = np.empty((0, 0), np.float32)
    if case.features is not None:
        where, given = "features", set(case.features)
        window, errors = answering.posted(case.features)
    elif stored is None:
        return empty, {"symbol": f"there are no stored features of {case.symbol}: GET /v1/symbols lists all"}, {}
    else:
        where, given = "shocks", set(case.shocks)
        window, errors = answering.shocked(stored.window, case.shocks)
    if errors:
        return empty, {f"{where}.{name}": detail for name, detail in errors.items()}, {}
    outside = answering.outside(window)
    # What the lake holds is what has happened: only what the caller has chosen is refused.
    refused = {} if extrapolate else {f"{where}.{name}": text for name, text in outside.items() if name in given}
    return window, refused, outside
