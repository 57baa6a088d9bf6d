"""Addresses without the secrets in them: these are printed, stored and logged.

Secret are a user and a password in front of a host (`https://user:password@host/song.mp3`), and
what stands behind the question mark of a web address: with a signature or a token anybody gets the
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# As a path an address has but one slash.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+://?"
_CHAINED = re.compile(rf"::(?={_SCHEME})")  # zip://song.mp3::https://host/songs.zip
_IN_TEXT = re.compile(rf"{_SCHEME}[^\s'\"<>]+")
_PORT = re.compile(r"(^|\]|[^:]):\d*$")
_NAMES = "signature|sig|credential|token|secret|passw|key|auth|policy|session|jwt"
# A parameter with such a name.
_PARAMETER = re.compile(rf"(?<=[?&;])([^=&;?#]*(?:{_NAMES})[^=&;?#]*)=[^&;#]*", re.IGNORECASE)
_SHORTEST = 4
"""Characters; a shorter text may stand in a message by chance."""


def redacted(address: str) -> str:
    """An address without secrets; a path, as it is.

    Web addresses lose all that follows a question mark, other addresses the values of parameters
    that are named as secrets are.
    """
    if ":/" not in address:
        return address
    return "::".join(_cut(each) for each in _CHAINED.split(address))


def without_password(address: str) -> str:
    """An address without the user and the password in front of its host, if it has both.

    In web addresses a user without a password is removed, too: it may be a token.
    """
    return "::".join(_without_password(each) for each in _CHAINED.split(address))


def redacted_text(text: str, address: str = "") -> str:
    """A message without the secrets of the addresses in it.

    Parameters
    ----------
    text
        The message. Of each address in it user and password are removed, and the values of
        parameters that are named as secrets are.
    address
        That the message is about: wherever one of its secrets stands, there is an ellipsis instead.
    """
    if ":/" in address:
        for secret in sorted(set(_secrets(address)), key=len, reverse=True):
            text = text.replace(secret, "…")
    if ":/" not in text:
        return text
    return _IN_TEXT.sub(lambda found: _without_values(without_password(found[0])), text)


def _cut(address: str) -> str:
    shown = _without_password(address)
    return re.split(r"[?#]", shown, maxsplit=1)[0] if _is_web(shown) else _without_values(shown)


def _without_values(address: str) -> str:
    return _PARAMETER.sub(r"\1=", address)


def _without_password(address: str) -> str:
    while (shorter := _without_user(address)) != address:
        address = shorter  # what was taken for a host may be the rest of a password
    return address


def _without_user(address: str) -> str:
    found = re.match(_SCHEME, address)
    if not found:
        return address
    rest = address[found.end() :]
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user = host.rpartition("@")[0]
    if user and (":" in user or _is_web(address)):
        rest = rest[len(user) + 1 :]
    elif ":" in host and "@" in rest and not host.endswith("]") and not _PORT.search(host):
        rest = rest.rpartition("@")[2]  # a password may hold a slash
    return found[0] + rest


def _is_web(address: str) -> bool:
    return address.lower().startswith(("http:/", "https:/"))


def _secrets(address: str) -> Iterator[str]:
    """What is left out of an address, as it stands there and in other spellings."""
    from urllib.parse import quote, unquote, unquote_plus

    for each in _CHAINED.split(address):
        rest, known = (re.sub(f"^{_SCHEME}", "", text) for text in (each, without_password(each)))
        user = rest.removesuffix(known).rstrip("@")
        # Of the user's name and password alone the password, which may hold further colons.
        parts = [user, user.partition(":")[2]]
        if _is_web(each):
            query = each.partition("?")[2]
            parts += [query, *(pair.partition("=")[2] for pair in re.split("[&;#]", query))]
        else:
            parts += [found[0].partition("=")[2] for found in _PARAMETER.finditer(each)]
        for part in parts:
            for spelling in (
                part,
                unquote(part),
                unquote_plus(part),
                quote(part, safe="", errors="surrogateescape"),
            ):
                if len(spelling) >= _SHORTEST:
                    yield spelling
