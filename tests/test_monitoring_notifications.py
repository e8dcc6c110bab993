"""Notifications reach a person: always the log, webhook and mail where set, and never at the cost of the caller."""

import logging
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lake.settings import Settings, get_settings
from lake.smtp import Smtp
from monitoring import notifications
from tests.mailbox import PASSWORD, USER, Mailbox, certificate, free_port, login, mail_server
from tests.webhook import Webhook


def test_it_is_posted_the_way_slack_reads_it(webhook: Webhook) -> None:
    settings = Settings(alert_webhook_url=webhook.url)
    assert notifications.notify(settings, "Run failed", "raw/bars: <Timeout> & more") == ["webhook"]
    assert webhook.posts == [
        (
            "/hook/secret-token",
            "application/json",
            {"text": "*Run failed*\nraw/bars: &lt;Timeout&gt; &amp; more"},
        )
    ]


def test_without_a_webhook_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    assert not notifications.notify(Settings(alert_webhook_url=None), "Drift", "log_return_1")
    assert "Drift: log_return_1" in caplog.text


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{port}/secret-token", "not an address/secret-token", "ftp://x/secret-token"]
)
def test_a_dead_webhook_is_logged_without_its_secret(address: str, caplog: pytest.LogCaptureFixture) -> None:
    assert not notifications.notify(Settings(alert_webhook_url=address.format(port=free_port())), "Run failed")
    problems = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(problems) == 1
    assert "secret-token" not in caplog.text


