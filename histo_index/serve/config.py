"""What a server is started with."""

from dataclasses import dataclass, field
from pathlib import Path

from histo_index.api.cluster.search import Divide


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a client may ask for.

    Attributes:
        upload_bytes: body of a request with images.
        body_bytes: any other body.
        pixels: width times height of an upload, from its header.
        images: uploads of one request.
        body_s: seconds for a body to arrive.
        header_s: seconds for the head of a request to arrive.
        decode_s: seconds to decode an image.
        slide_rest_s: seconds until a slide that ended three decoders is tried again.
        wait_s: seconds that a request may wait for its turn.
        waiting: requests that wait for the same thing.
        receiving: requests with images that are under way at once.
        held_bytes: bodies of all requests under way, which are kept in memory.
        connections: open ones.
        uploads_kept: uploads that are remembered, the last ones.
        k: neighbours.
        pairs: pairs of a list.
    """

    upload_bytes: int = 32 * 2**20
    body_bytes: int = 2**20
    pixels: int = 25_000_000
    images: int = 8
    body_s: float = 30.0
    header_s: float = 10.0
    decode_s: float = 20.0
    slide_rest_s: float = 300.0
    wait_s: float = 20.0
    waiting: int = 64
    receiving: int = 48
    held_bytes: int = 2**28
    connections: int = 512
    uploads_kept: int = 200
    k: int = 500
    pairs: int = 1_000


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """A server.

    Attributes:
        index: the index folder.
        token: what clients must know.
        origin: scheme, host and port of its pages.
        hosts: values of the Host header that are answered, lower case.
        root_path: prefix that a proxy removes; empty or begins with `/`.
        tiles: folder of the tile files; None is where they were indexed.
        device: where images are encoded: `auto`, `cpu` or `cuda`.
        any_mpp: whether uploads of quite another scale than the index are compared too.
        is_read_only: whether marks and labels are refused.
        shows_names: whether image ids and paths are shown and filtered by.
        warms_up: whether network and decoders are loaded before the first request for them.
        user: whose marks these are; None is nobody in particular.
        limits: how much a client may ask for.
        divide: lets an index be searched in parts; None searches it in this process.
    """

    index: Path
    token: str = field(repr=False)
    origin: str
    hosts: frozenset[str]
    root_path: str = ""
    tiles: Path | None = None
    device: str = "auto"
    any_mpp: bool = False
    is_read_only: bool = False
    shows_names: bool = False
    warms_up: bool = False
    user: str | None = None
    limits: Limits = field(default_factory=Limits)
    divide: Divide | None = None

    @property
    def is_secure(self) -> bool:
        """Whether browsers speak TLS to it, so that cookies may demand it."""
        return self.origin.startswith("https:")
