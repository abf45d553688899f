"""Start the server: check where it may listen, print its address, serve until it is stopped."""

import ipaddress
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from histo_index.errors import InputError
from histo_index.serve.app import create_app
from histo_index.serve.config import Limits, ServeConfig
from histo_index.serve.safety.connection import TimedProtocol
from histo_index.serve.safety.token import make_token, read_token
from histo_index.serve.state.state import State

_GRACE_S = 20
# A part of the index that is out of reach is missed after so long: before a request has waited too
# long, see `Limits.wait_s`.
PART_S = 8.0
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a server listens and who may reach it.

    Attributes:
        host: address to listen on.
        port: of it.
        token_file: holds the token; None draws one.
        certificate: TLS certificate, PEM.
        key: its key, PEM.
        behind_proxy: whether a proxy on the way speaks TLS.
        root_path: prefix that the proxy removes.
        allowed_hosts: names by which clients reach it, besides its own address.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    root_path: str = ""
    allowed_hosts: Sequence[str] = field(default_factory=tuple)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def check(self) -> None:
        """Refuse what is not safe.

        Raises:
            InputError: other machines could reach it without a token of the user's, or in clear.
        """
        if (self.certificate is None) != (self.key is None):
            raise InputError("--tls-cert and --tls-key: pass both or neither")
        if self.root_path and not self.root_path.startswith("/"):
            raise InputError(f"--root-path {self.root_path}: expected a path such as /histo")
        for path in (self.certificate, self.key):
            if path is not None and not path.is_file():
                raise InputError(f"{path}: no such file; pass PEM files")
        if self.is_loopback and not self.behind_proxy:
            return
        where = f"--host {self.host}" if not self.is_loopback else "--behind-proxy"
        if self.token_file is None:
            raise InputError(f"{where}: other machines can reach it; pass --token-file")
        if not self.behind_proxy and self.certificate is None:
            raise InputError(
                f"{where}: the token would be sent in clear; pass --tls-cert and --tls-key, or "
                "--behind-proxy if a proxy speaks TLS"
            )
        if self.behind_proxy and not self.allowed_hosts:
            raise InputError(
                "--behind-proxy: pass --allow-host with the name that browsers show, such as "
                "tiles.example.org"
            )

    def hosts(self) -> frozenset[str]:
        """List the values of the Host header that are answered."""
        names = list(self.allowed_hosts)
        own = self.host if ":" not in self.host or "[" in self.host else f"[{self.host}]"
        local = [*_LOOPBACK_NAMES, own] if self.is_loopback else [own]
        names += [f"{name}:{self.port}" for name in local]
        usual = 443 if self.is_tls else 80
        names += local if self.port == usual else []
        return frozenset(name.lower() for name in names)

    @property
    def is_tls(self) -> bool:
        """Whether browsers speak TLS to it."""
        return self.behind_proxy or self.certificate is not None

    @property
    def origin(self) -> str:
        """Scheme, host and port of its pages."""
        scheme = "https" if self.is_tls else "http"
        own = self.host if ":" not in self.host or "[" in self.host else f"[{self.host}]"
        host = self.allowed_hosts[0] if self.allowed_hosts else f"{own}:{self.port}"
        return f"{scheme}://{host}"


def prepare(index: Path, listening: Listening, **options: Any) -> ServeConfig:
    """Check where a server may listen, and read or draw its token.

    Args:
        index: the index folder.
        listening: where.
        options: further attributes of `ServeConfig`.

    Raises:
        InputError: it is not safe, or the token file cannot be used.
    """
    listening.check()
    token = make_token() if listening.token_file is None else read_token(listening.token_file)
    return ServeConfig(
        index=index, token=token, origin=listening.origin, hosts=listening.hosts(),
        root_path=listening.root_path.rstrip("/"), **options,
    )  # fmt: skip


def address(config: ServeConfig, *, has_token_file: bool) -> str:
    """Return the address to open; the token of a file is not repeated on the screen."""
    where = f"{config.origin}{config.root_path}/"
    return f"{where}?token={'TOKEN' if has_token_file else config.token}"


def make_server(config: ServeConfig, listening: Listening) -> uvicorn.Server:
    """Open the index and prepare to serve it.

    Raises:
        IndexFormatError: it is missing, damaged or too new.
    """
    limits: Limits = config.limits

    class Protocol(TimedProtocol):
        header_s = limits.header_s

    settings = uvicorn.Config(
        create_app(State(config)), host=listening.host.strip("[]"), port=listening.port,
        http=Protocol, ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, root_path=config.root_path,
        limit_concurrency=limits.connections, timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=listening.certificate, ssl_keyfile=listening.key,
    )  # fmt: skip
    return uvicorn.Server(settings)


def listen(listening: Listening) -> socket.socket:
    """Take the port, so that an address is printed only once it can be reached.

    Raises:
        InputError: it is in use, or the address is not one of this machine.
    """
    host = listening.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, listening.port), family=family)
    except OSError as error:
        raise InputError(
            f"--host {listening.host} --port {listening.port}: cannot listen there "
            f"({os.strerror(error.errno or 0)}); pass another --port or --host"
        ) from error
    # Head and body of an answer are two packets: the second must not wait for the client to
    # acknowledge the first, which takes it 40 ms. Connections inherit this.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM; requests in flight are finished."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server.run(sockets=[listener])