def test_a_refusing_webhook_is_logged_with_its_status(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    webhook.status = 500
    assert not notifications.notify(Settings(alert_webhook_url=webhook.url), "Run failed")
    assert "HTTP 500" in caplog.text


def test_a_webhook_that_hangs_does_not_hold_the_caller(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifications, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert not notifications.notify(Settings(alert_webhook_url=url), "Run failed")
    assert "no notification 'Run failed' by webhook: TimeoutError" in caplog.text


def by_mail(port: int, **fields: Any) -> Settings:
    """Settings with a mail server on loopback."""
    given = {"security": "none", "sender": "Lake <lake@example.org>", "recipients": "Ana <ana@example.org>"} | fields
    return Settings(smtp=Smtp(host="127.0.0.1", port=port, **given))


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS of a server whose certificate this machine trusts."""
    context, path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return context


def test_a_mail_has_subject_text_and_every_recipient(mailbox: Mailbox) -> None:
    with mail_server(mailbox) as port:
        recipients = "Ana <ana@example.org>, li@example.org"
        assert notifications.notify(by_mail(port, recipients=recipients), "Run failed", "raw/bars\nat 17:30") == [
            "e-mail"
        ]
    (mail,), (envelope,) = mailbox.mail, mailbox.envelopes
    assert (mail["Subject"], mail["From"], mail["To"]) == ("Run failed", "Lake <lake@example.org>", recipients)
    assert mail.get_content() == "raw/bars\nat 17:30\n"
    assert (envelope.mail_from, envelope.rcpt_tos) == ("lake@example.org", ["ana@example.org", "li@example.org"])
    assert mail["Date"]
    assert mail["Message-ID"].endswith("@example.org>")


def test_every_channel_gets_it_and_a_dead_one_keeps_it_from_none(mailbox: Mailbox, webhook: Webhook) -> None:
    with mail_server(mailbox) as port:
        settings = by_mail(port).model_copy(update={"alert_webhook_url": webhook.url})
        assert notifications.notify(settings, "Drift") == ["webhook", "e-mail"]
        webhook.status = 500
        assert notifications.notify(settings, "Drift") == ["e-mail"]
    assert [mail.get_content() for mail in mailbox.mail] == ["Drift\n", "Drift\n"]


def test_a_name_with_line_breaks_adds_no_header(mailbox: Mailbox) -> None:
    name = "AAPL.csv\r\nBcc: thief@example.org\n\nfake body\x00\u2028\u202e"
    with mail_server(mailbox) as port:
        assert notifications.notify(by_mail(port), f"Arrived: {name}", f"from {name}") == ["e-mail"]
    ((mail,), (envelope,)) = mailbox.mail, mailbox.envelopes
    assert mail["Subject"] == "Arrived: AAPL.csv Bcc: thief@example.org fake body"
    assert mail["Bcc"] is None
    assert envelope.rcpt_tos == ["ana@example.org"]


@pytest.mark.parametrize("title", ["Índice español: año 2022", "価格が届いた", "é" * 300, "a" * 300])
def test_any_language_arrives_as_it_was_written(mailbox: Mailbox, title: str) -> None:
    with mail_server(mailbox) as port:
        assert notifications.notify(by_mail(port), title, f"{title} ≥ €1") == ["e-mail"]
    (mail,) = mailbox.mail
    assert (mail["Subject"], mail.get_content()) == (title, f"{title} ≥ €1\n")


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_the_password_travels_encrypted(mailbox: Mailbox, trusted: ssl.SSLContext, security: str) -> None:
    tls = {"tls_context": trusted, "require_starttls": True} if security == "starttls" else {"ssl_context": trusted}
    # aiosmtpd does not know that the whole connection is encrypted
    options = {"authenticator": login, "auth_required": True, "auth_require_tls": security == "starttls"}
    with mail_server(mailbox, **tls, **options) as port:
        fields = {"security": security, "user": USER, "password": PASSWORD}
        assert notifications.notify(by_mail(port, **fields), "Run failed") == ["e-mail"]
    assert mailbox.mail[0]["Subject"] == "Run failed"


@pytest.fixture(params=["wrong password", "unknown certificate", "no STARTTLS", "down", "hangs", "nobody"])
def broken(
    request: pytest.FixtureRequest, mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Settings, str]]:
    """Settings whose mail cannot be sent, and what the log says of it."""
    context, path = certificate(tmp_path)
    monkeypatch.setattr(notifications, "TIMEOUT_SECONDS", 0.5)
    account = {"user": USER, "password": "secret-token", "security": "starttls"}
    if request.param == "wrong password":
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with mail_server(mailbox, tls_context=context, authenticator=login, auth_required=True) as port:
            yield by_mail(port, **account), "SMTPAuthenticationError 535"
    elif request.param == "unknown certificate":
        with mail_server(mailbox, tls_context=context, authenticator=login) as port:
            yield by_mail(port, **account), "SSLCertVerificationError (self-signed certificate)"
    elif request.param == "no STARTTLS":
        with mail_server(mailbox) as port:
            yield by_mail(port, **account), "SMTPNotSupportedError"
    elif request.param == "nobody":
        with mail_server(mailbox) as port:
            yield by_mail(port, recipients="nobody@example.org"), "SMTPRecipientsRefused"
    elif request.param == "down":
        yield by_mail(free_port(), **account), "ConnectionRefusedError"
    else:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            yield by_mail(silent.getsockname()[1], **account), "SMTPServerDisconnected"


def test_mail_that_cannot_be_sent_is_logged_without_its_password(
    broken: tuple[Settings, str], mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    settings, words = broken
    begun = time.monotonic()
    assert notifications.notify(settings, "Run failed") == []
    assert time.monotonic() - begun < 4
    ours = [record.getMessage() for record in caplog.records if record.name == notifications.__name__]
    assert ours == ["Run failed", f"no notification 'Run failed' by e-mail: {words}"]
    assert "secret-token" not in caplog.text
    assert mailbox.envelopes == []


def test_one_refused_recipient_is_named_and_the_others_get_it(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    with mail_server(mailbox) as port:
        settings = by_mail(port, recipients="ana@example.org, nobody@example.org")
        assert notifications.notify(settings, "Run failed") == ["e-mail"]
    assert "by e-mail to nobody@example.org" in caplog.text
    assert len(mailbox.mail) == 1


def test_a_mail_server_is_set_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOST": "mail", "PASSWORD": "secret-token", "SENDER": "a@b", "RECIPIENTS": "c@d"}.items():
        monkeypatch.setenv(f"LAKEHOUSE_SMTP__{name}", value)
    settings = get_settings()
    assert (settings.smtp.host, settings.smtp.port, settings.smtp.security) == ("mail", 587, "starttls")
    assert "secret-token" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize("recipients", ["", "ana", "a@b, ", "a@b\nBcc: c@d"])
def test_a_mail_server_without_recipients_is_refused(recipients: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOST": "mail", "SENDER": "a@b", "RECIPIENTS": recipients}.items():
        monkeypatch.setenv(f"LAKEHOUSE_SMTP__{name}", value)
    with pytest.raises(ValueError, match="recipients must hold mail addresses"):
        get_settings()
