"""Telling a person: every notification is logged, and sent by each channel that is set, webhook and e-mail.

Nothing here raises: a notification that fails must not hide what it reports.
"""

import json
import logging
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid

from lake.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0


def notify(settings: Settings, title: str, text: str = "", level: int = logging.WARNING) -> list[str]:
    """Log a notification and send it by every channel of the settings.

    Parameters
    ----------
    title : becomes one line, the subject of the mail.
    level : of the log record.

    Returns
    -------
    list[str]
        The channels that took it, of `webhook` and `e-mail`. A channel that fails is logged, and not tried again.
    """
    title = one_line(title)
    log.log(level, "%s%s", title, f": {text}" if text else "")
    channels: dict[str, Callable[[Settings, str, str], None]] = {}
    if settings.alert_webhook_url:
        channels["webhook"] = _post
    if settings.smtp.host:
        channels["e-mail"] = _mail
    taken = []
    for name, send in channels.items():
        try:
            send(settings, title, text)
            taken.append(name)
        except Exception as error:
            log.error("no notification %r by %s: %s", title, name, _problem(error))
    return taken


def one_line(text: str) -> str:
    """The text without line breaks and control characters, which a file name may bring."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _post(settings: Settings, title: str, text: str) -> None:
    """Post `{"text": "*title*\\ntext"}` with `&`, `<` and `>` escaped: what Slack's incoming webhooks read.

    https://docs.slack.dev/messaging/formatting-message-text; other services have copied it.
    """
    message = f"*{_escape(title)}*" + (f"\n{_escape(text)}" if text else "")
    assert settings.alert_webhook_url is not None
    request = urllib.request.Request(
        settings.alert_webhook_url,
        data=json.dumps({"text": message}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
        pass


def _mail(settings: Settings, title: str, text: str) -> None:
    smtp = settings.smtp
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = title, smtp.sender, smtp.recipients
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=getaddresses([smtp.sender])[0][1].rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # no vacation replies, please
    message.set_content(text or title)
    context = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(smtp.host, smtp.port, timeout=TIMEOUT_SECONDS, context=context)
        if smtp.security == "tls"
        else smtplib.SMTP(smtp.host, smtp.port, timeout=TIMEOUT_SECONDS)
    ) as server:
        if smtp.security == "starttls":
            server.starttls(context=context)
        if smtp.user:
            server.login(smtp.user, smtp.password.get_secret_value())
        refused = server.send_message(message)
    if refused:
        log.error("no notification %r by e-mail to %s", title, ", ".join(refused))


def _problem(error: Exception) -> str:
    """The kind of an error: its text may hold a secret, and the address of a webhook is one."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError):
        return f"URLError ({error.reason})"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{type(error).__name__} {error.smtp_code}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{type(error).__name__} ({error.verify_message})"
    return type(error).__name__


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
