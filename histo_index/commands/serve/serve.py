"""A page to look with, and the same questions for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import (
    AddressOption,
    AllowPartialOption,
    AnyMppOption,
    DeviceOption,
    IndexOption,
    PartsOption,
    SearchEngineOption,
    TilesOption,
    require_index,
)
from histo_index.commands.output import fail, print_result

app = typer.Typer()


@app.command(epilog="Example: histo-index serve -i tiles.hx")
def serve(
    index: IndexOption = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port.")] = 8000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with the token, mode 0600 (default: a new one)."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse marks and labels.")
    ] = False,
    user: Annotated[
        str | None, typer.Option("--user", help="Whose marks these are; stored with each mark.")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Show image ids and paths, and filter by them.")
    ] = False,
    tiles: TilesOption = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Name, with the port, that browsers use; repeatable."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="TLS certificate, a PEM file.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key, a PEM file.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy before the server speaks TLS.")
    ] = False,
    root_path: Annotated[
        str | None, typer.Option("--root-path", help="Path prefix that the proxy removes.")
    ] = None,
    device: DeviceOption = "auto",
    any_mpp: AnyMppOption = False,
    engine: SearchEngineOption = None,
    address: AddressOption = None,
    parts: PartsOption = None,
    allow_partial: AllowPartialOption = False,
) -> None:
    """Serve pages and a REST interface over an index, on this machine only by default."""
    from histo_index.api.cluster.search import dividing

    folder = require_index(index)
    try:
        from histo_index.serve import start
    except ImportError as error:
        fail(f"serve needs {error.name}: pip install 'histo-index[serve]'", 2)
    listening = start.Listening(
        host=host, port=port, token_file=token_file, certificate=tls_cert, key=tls_key,
        behind_proxy=behind_proxy, root_path=root_path or "", allowed_hosts=tuple(allow_host or ()),
    )  # fmt: skip
    with dividing(
        engine, address, parts, allow_partial=allow_partial, longest_s=start.PART_S
    ) as divide:
        config = start.prepare(
            folder, listening, is_read_only=read_only, shows_names=names, tiles=tiles,
            device=device, user=user, any_mpp=any_mpp, divide=divide, warms_up=True,
        )  # fmt: skip
        server = start.make_server(config, listening)
        listener = start.listen(listening)
        print_result(start.address(config, has_token_file=token_file is not None))
        start.serve(server, listener)
