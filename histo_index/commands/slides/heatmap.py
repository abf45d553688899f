"""Where in a slide it looks like a tile, and which slides look like a slide."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import (
    AnyMppOption,
    CropOption,
    DeviceOption,
    IndexOption,
    JsonOption,
    OverwriteOption,
    QueryMppOption,
    require_index,
)
from histo_index.commands.output import print_result
from histo_index.wording import counted, printable

app = typer.Typer()


@app.command(
    epilog="Example: histo-index heatmap tumour.png --slide case-1.svs -i slides.hx -o map.png"
)
def heatmap(
    slide: Annotated[str, typer.Option("--slide", help="An indexed slide: its path or slide_id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture, a PNG file.")],
    queries: Annotated[
        list[str] | None, typer.Argument(help="Example tiles: files, or image ids in the index.")
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option("--unlike", help="A tile of what is not meant; repeatable."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--class", help="Draw the probability of this class, instead of likeness."),
    ] = None,
    index: IndexOption = None,
    geojson: Annotated[
        Path | None, typer.Option("--geojson", help="Tiles with their values, for QuPath.")
    ] = None,
    crop: CropOption = True,
    device: DeviceOption = "auto",
    query_mpp: QueryMppOption = None,
    any_mpp: AnyMppOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw how much each tile of a slide looks like some tiles, or how likely it is of a class."""
    from histo_index.api.index import open as open_index
    from histo_index.api.slides.heatmap import heatmap as draw
    from histo_index.commands.result_files import check_output

    check_output(output, overwrite=overwrite, suffixes=(".png",))
    check_output(geojson, overwrite=overwrite, suffixes=(".geojson", ".json"))
    opened = open_index(require_index(index), device=device, query_mpp=query_mpp, any_mpp=any_mpp)
    found = draw(
        opened, queries or (), slide=slide, unlike=unlike or (), label=label, output=output,
        geojson=geojson, crop=crop,
    )  # fmt: skip
    best = int(found.values.argmax())
    facts = {
        "slide": found.slide,
        "tiles": len(found.values),
        "values": found.meaning,
        "highest": {"image_id": found.image_ids[best], "value": float(found.values[best])},
        "output": output,
    }
    print_result(
        facts
        if as_json
        else f"{output}: {counted(len(found.values), 'tile')} of {printable(found.slide)}\n"
        + ("" if label is None else f"  class     {printable(label)}, if among those labelled\n")
        + f"  highest   {found.values[best]:.3f}, {printable(found.image_ids[best])}"
    )
