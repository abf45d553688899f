"""Connect to Ray, and only where that is safe: Ray runs whatever code anybody sends it."""

import ipaddress
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from histo_index.errors import InputError

_MODE: Final = "RAY_AUTH_MODE"
_LOOPBACK: Final = "127.0.0.1"
_OBJECT_STORE_BYTES: Final = 200_000_000
# A crowded machine may be too slow for the first start.
_STARTS: Final = 3
_ANSWER_S: Final = 5.0
_LONGEST_PATH: Final = 30
# Usage statistics would go to Ray's makers. The second silences a warning about GPUs.
_QUIET: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# Without it Ray replaces 127.0.0.1 by the address that other machines reach this one by.
_LOCAL: Final = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_EXTRA: Final = "Ray is not installed: pip install 'histo-index[ray]'"


def require_safe(address: str | None) -> None:
    """Refuse a cluster on other machines that lets anybody in.

    Args:
        address: HOST:PORT of a cluster; None for one of our own.

    Raises:
        InputError: the address is not HOST:PORT, or not on loopback and tokens are off.
    """
    if address is None:
        return
    host, colon, port = address.rpartition(":")
    if not colon or not host or "/" in host or not port.isdigit():
        raise InputError(f"--address {address}: expected HOST:PORT, such as 10.0.0.1:6379")
    if not _is_loopback(host) and os.environ.get(_MODE, "").lower() != "token":
        raise InputError(
            f"--address {address}: this cluster runs the code of anybody who reaches it; start it "
            f"with {_MODE}=token, and set that and the token here too (RAY_AUTH_TOKEN_PATH)"
        )


def require_listening(address: str) -> None:
    """Check that something answers at an address; Ray itself would try for minutes.

    Raises:
        InputError: nothing does.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S):
            pass
    except OSError as error:
        raise InputError(
            f"--address {address}: nothing answers there ({error.strerror or error}); start Ray "
            "with `ray start --head`, or check host and port"
        ) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def cause_of(error: Exception) -> Exception:
    """Return what a remote call raised, from the error that Ray raises for it here."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


@contextmanager
def ray_session(address: str | None, *, cpus: int | None = None) -> Iterator[Any]:
    """Connect to a cluster; without an address start one on loopback, and stop it in the end.

    A cluster of our own has a token that only this process and its children know, no dashboard,
    reports no usage, and leaves no files. Inside another session, or where the caller has connected
    Ray, the block uses that cluster.

    Args:
        address: HOST:PORT of a running cluster, or None.
        cpus: cores of a cluster of our own.

    Yields:
        The module `ray`.

    Raises:
        InputError: Ray is not installed, the address is not safe, nothing answers there, or this
            process is connected to another cluster.
    """
    require_safe(address)
    loaded = sys.modules.get("ray")
    if loaded is not None and loaded.is_initialized():
        if address is not None:
            raise InputError(f"--address {address}: Ray is connected already; leave it out")
        yield loaded
        return
    own = {_MODE: "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), **_LOCAL}
    with _environment(_QUIET | ({} if address else own)):
        ray = _import_ray(is_local=address is None)
        with _own_folder() if address is None else nullcontext("") as folder:
            try:
                with interrupts_later():
                    _connect(ray, address, cpus, folder)
                yield ray
            finally:
                ray.shutdown()
                _end_started(folder)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _import_ray(*, is_local: bool) -> Any:
    """Import Ray; what it read from the environment if it was imported before is read again.

    Raises:
        InputError: it is not installed.
    """
    try:
        import ray
        from ray._private import ray_constants
    except ImportError as error:
        raise InputError(_EXTRA) from error
    ray_constants.ENABLE_RAY_CLUSTER = not is_local
    # As Ray does when it switches tokens on by itself.
    native: Any = ray._raylet
    native.Config.initialize("")
    native.AuthenticationTokenLoader.instance().reset_cache()
    return ray


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: a start that is cut off leaves processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught and callable(before):
        before(*caught[0])


def _own_folder() -> "tempfile.TemporaryDirectory[str]":
    """Make a folder for Ray that goes with the cluster: its log files may hold names of tiles.

    The path of a socket has at most 107 bytes, and Ray itself needs some 60.
    """
    short = None if len(tempfile.gettempdir()) <= _LONGEST_PATH else "/tmp"
    return tempfile.TemporaryDirectory(prefix="hx-", dir=short, ignore_cleanup_errors=True)


def _end_started(folder: str) -> None:
    """End what Ray has started in a folder: a start that failed leaves processes behind."""
    for path in Path("/proc").glob("[0-9]*/cmdline") if folder else ():
        with suppress(OSError):
            if os.fsencode(folder) in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def _connect(ray: Any, address: str | None, cpus: int | None, folder: str) -> None:
    if address is not None:
        require_listening(address)
    where = "a local cluster" if address is None else address
    for tries_left in reversed(range(_STARTS if address is None else 1)):
        try:
            ray.init(**_options(address, cpus, folder))
            break
        except Exception as error:  # Ray raises Exception itself when a start takes over 30 s
            ray.shutdown()
            _end_started(folder)
            if not tries_left:
                reason = " ".join(str(error).split())[:300]
                raise InputError(f"Ray: cannot use {where} ({reason})") from error
    reached = {node["NodeManagerAddress"] for node in ray.nodes()}
    if address is None and reached != {_LOOPBACK}:
        raise InputError(f"Ray: a local cluster listens on {reached}; expected {_LOOPBACK} only")


def _options(address: str | None, cpus: int | None, folder: str) -> dict[str, Any]:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address is not None:
        return {**quiet, "address": address}
    return {
        **quiet, "num_cpus": cpus, "include_dashboard": False, "_node_ip_address": _LOOPBACK,
        "object_store_memory": _OBJECT_STORE_BYTES, "_temp_dir": folder,
    }  # fmt: skip
