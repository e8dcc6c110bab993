"""Telling a person: every alert is logged and, where a webhook is set, posted.

Nothing here raises: an alert that fails must not hide what it reports.
"""

import json
import logging
import urllib.error
import urllib.request

from lake.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0


def notify(settings: Settings, title: str, text: str = "") -> bool:
    """Log an alert and post it to `settings.alert_webhook_url`.

    The body is `{"text": "*title*\\ntext"}` with `&`, `<` and `>` escaped: what Slack's incoming webhooks and the
    services that copied them read (https://docs.slack.dev/messaging/formatting-message-text).

    Returns
    -------
    bool
        Whether a webhook took it. False as well where none is set; a failed post is logged, and not repeated.
    """
    log.warning("%s%s", title, f": {text}" if text else "")
    if not settings.alert_webhook_url:
        return False
    message = f"*{_escape(title)}*" + (f"\n{_escape(text)}" if text else "")
    try:
        request = urllib.request.Request(
            settings.alert_webhook_url,
            data=json.dumps({"text": message}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            return True
    except urllib.error.HTTPError as error:
        problem = f"HTTP {error.code}"
    except Exception as error:
        # Only the kind of the error: its text may hold the address, and the address of a webhook is its password.
        problem = type(error).__name__ + (f" ({error.reason})" if isinstance(error, urllib.error.URLError) else "")
    log.error("the alert webhook did not take the alert %r: %s", title, problem)
    return False


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
