"""Connect to Ray, and only where that is safe: Ray runs whatever code anybody sends it."""

import ipaddress
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
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
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdigit():
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
    host, _, port = address.removeprefix("ray://").rpartition(":")
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


@contextmanager
def ray_session(address: str | None, *, cpus: int | None = None) -> Iterator[Any]:
    """Connect to a cluster; without an address start one on loopback, and stop it in the end.

    A cluster of our own has a token that only this process and its children know, no dashboard,
    reports no usage, and leaves no files.

    Args:
        address: HOST:PORT of a running cluster, or None.
        cpus: cores of a cluster of our own.

    Yields:
        The module `ray`.

    Raises:
        InputError: Ray is not installed, the address is not safe, or nothing answers there.
    """
    require_safe(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    token = {_MODE: "token", "RAY_AUTH_TOKEN": _own_token()} if address is None else {}
    before = {name: os.environ.get(name) for name in token}
    os.environ.update(token)
    try:
        try:
            import ray
        except ImportError as error:
            raise InputError(_EXTRA) from error
        with _own_folder() if address is None else nullcontext("") as folder:
            try:
                with interrupts_later():
                    _connect(ray, address, cpus, folder)
                yield ray
            finally:
                ray.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


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


@cache
def _own_token() -> str:
    """Return the token of this process; Ray reads it once."""
    return secrets.token_hex(32)


def _connect(ray: Any, address: str | None, cpus: int | None, folder: str) -> None:
    options: dict[str, Any] = {
        "log_to_driver": False, "logging_level": "ERROR", "configure_logging": False,
    }  # fmt: skip
    if address is not None:
        require_listening(address)
        options |= {"address": address}
    else:
        options |= {
            "num_cpus": cpus, "include_dashboard": False, "_node_ip_address": _LOOPBACK,
            "object_store_memory": _OBJECT_STORE_BYTES, "_temp_dir": folder,
        }  # fmt: skip
    for tries_left in reversed(range(_STARTS if address is None else 1)):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray raises Exception itself when a start takes over 30 s
            ray.shutdown()
            if not tries_left:
                where = "a local cluster" if address is None else address
                reason = " ".join(str(error).split())[:300]
                raise InputError(f"Ray: cannot use {where} ({reason})") from error
