"""Connect to Ray, and only where that is safe: Ray runs whatever code anybody sends it."""

import ipaddress
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from histo_index.errors import InputError

_MODE: Final = "RAY_AUTH_MODE"
_LOOPBACK: Final = "127.0.0.1"
_OBJECT_STORE_BYTES: Final = 200_000_000
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
    and reports no usage.

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
    token = {_MODE: "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if address is None else {}
    before = {name: os.environ.get(name) for name in token}
    os.environ.update(token)
    try:
        try:
            import ray
        except ImportError as error:
            raise InputError(_EXTRA) from error
        _connect(ray, address, cpus)
        try:
            yield ray
        finally:
            ray.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _connect(ray: Any, address: str | None, cpus: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
            return
        ray.init(
            num_cpus=cpus, include_dashboard=False, _node_ip_address=_LOOPBACK,
            object_store_memory=_OBJECT_STORE_BYTES, **quiet,
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = "a local cluster" if address is None else address
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"Ray: cannot use {where} ({reason})") from error
