"""The API beside the least that Starlette can do, and beside MLflow and BentoML with the same model."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.load import Load, Question, ask, ask_and_read
from benchmarks.measure import Measure, Watched, free_port, running, seconds_until
from lake.settings import Settings

ROOT = Path(__file__).parents[1]
SYMBOLS = ["AAPL", *(f"S{number}" for number in range(31))]
ROUNDS = int(os.environ.get("SERVING_ROUNDS", "5"))
REQUESTS = int(os.environ.get("SERVING_REQUESTS", "1000000"))
SECONDS = 2.0
CLIENTS = 16
SWAPS = 20
BENTO = ("bentoml==1.4.39", "onnxruntime==1.31.1")


def run(home: Path) -> Iterator[Measure]:
    """On a home of its own: 32 symbols, two models of two versions each, whose answers tell the version."""
    settings = _home(home / "serving")
    yield from _start(settings)
    yield from _forecasts(settings)
    yield from _what_if(settings)
    yield from _a_million(settings)


def _home(folder: Path) -> Settings:
    from tests import serving_kit as kit

    kit.make_registry(folder)
    (folder / "mlflow").mkdir()
    shutil.copy(folder / "mlflow.db", folder / "mlflow" / "mlflow.db")
    settings = Settings(home=folder)
    for version in ("1", "2"):
        kit.write(settings, kit.session(*SYMBOLS, version=version, mean=float(version)))
    return settings


@contextmanager
def _served(settings: Settings, **variables: object) -> Iterator[tuple[str, Watched]]:
    port = free_port()
    with running(settings.home, ["-m", "serving"], api_port=port, **variables) as command:
        address = f"http://127.0.0.1:{port}"
        seconds_until(f"{address}/readyz", command, time.perf_counter())
        yield address, command


def _start(settings: Settings) -> Iterator[Measure]:
    seconds, memory = [], []
    for _ in range(4):  # the first leaves the state that the others start from
        began = time.perf_counter()
        with _served(settings) as (address, command):
            seconds.append(time.perf_counter() - began)
            urllib.request.urlopen(f"{address}/v1/predictions").read()
            memory.append(command.own_memory_mib())
    yield Measure("serving: start to ready, warm", statistics.median(seconds[1:]), "s", 2)
    yield Measure("serving: memory", statistics.median(memory[1:]), "MiB", 150)


def _forecasts(settings: Settings) -> Iterator[Measure]:
    """Precomputed forecasts against a bare route with the same bytes, on the same server; and that on uvicorn."""
    from serving import keys

    with ExitStack() as stack:
        ours, _ = stack.enter_context(_served(settings))
        unlimited = {"access__enabled": True, "access__rate_limit": "1000000000/minute"}
        locked, _ = stack.enter_context(_served(settings, **unlimited))
        body = urllib.request.urlopen(f"{ours}/v1/predictions/AAPL").read()
        bare = stack.enter_context(_bare(settings, body, "granian", "--interface", "asgi", "--no-ws"))
        uvicorn = stack.enter_context(_bare(settings, body, "uvicorn", "--no-access-log", "--no-proxy-headers"))
        key = keys.add(settings.keys_file, "benchmark", ["read"], None)
        path = "/v1/predictions/AAPL"
        time.sleep(keys.RELOAD_SECONDS)
        questions = {
            "bare": Question(bare + path, {}),
            "ours": Question(ours + path, {}),
            "with a key": Question(locked + path, {"X-API-Key": key}),
            "uvicorn": Question(uvicorn + path, {}),
        }
        for clients, words in ((CLIENTS, f"{CLIENTS} clients"), (1, "1 client")):
            loads = _rounds(questions, clients)
            yield Measure(f"forecasts, {words}: of a bare route", _ratio(loads, "ours", "bare") * 100, "%", least=80)
            yield Measure("  with a key", _ratio(loads, "with a key", "bare") * 100, "%", least=60)
            for name in questions:
                yield Measure(f"  {name}", _median(loads[name]), "/s")
            if clients > 1:
                slow = statistics.median(
                    ours.p99 / bare.p99 for ours, bare in zip(loads["ours"], loads["bare"], strict=True)
                )
                yield Measure("  99 % are answered in, of the bare route's time", slow, "x", 1.5)
            yield Measure("  a bare route on granian, of uvicorn's", _ratio(loads, "bare", "uvicorn"), "x")


@contextmanager
def _bare(settings: Settings, body: bytes, server: str, *options: str) -> Iterator[str]:
    file, port = settings.home / "body.json", free_port()
    file.write_bytes(body)
    os.environ["BARE_BODY"] = str(file)
    arguments = ["-m", server, *options, "--port", str(port), "--log-level", "warning", "benchmarks.bare:app"]
    with running(settings.home, arguments) as command:
        address = f"http://127.0.0.1:{port}"
        seconds_until(f"{address}/v1/predictions/AAPL", command, time.perf_counter())
        yield address


def _what_if(settings: Settings) -> Iterator[Measure]:
    """The same model, asked the same window, by one process each, as their documentation starts them in production."""
    from ml.contract import contract_of, session

    files = sorted((settings.home / "serving" / "models").glob("*.onnx"))
    file, contract = next(
        (file, contract)
        for file in files
        for contract in [contract_of(session(file.read_bytes()))]
        if contract.target == "return_5d" and contract.model.endswith("1")
    )
    window = contract.golden.window
    features = dict(zip(contract.inputs, map(list, zip(*window, strict=True)), strict=True))
    json_of = {"Content-Type": "application/json"}
    with ExitStack() as stack:
        address, _ = stack.enter_context(_served(settings))
        scaled = _names_needed(address, features)
        asked = {"target": "return_5d", "cases": [{"features": scaled}], "extrapolate": True}
        questions = {"ours": Question(f"{address}/v1/predict", json_of, json.dumps(asked).encode())}
        peers = {"MLflow": _mlflow(settings, file), "BentoML": _bento(settings, file)}
        for name, (program, arguments, path, member) in peers.items():
            if program is None:
                print(f"{name}: {arguments[0]}", flush=True)
                continue
            port = free_port()
            command = stack.enter_context(running(settings.home, [*arguments, "--port", str(port)], program))
            peer = f"http://127.0.0.1:{port}"
            seconds_until(f"{peer}{'/ping' if name == 'MLflow' else '/livez'}", command, time.perf_counter(), 120)
            questions[name] = Question(peer + path, json_of, json.dumps({member: [window]}).encode())
        loads = _rounds(questions, CLIENTS)
        for name in questions:
            if name != "ours":
                yield Measure(f"what-if: times {name}", _ratio(loads, "ours", name), "x", least=2.5)
        for name in questions:
            yield Measure(f"  {name}", _median(loads[name]), "/s")


def _names_needed(address: str, features: dict[str, list[float]]) -> dict[str, list[float]]:
    """The model's features, and those that scale its interval, which the API names when they are missing."""
    question = Question(
        f"{address}/v1/predict",
        {},
        json.dumps({"target": "return_5d", "cases": [{"features": features}], "extrapolate": True}).encode(),
    )
    request = urllib.request.Request(question.url, question.body, {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request).read()
        return features
    except urllib.error.HTTPError as error:
        sessions = len(next(iter(features.values())))
        missing = re.findall(r"features\.(\w+)", error.read().decode())
        return features | {name: [0.01] * sessions for name in missing if name not in features}


Peer = tuple[str | Path | None, list[str], str, str]
"""Program, its arguments, path of the question, member of its JSON; or None and why there is no such peer."""


def _mlflow(settings: Settings, file: Path) -> Peer:
    import mlflow.onnx
    import onnx

    folder = settings.home / "mlflow_model"
    mlflow.onnx.save_model(
        onnx.load(file), folder, pip_requirements=[], onnx_execution_providers=["CPUExecutionProvider"]
    )
    arguments = ["-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local", "--workers", "1"]
    return sys.executable, arguments, "/invocations", "inputs"


def _bento(settings: Settings, file: Path) -> Peer:
    """BentoML wants other versions than this project: an environment of its own, `BENTO_VENV` or a new one."""
    folder = Path(os.environ.get("BENTO_VENV", settings.home / "bento"))
    if not folder.exists():
        uv = [sys.executable, "-m", "uv"]
        try:
            subprocess.run([*uv, "venv", "--quiet", str(folder)], check=True, capture_output=True)
            install = [*uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *BENTO]
            subprocess.run(install, check=True, capture_output=True, text=True, timeout=600)
        except (subprocess.SubprocessError, OSError) as error:
            return None, [f"left out, since it cannot be installed here ({type(error).__name__})"], "", ""
    os.environ |= {
        "ONNX_FILE": str(file),
        "BENTOML_HOME": str(settings.home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    arguments = ["-m", "bentoml", "serve", "benchmarks.bento_service:Forecaster", "--working-dir", str(ROOT)]
    return folder / "bin" / "python", arguments, "/predict", "window"


def _a_million(settings: Settings) -> Iterator[Measure]:
    """Every answer is read while the champion changes; then memory over as many requests more."""
    from tests import serving_kit as kit

    with _served(settings) as (address, command):
        question = Question(f"{address}/v1/predictions/AAPL", {})
        ask(question, CLIENTS, SECONDS)
        before = command.own_memory_mib()
        stop, delays = threading.Event(), []

        def swap() -> None:
            client = kit.registry_client(settings)
            for number in range(SWAPS):
                version = str(2 - number % 2)
                client.set_registered_model_alias("volatility_5d", "champion", version)
                began = time.perf_counter()
                while _volatility(urllib.request.urlopen(question.url).read()) != (version, float(version)):
                    time.sleep(0.01)
                delays.append(time.perf_counter() - began)
                if stop.wait(REQUESTS / 200_000):
                    return

        swapping = threading.Thread(target=swap)
        swapping.start()
        failed = ask_and_read(question, CLIENTS, REQUESTS, _is_of_one_version)
        stop.set()
        swapping.join()
        yield Measure(f"{REQUESTS:,} requests, {len(delays)} swaps: failed or mixed", failed, "", 0)
        yield Measure("  a swap is seen after (worst)", max(delays), "s", 1)
        yield Measure("  memory grows by", (command.own_memory_mib() / before - 1) * 100, "%", 5)


def _volatility(body: bytes) -> tuple[str, float]:
    found = next(made for made in json.loads(body)["forecasts"] if made["target"] == "volatility_5d")
    return found["model"]["version"], found["mean"]


def _is_of_one_version(status: int, body: bytes) -> bool:
    version, mean = _volatility(body) if status == 200 else ("", 0.0)
    return mean == float(version or "nan")


def _rounds(questions: dict[str, Question], clients: int) -> dict[str, list[Load]]:
    """Rounds in turns, so that whatever else the machine does is the same for all."""
    loads: dict[str, list[Load]] = {name: [] for name in questions}
    for _ in range(ROUNDS):
        for name, question in questions.items():
            loads[name].append(ask(question, clients, SECONDS))
            if loads[name][-1].failed:
                raise RuntimeError(f"{name} has not answered {loads[name][-1].failed} requests")
    return loads


def _median(loads: Sequence[Load]) -> float:
    return statistics.median(load.per_second for load in loads)


def _ratio(loads: dict[str, list[Load]], ours: str, theirs: str) -> float:
    return statistics.median(
        own.per_second / their.per_second for own, their in zip(loads[ours], loads[theirs], strict=True)
    )
