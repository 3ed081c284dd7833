"""A client of the API, as thin as can be.

status, answer, headers = call(d, "POST", "/targets", token, size=1 << 20)"""

import json
import urllib.error
import urllib.request
from typing import Any

from tests.support.daemon import Daemon


def admin_token(d: Daemon) -> str:
    return (d.state_dir / "admin.token").read_text().strip()


def call(
    d: Daemon, method: str, path: str, token: str | None = None, *, key: str | None = None, **body: Any
) -> tuple[int, Any, Any]:
    """Status, the JSON of the answer (None if it has none), and its headers."""
    request = urllib.request.Request(f"http://{d.endpoints['web']}/api/v1{path}", method=method)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    if key is not None:
        request.add_header("Idempotency-Key", key)
    if body:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None, answer.headers
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read()), refused.headers
