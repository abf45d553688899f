"""A small real index, and a way to run the command line in this process."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from histo_index import cli
from histo_index.api.build import build
from histo_index.demo.tiles import write_tiles
from histo_index.encoder.create import init_encoder
from tests.copies import copy_built


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """A folder with rendered tiles, an untrained encoder and an index of the tiles."""

    folder: Path

    @property
    def tiles(self) -> Path:
        return self.folder / "tiles"

    @property
    def index(self) -> Path:
        return self.folder / "tiles.hx"

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def finished_workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(folder=tmp_path_factory.mktemp("workshop"))
    labels = write_tiles(made.tiles, tiles_per_category=2, slides=2, size_px=64)
    init_encoder(made.encoder, arch="resnet18", seed=0)
    build(made.tiles, made.index, encoder=made.encoder, manifest=labels)
    return made


@pytest.fixture
def workshop(
    finished_workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workshop:
    """A copy to work in, as the working directory."""
    copy_built(finished_workshop.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HISTO_INDEX", raising=False)
    return Workshop(folder=tmp_path)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    logger = logging.getLogger("histo_index")
    before = logger.level

    def run_command(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["histo-index", *map(str, arguments)])
        capfd.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capfd.readouterr()
        return Ran(code=code, out=captured.out, err=captured.err)

    yield run_command
    logger.setLevel(before)
