"""Verify the encoder of an index that was made from features."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import DeviceOption, IndexOption, JsonOption, require_index
from histo_index.commands.output import MISMATCH_EXIT, exit_if, print_result

app = typer.Typer()


@app.command(
    "verify", epilog="Example: histo-index encoder verify encoder -i tiles.hx --slides slides"
)
def verify(
    encoder: Annotated[Path, typer.Argument(help="Encoder folder, as `encoder import` makes it.")],
    index: IndexOption = None,
    slides: Annotated[
        Path | None,
        typer.Option("--slides", help="Folder of the slides (default: as imported)."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Encode 100 tiles of an imported index again; if they agree, it answers about new images."""
    from histo_index.api.features.verify import verify_encoder

    found = verify_encoder(require_index(index), encoder, slides=slides, device=device)
    print_result(found if as_json else "\n".join(found.lines))
    exit_if(not found.is_verified, MISMATCH_EXIT)
