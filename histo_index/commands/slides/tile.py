"""Describe slides and cut them into tiles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histo_index.commands.options import (
    CropOption,
    JsonOption,
    MinTissueOption,
    OverlapOption,
    OverwriteOption,
    SlideMppOption,
    TileSizeOption,
    TissueOption,
)
from histo_index.commands.output import REJECTED_EXIT, exit_if, facts_text, print_result
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.api.slides.tile import TileReport

app = typer.Typer()


@app.command(epilog="Example: histo-index slide slides/case-1.svs")
def slide(
    files: Annotated[list[Path], typer.Argument(help="Slide files, or folders of DICOM slides.")],
    as_json: JsonOption = False,
) -> None:
    """Describe slides: reader, levels, microns per pixel, bounds, and problems."""
    from histo_index.api.slides.facts import list_facts

    found = list_facts(files)
    if as_json:
        print_result(found)
    else:
        print_result("\n\n".join(describe_slide(facts) for facts in found))
    exit_if(any("error" in facts for facts in found), REJECTED_EXIT)


@app.command(
    epilog="Example: histo-index tile slides -o tiles.parquet --mpp 0.5 --preview previews"
)
def tile(
    slides: Annotated[list[Path], typer.Argument(help="Slide files, and folders of slides.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest, a Parquet file.")],
    mpp: Annotated[float, typer.Option("--mpp", help="Microns per pixel of the tiles.")],
    tile_size: TileSizeOption = 256,
    overlap: OverlapOption = 0.0,
    tissue: TissueOption = "otsu",
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="Folder of masks (slide.png, tissue white) to use instead."),
    ] = None,
    min_tissue: MinTissueOption = 0.5,
    slide_mpp: SlideMppOption = None,
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", help="Folder of QuPath GeoJSON; its classes become labels."),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option("--preview", help="Folder for a picture of each slide.")
    ] = None,
    geojson: Annotated[
        Path | None, typer.Option("--geojson", help="Folder for tissue and tiles, for QuPath.")
    ] = None,
    crop: CropOption = True,
    save_tiles: Annotated[
        Path | None, typer.Option("--save-tiles", help="Folder for the pixels as PNG files.")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cut slides into tiles with tissue and list them in a manifest for `build`."""
    from histo_index.api.slides.inputs import TileInputs
    from histo_index.api.slides.slide_mpp import read_slide_mpp
    from histo_index.api.slides.tile import TileOutputs
    from histo_index.api.slides.tile import tile as tile_slides
    from histo_index.commands.progress import showing_progress
    from histo_index.commands.result_files import check_output
    from histo_index.slides.tiling.options import TileOptions

    check_output(output, overwrite=overwrite, suffixes=(".parquet",))
    options = TileOptions(
        mpp=mpp, tile_size=tile_size, overlap=overlap, tissue=tissue, min_tissue=min_tissue,
        sharpness=True,
    )  # fmt: skip
    inputs = TileInputs(slide_mpp=read_slide_mpp(slide_mpp), masks=mask, annotations=annotations)
    outputs = TileOutputs(
        preview=preview, geojson=geojson, save_tiles=save_tiles, crop=crop, overwrite=overwrite
    )
    with showing_progress():
        report = tile_slides(list(slides), output, options, inputs=inputs, outputs=outputs)
    print_result(_as_json(report) if as_json else describe_tiles(report))
    exit_if(report.rejected, REJECTED_EXIT)


def describe_slide(facts: dict[str, Any]) -> str:
    """Format what is known of a slide, one fact a line."""
    if "error" in facts:
        return facts_text(facts)
    left, top, width, height = facts["bounds"]
    mpp = facts["mpp"]
    shown = {
        **facts,
        "size_px": _size(facts["size_px"]),
        "mpp": None if mpp is None else " × ".join(f"{value:.6g}" for value in mpp),
        "levels": [
            _size(level["size_px"]) + ("" if mpp is None else f" at {level['mpp']:.4g} µm/px")
            for level in facts["levels"]
        ],
        "bounds": f"{width}×{height} from {left}, {top}",
    }
    return facts_text(shown)


def _size(size_px: list[int]) -> str:
    return f"{size_px[0]}×{size_px[1]}"


def describe_tiles(report: "TileReport") -> str:
    """Format the tiles of each slide, with what to look at."""
    lines = [
        f"{report.manifest}: {counted(report.tiles, 'tile')} of "
        f"{counted(len(report.slides), 'slide')}"
    ]
    for cut in report.slides:
        lines.append(
            f"  {printable(cut.slide)}: {counted(cut.tiles, 'tile')}, "
            f"{cut.tissue_mm2} mm² of tissue, read at {cut.read_mpp:.4g} µm/px"
        )
        lines += [f"    warning: {printable(problem)}" for problem in cut.problems]
    lines += [f"  rejected {printable(s)}: {printable(why)}" for s, why in report.rejected.items()]
    return "\n".join(lines)


def _as_json(report: "TileReport") -> dict[str, Any]:
    return {**vars(report), "tiles": report.tiles}
