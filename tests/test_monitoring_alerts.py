"""Alerts reach a person: always the log, the webhook where one is set, and never at the cost of the caller."""

import logging
import socket

import pytest

from lake.settings import Settings
from monitoring import alerts
from tests.webhook import Webhook


def test_an_alert_is_posted_the_way_slack_reads_it(webhook: Webhook) -> None:
    settings = Settings(alert_webhook_url=webhook.url)
    assert alerts.notify(settings, "Run failed", "raw/bars: <Timeout> & more")
    assert webhook.posts == [
        (
            "/hook/secret-token",
            "application/json",
            {"text": "*Run failed*\nraw/bars: &lt;Timeout&gt; &amp; more"},
        )
    ]


def test_without_a_webhook_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    assert not alerts.notify(Settings(alert_webhook_url=None), "Drift", "log_return_1")
    assert "Drift: log_return_1" in caplog.text


def dead_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{port}/secret-token", "not an address/secret-token", "ftp://x/secret-token"]
)
def test_a_dead_webhook_is_logged_without_its_secret(address: str, caplog: pytest.LogCaptureFixture) -> None:
    assert not alerts.notify(Settings(alert_webhook_url=address.format(port=dead_port())), "Run failed")
    problems = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(problems) == 1
    assert "secret-token" not in caplog.text


def test_a_refusing_webhook_is_logged_with_its_status(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    webhook.status = 500
    assert not alerts.notify(Settings(alert_webhook_url=webhook.url), "Run failed")
    assert "HTTP 500" in caplog.text


def test_a_webhook_that_hangs_does_not_hold_the_caller(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(alerts, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert not alerts.notify(Settings(alert_webhook_url=url), "Run failed")
    assert "did not take the alert" in caplog.text
