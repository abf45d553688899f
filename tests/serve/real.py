"""A server on a real socket of this machine, in a thread of this process."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import uvicorn

from histo_index.serve.start import Listening, listen, make_server, serve
from tests.serve.site import TOKEN, Site


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server.

    Attributes:
        port: on 127.0.0.1.
        server: what uvicorn calls it.
    """

    port: int
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        """Open a connection that is given up after 60 s of silence."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def head(self, method: str, path: str, *lines: str) -> bytes:
        """Write the head of a request with the token."""
        fixed = (f"Host: 127.0.0.1:{self.port}", f"Authorization: Bearer {TOKEN}")
        return "\r\n".join((f"{method} {path} HTTP/1.1", *fixed, *lines, "", "")).encode()


@contextmanager
def running(site: Site, **changes: Any) -> Iterator[Served]:
    """Serve an index on a free port until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listening = Listening(port=port)
    config = replace(site.config(origin=listening.origin, hosts=listening.hosts()), **changes)
    server = make_server(config, listening)
    thread = threading.Thread(target=serve, args=(server, listen(listening)))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield Served(port=port, server=server)
    finally:
        server.should_exit = True
        thread.join()
