"""Who may ask the API: keys, tokens, scopes, rates, and a server that is never open to a network by accident."""

import asyncio
import base64
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from starlette.routing import Mount
from typer.testing import CliRunner

from assets_pkg.cli import app as command
from lake.api import Access
from lake.settings import Settings
from serving import keys
from serving.app import create_app
from tests.serving_kit import eventually, make_settings, problem, serve, session, write

ISSUER, AUDIENCE = "https://login.example.org", "lakehouse"


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with forecasts, whose API asks for keys."""
    settings = make_settings(tmp_path, tmp_path_factory)
    write(settings, session("AAPL"))
    settings.access = Access(enabled=True)
    return settings


def make_key(settings: Settings, *scopes: Any, lifetime: timedelta | None = None) -> str:
    return keys.add(settings.keys_file, "test", scopes or ("read",), lifetime)


def key_id(key: str) -> str:
    return key.split("_")[1]


def test_without_a_key_nothing_is_answered_but_health_on_loopback(settings: Settings) -> None:
    with serve(settings) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 200
            problem(client.get(path, headers={"X-Forwarded-For": "203.0.113.9"}), 401)
        for route in create_app(settings).routes:
            path = getattr(route, "path", "").format(
                symbol="AAPL", path="x", id="1", name="m", version="1", profile="p"
            )
            path += "/swagger-ui.css" if isinstance(route, Mount) else ""
            if path not in ("/healthz", "/readyz", "/metrics"):
                for method in getattr(route, "methods", None) or {"GET"}:
                    assert client.request(method, path).status_code == 401, (method, path)
        refusal = client.get("/v1/predictions/AAPL")
        assert "X-API-Key" in problem(refusal, 401)["detail"]
        assert refusal.headers["www-authenticate"] == 'Bearer realm="lakehouse"'
        assert problem(client.get("/%2e%2e/metrics/"), 401)


def test_a_key_opens_what_its_scopes_name(settings: Settings) -> None:
    reader, admin = make_key(settings), make_key(settings, "read", "predict", "admin")
    with serve(settings) as client:
        assert client.get("/v1/predictions/AAPL", headers={"X-API-Key": reader}).status_code == 200
        assert client.get("/v1/predictions/AAPL", headers={"Authorization": f"Bearer {reader}"}).status_code == 200
        refusal = client.post("/v1/predict", headers={"X-API-Key": reader}, json={})
        assert "scope 'predict'" in problem(refusal, 403)["detail"]
        assert 'error="insufficient_scope"' in refusal.headers["www-authenticate"]
        assert client.post("/v1/predict", headers={"X-API-Key": admin}, json={}).status_code not in (401, 403)
        away = {"X-Forwarded-For": "203.0.113.9"}
        problem(client.get("/metrics", headers={"X-API-Key": reader, **away}), 403)
        assert client.get("/metrics", headers={"X-API-Key": admin, **away}).status_code == 200


def test_a_browser_asks_for_a_key_as_password(settings: Settings) -> None:
    password = base64.b64encode(f"anybody:{make_key(settings)}".encode()).decode()
    with serve(settings) as client:
        refusal = client.get("/docs", headers={"Accept": "text/html"})
        assert refusal.status_code == 401
        assert refusal.headers["www-authenticate"].startswith("Basic ")
        for path in ("/", "/docs", "/reports"):
            page = client.get(path, headers={"Accept": "text/html", "Authorization": f"Basic {password}"})
            assert page.status_code == 200


@pytest.mark.parametrize(
    "credentials",
    [
        {"X-API-Key": ""},
        {"X-API-Key": "lhk_"},
        {"X-API-Key": "lhk_000000000000_secret"},
        {"X-API-Key": "\xe9\xff" * 50},
        {"Authorization": "Basic ***"},
        {"Authorization": "Basic " + "QQ" * 5000},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Negotiate abc"},
    ],
    ids=lambda credentials: str(credentials)[:40],
)
def test_what_is_no_key_is_refused(settings: Settings, credentials: dict[str, str]) -> None:
    make_key(settings)
    with serve(settings) as client:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in credentials.items()]
        problem(client.get("/v1/predictions/AAPL", headers=headers), 401)


def test_almost_a_key_is_none_and_an_expired_one_is_told_so(settings: Settings) -> None:
    good, expired = make_key(settings), make_key(settings, lifetime=timedelta(seconds=-1))
    other = make_key(settings)
    with serve(settings) as client:
        mixed = "_".join([*good.split("_", 2)[:2], other.split("_", 2)[2]])
        for wrong in (good[:-1], good + "x", good.swapcase(), mixed):
            assert (
                problem(client.get("/v1/symbols", headers={"X-API-Key": wrong}), 401)["detail"]
                == "The key is not valid."
            )
        answer = client.get("/v1/symbols", headers={"X-API-Key": expired})
        assert problem(answer, 401)["detail"] == f"The key {key_id(expired)} is expired."


def test_a_key_is_rotated_while_the_server_runs(settings: Settings) -> None:
    old = make_key(settings)
    with serve(settings) as client:
        new = make_key(settings)
        eventually(lambda: client.get("/v1/symbols", headers={"X-API-Key": new}).status_code == 200, 5)
        assert client.get("/v1/symbols", headers={"X-API-Key": old}).status_code == 200
        keys.revoke(settings.keys_file, key_id(old))
        eventually(lambda: client.get("/v1/symbols", headers={"X-API-Key": old}).status_code == 401, 5)
        assert client.get("/v1/symbols", headers={"X-API-Key": new}).status_code == 200
        settings.keys_file.write_text("{broken")  # those that were known go on
        time.sleep(1.5 * keys.RELOAD_SECONDS)
        assert client.get("/v1/symbols", headers={"X-API-Key": new}).status_code == 200


def test_keys_are_made_listed_and_revoked_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    run = CliRunner().invoke
    made = run(command, ["keys", "add", "desk of Ana", "--scope", "read", "--scope", "predict", "--days", "30"])
    key = made.stdout.strip()
    secret = key.split("_", 2)[2]
    file = tmp_path / "keys.json"
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    shown = run(command, ["keys", "list"]).stdout
    assert secret not in shown
    assert key_id(key) in shown
    assert "valid    predict,read" in shown
    assert "desk of Ana" in shown
    assert run(command, ["keys", "revoke", key_id(key)]).exit_code == 0
    assert "revoked" in run(command, ["keys", "list"]).stdout
    again = run(command, ["keys", "revoke", key_id(key)])
    assert again.exit_code == 1
    assert again.stderr == f"lakehouse: there is no key {key_id(key)} to revoke\n"
    assert run(command, ["keys", "add", "x", "--scope", "root"]).stderr.startswith("lakehouse: scopes are read")


class Issuer:
    """A server of public keys, and the private ones to sign with."""

    def __init__(self) -> None:
        self.private: dict[str, RSAPrivateKey] = {}
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = json.dumps({"keys": [issuer.public(name) for name in issuer.private]}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"

    def rotate(self, name: str) -> None:
        self.private = {name: rsa.generate_private_key(65537, 2048)}

    def public(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(self.private[name].public_key(), as_dict=True)
        return found | {"kid": name, "use": "sig", "alg": "RS256"}

    def token(self, **changes: Any) -> str:
        name, key = next(iter(self.private.items()))
        now = time.time()
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ana", "exp": now + 600, "roles": ["analyst"]} | changes
        claims = {claim: value for claim, value in claims.items() if value is not None}
        return jwt.encode(claims, key, "RS256", {"kid": name})


@pytest.fixture
def issuer(settings: Settings) -> Iterator[Issuer]:
    found = Issuer()
    found.rotate("first")
    thread = Thread(target=found.server.serve_forever)
    thread.start()
    settings.access = Access(enabled=True, issuer=ISSUER, audience=AUDIENCE, jwks_url=found.url)
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_opens_what_its_roles_and_scopes_name(settings: Settings, issuer: Issuer) -> None:
    with serve(settings) as client:
        assert client.get("/v1/symbols", headers=bearer(issuer.token())).status_code == 200
        assert client.post("/v1/predict", headers=bearer(issuer.token()), json={}).status_code not in (401, 403)
        problem(client.post("/v1/predict", headers=bearer(issuer.token(roles=["reader"])), json={}), 403)
        problem(client.get("/v1/symbols", headers=bearer(issuer.token(roles=["stranger"]))), 403)
        assert (
            client.get("/v1/symbols", headers=bearer(issuer.token(roles=None, scope="openid read"))).status_code == 200
        )
        assert issuer.asked == 1


def test_a_token_that_is_not_right_in_any_part_is_refused(settings: Settings, issuer: Issuer) -> None:
    stranger = Issuer()
    stranger.rotate("first")
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    wrong = {
        "expired": issuer.token(exp=time.time() - 120),
        "another audience": issuer.token(aud="shop"),
        "another issuer": issuer.token(iss="https://evil.example.org"),
        "not valid": stranger.token(),
        "without end": issuer.token(exp=None),
        "without subject": issuer.token(sub=None),
        "not yet": issuer.token(nbf=time.time() + 600),
        "unsigned": jwt.encode(claims, None, "none", {"kid": "first"}),
        "signed with a shared secret": jwt.encode(claims, "what everybody can read" * 3, "HS256", {"kid": "first"}),
        "changed": issuer.token()[:-6] + "AAAAAA",
    }
    stranger.server.server_close()
    with serve(settings) as client:
        for name, token in wrong.items():
            answer = client.get("/v1/symbols", headers=bearer(token))
            detail = problem(answer, 401)["detail"]
            assert name in detail or "not valid" in detail, name
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
            assert token not in answer.text


def test_the_issuer_changes_its_key(settings: Settings, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.tokens._COOLDOWN_SECONDS", 0.2)
    with serve(settings) as client:
        old = issuer.token()
        assert client.get("/v1/symbols", headers=bearer(old)).status_code == 200
        issuer.rotate("second")
        time.sleep(0.3)
        assert client.get("/v1/symbols", headers=bearer(issuer.token())).status_code == 200
        issuer.rotate("third")
        asked = issuer.asked
        for _ in range(5):  # within the pause an unknown key does not make us ask again and again
            problem(client.get("/v1/symbols", headers=bearer(issuer.token())), 401)
        assert issuer.asked - asked <= 1


def test_an_issuer_that_cannot_be_reached_is_no_refusal(settings: Settings, issuer: Issuer) -> None:
    settings.access = settings.access.model_copy(update={"jwks_url": "http://127.0.0.1:1/jwks"})
    with serve(settings) as client:
        answer = client.get("/v1/symbols", headers=bearer(issuer.token()))
        problem(answer, 503)
        assert answer.headers["retry-after"] == "5"


def test_a_key_that_asks_too_often_waits_and_others_do_not(settings: Settings) -> None:
    settings.access = Access(enabled=True, rate_limit="3/hour")
    busy, quiet = make_key(settings), make_key(settings)
    with serve(settings) as client:
        answers = [client.get("/v1/symbols", headers={"X-API-Key": busy}) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        problem(answers[-1], 429)
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 3601
        assert client.get("/v1/symbols", headers={"X-API-Key": quiet}).status_code == 200


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    if shutil.which("redis-server") is None:
        assert "CI" not in os.environ, "continuous integration needs redis-server"
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 10)
            yield f"redis://127.0.0.1:{port}", process
        finally:
            process.kill()


def test_processes_share_the_count_in_redis_and_count_for_themselves_without_it(
    settings: Settings, tmp_path: Path
) -> None:
    key = {"X-API-Key": make_key(settings)}
    with redis_server(tmp_path) as (url, process):
        settings.access = Access(enabled=True, rate_limit="4/hour", redis_url=url)
        with serve(settings) as first, serve(settings) as second:
            both = [client.get("/v1/symbols", headers=key).status_code for _ in range(3) for client in (first, second)]
            assert both == [200, 200, 200, 200, 429, 429]
            process.kill()
            process.wait()
            assert [first.get("/v1/symbols", headers=key).status_code for _ in range(5)] == [200] * 4 + [429]


def test_decisions_are_written_down_without_secrets(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    key = make_key(settings)
    with caplog.at_level(logging.INFO), serve(settings) as client:
        client.get("/v1/symbols", headers={"X-API-Key": key[:-2], "X-Request-ID": "abc-1"})
        client.post("/v1/predict", headers={"X-API-Key": key}, json={"payload": "hidden"})
    lines = [vars(record) for record in caplog.records if record.name == "audit"]
    assert [(line["message"], line["status"], line["who"]) for line in lines] == [
        ("refused", 401, None),
        ("refused", 403, f"key:{key_id(key)}"),
    ]
    assert (lines[0]["method"], lines[0]["path"], lines[0]["client"]) == ("GET", "/v1/symbols", "127.0.0.1")
    written = json.dumps(lines, default=str)
    assert key.split("_", 2)[2][:-2] not in written
    assert "hidden" not in written


def test_without_access_control_only_loopback_is_served(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = make_settings(tmp_path, tmp_path_factory)
    environment = os.environ | {"LAKEHOUSE_HOME": str(settings.home), "LAKEHOUSE_HOST": "0.0.0.0"}
    root = Path(__file__).parents[1]
    for module in (["serving"], ["assets_pkg.cli", "up"]):
        refused = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert refused.returncode == 1
        assert refused.stderr.startswith("lakehouse: LAKEHOUSE_HOST=0.0.0.0 would open the API to everybody")
        assert "LAKEHOUSE_ACCESS__ENABLED=true" in refused.stderr
        assert refused.stderr.count("\n") == 1

    async def ask_over_a_network() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://192.0.2.7:8000") as client:
            return await client.get("/v1/symbols")

    assert "LAKEHOUSE_ACCESS__ENABLED" in problem(asyncio.run(ask_over_a_network()), 403)["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": ISSUER},
        {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "http://login.example.org/jwks"},
        {"rate_limit": "many"},
        {"roles": {"analyst": ["write"]}},
    ],
)
def test_settings_that_would_let_the_wrong_in_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"belong together|must be https|pattern|Input should be"):
        Access(enabled=True, **wrong)


def test_no_other_site_may_read_an_answer(settings: Settings) -> None:
    with serve(settings) as client:
        asked = {"Origin": "https://evil.example.org", "Access-Control-Request-Method": "GET"}
        for answer in (client.options("/v1/symbols", headers=asked), client.get("/healthz", headers=asked)):
            assert not [name for name in answer.headers if name.startswith("access-control-")]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
