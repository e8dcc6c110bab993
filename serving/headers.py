"""Security headers of every answer: what a browser may do with it, stricter for data than for the pages of others."""

Headers = list[tuple[bytes, bytes]]

_EVERYWHERE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# Our own pages hold a style sheet and no script.
_OWN_PAGE = f"{_NOTHING}; style-src 'unsafe-inline'; img-src data:"
# Swagger UI is started by a script inside FastAPI's page, which shows no data of the lake.
_DOCS = (
    f"{_NOTHING}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'"
)
# Evidently and dbt write pages with their scripts inside. Sandboxed, such a page has no origin: its scripts may draw,
# but neither ask the API with the rights of whoever looks at it, nor send anything anywhere.
_FOREIGN_PAGE = (
    f"{_NOTHING}; sandbox allow-scripts allow-popups allow-downloads; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src 'self' data: blob:; font-src data:"
)


def _with_policy(policy: str, embeddable: bool = False) -> Headers:
    headers = dict(_EVERYWHERE) | {b"content-security-policy": policy.encode()}
    if embeddable:
        headers[b"cross-origin-resource-policy"] = b"cross-origin"
    return list(headers.items())


_DATA_HEADERS = _with_policy(_NOTHING)
_BY_PREFIX = [
    ("/docs", _with_policy(_DOCS)),
    ("/reports/", _with_policy(_FOREIGN_PAGE)),
    ("/catalog/assets/", _with_policy(_NOTHING, embeddable=True)),  # pictures on a page that has no origin
    ("/catalog/", _with_policy(_FOREIGN_PAGE)),
    ("", _with_policy(_OWN_PAGE)),
]


def security_headers(path: str) -> Headers:
    """The headers of an answer at a path."""
    if path.startswith("/v1/"):
        return _DATA_HEADERS
    return next(headers for prefix, headers in _BY_PREFIX if path.startswith(prefix))
