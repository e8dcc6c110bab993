"""Answers to those who may not: 401 and 403, each with the challenge that says what would be accepted."""

from serving.problems import ProblemError

_REALM = "lakehouse"


def unauthorized(detail: str, error: str = "", in_browser: bool = False) -> ProblemError:
    """401. A browser asks its user for a key as the password; a script is not answered by a dialogue.

    Parameters
    ----------
    error : code of RFC 6750 for what was wrong with a token.
    """
    challenge = f'Bearer realm="{_REALM}"' + (f', error="{error}"' if error else "")
    if in_browser:
        challenge = f'Basic realm="{_REALM}, key as password", {challenge}'
    return ProblemError(401, detail, headers={"WWW-Authenticate": challenge})


def forbidden(who: str, scope: str) -> ProblemError:
    """403: known, but without the scope that is needed."""
    challenge = f'Bearer realm="{_REALM}", error="insufficient_scope", scope="{scope}"'
    return ProblemError(
        403, f"This needs the scope '{scope}', which {who} does not have.", headers={"WWW-Authenticate": challenge}
    )
