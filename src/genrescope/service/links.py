"""Links to the audio of tracks that work without the API key, until they expire."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import urlencode

LINK_PARAMETERS = ("expires", "signature")
_MOST_SECONDS = 366 * 86400


def signed(path: str, key: str, seconds: float) -> str:
    """A path with a time and a signature, by which whoever has the link may get it until then."""
    expires = str(int(time.time() + seconds))
    return f"{path}?{urlencode({'expires': expires, 'signature': _signature(path, key, expires)})}"


def is_signed(path: str, query: Mapping[str, str], key: str) -> bool:
    """Whether the query of a request has a signature of its path that has not expired."""
    expires = query.get("expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 12):
        return False
    if not 0 <= int(expires) - time.time() <= _MOST_SECONDS:
        return False
    return hmac.compare_digest(
        query.get("signature", "").encode(), _signature(path, key, expires).encode()
    )


def _signature(path: str, key: str, expires: str) -> str:
    text = f"genrescope link\n{path}\n{expires}"
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
