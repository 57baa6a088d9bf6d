"""Settings of `genrescope serve`, and limits on requests."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from genrescope.errors import GenrescopeError

API_KEY_VARIABLE = "GENRESCOPE_API_KEY"
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class ServiceSettings:
    """Where the service listens, what it serves, and its limits.

    Attributes
    ----------
    host
        The address it is bound to.
    model
        A model's name, a run folder or a bundle.
    library
        The place of a library; None for no library.
    runs
        The folder of the laboratory's runs; None for none.
    workers
        Files that are classified at the same time, and processes that decode.
    queue
        Requests whose work may wait; further ones are refused with 503.
    api_key
        Required from every client where it is set.
    allowed_hosts
        Further names by which clients may address the service, such as that of a reverse proxy.
    max_bytes, max_files
        Limits for one request.
    max_seconds
        Longest audio that is classified.
    max_work_seconds
        Longest time that may be spent on one file.
    max_idle_seconds
        Longest pause within a request.
    max_decoder_bytes
        Memory that a decoder process may take, as `genrescope.audio.safely` counts it.
    """

    host: str = "127.0.0.1"
    model: str = "default"
    library: str | None = None
    runs: Path | None = None
    workers: int = 1
    queue: int = 16
    api_key: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    max_bytes: int = 256 * 2**20
    max_files: int = 32
    max_seconds: float = 2 * 3600.0
    max_work_seconds: float = 120.0
    max_idle_seconds: float = 30.0
    max_decoder_bytes: int = 2**31

    def __post_init__(self) -> None:
        if self.api_key and not self.api_key.isascii():
            raise GenrescopeError(f"{API_KEY_VARIABLE}: only ASCII characters can be sent")
        if not self.is_loopback and not self.api_key:
            raise GenrescopeError(
                f"other machines could reach {self.host}: set {API_KEY_VARIABLE} to a long secret "
                "that clients have to send, or bind to 127.0.0.1"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> frozenset[str]:
        """The values of `Host`, without a port, that clients may send, in lower case."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return frozenset(each.lower() for each in (*_LOCAL_NAMES, own, *self.allowed_hosts))
