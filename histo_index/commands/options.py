"""Options that several commands take, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index", "-i", help="The index; else $HISTO_INDEX, else the only *.hx folder here."
    ),
]
EncoderOption = Annotated[Path | None, typer.Option("--encoder", help="Encoder folder.")]
ThresholdOption = Annotated[
    float | None, typer.Option("--threshold", help="Distance up to which a pair is the same.")
]
UnsureOption = Annotated[
    bool | None,
    typer.Option("--unsure/--decide", help="Allow the verdict unsure; else as calibrated."),
]
GroupOption = Annotated[
    str | None,
    typer.Option("--group", help="Column of what must not be matched with itself; else group."),
]
LabelOption = Annotated[
    str | None, typer.Option("--label", help="Column of the label file with the class; else label.")
]
PrivateOption = Annotated[
    bool, typer.Option("--private", help="Use and show private columns, too.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Also write one HTML page with pictures.")
]
ReportNamesOption = Annotated[
    bool, typer.Option("--report-names", help="Name tiles and groups in the report.")
]
TilesOption = Annotated[
    Path | None, typer.Option("--tiles", help="Where the tiles lie now, for pictures.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="auto, float32 or bfloat16.")]
ArchOption = Annotated[
    str, typer.Option("--arch", help="resnext50_32x4d, resnext101_32x8d or resnet18.")
]
StructureOption = Annotated[
    str | None,
    typer.Option("--structure", help="FAISS factory string, or exact; else by the tiles' number."),
]
RecallOption = Annotated[
    float | None,
    typer.Option("--recall", help="Share of the ten nearest to find; 0.99 unless given."),
]
MemoryOption = Annotated[
    str | None,
    typer.Option("--memory", help="What the structure may take, such as 500MB; else 4GB."),
]
DistanceOption = Annotated[
    str | None,
    typer.Option(
        "--distance",
        help="diffused or plain; else as before, or diffused from 100 tiles on.",
    ),
]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels", min=1, help="Refuse larger images; else as before, or 64 million."
    ),
]
