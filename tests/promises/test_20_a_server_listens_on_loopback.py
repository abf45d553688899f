"""A server is reached from this machine only, unless another host is asked for, with a token."""

import socket
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from histo_index.errors import InputError
from histo_index.serve.start import Listening, address, listen, prepare
from tests.cli.conftest import Run
from tests.promises.conftest import Tell
from tests.serve.real import running
from tests.serve.site import TOKEN, Site

# What is refused, and why.
UNSAFE = {
    "another address": (["--host", "0.0.0.0"], "pass --token-file"),
    "another address of IPv6": (["--host", "::"], "pass --token-file"),
    "a name": (["--host", "histology.example.org"], "pass --token-file"),
    "in clear": (["--host", "0.0.0.0", "--token-file", "token"], "pass --tls-cert and --tls-key"),
    "a proxy without a token": (["--behind-proxy"], "pass --token-file"),
    "a proxy without a name": (["--behind-proxy", "--token-file", "token"], "pass --allow-host"),
    "half of TLS": (["--tls-cert", "token"], "pass both or neither"),
    "TLS without files": (["--tls-cert", "no.pem", "--tls-key", "no.pem"], "no such file"),
    "an odd prefix": (["--root-path", "histo"], "expected a path such as /histo"),
}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("case", UNSAFE)
def test_what_is_not_safe_is_refused_before_it_listens(
    case: str, run: Run, site: Site, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(token_file.parent)
    options, reason = UNSAFE[case]
    ran = run("serve", "-i", site.index, *options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("histo-index: error: ")
    assert reason in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("mode", "text", "reason"),
    [
        (0o644, TOKEN, "mode 0644, so others can read the token"),
        (0o640, TOKEN, "mode 0640"),
        (0o606, TOKEN, "mode 0606"),
        (0o600, "short", "no token; expected one word of at least 24"),
        (0o600, "two words that are long enough", "no token"),
        (0o600, "", "no token"),
    ],
)
def test_a_token_that_others_read_or_guess_is_refused(
    token_file: Path, mode: int, text: str, reason: str
) -> None:
    token_file.write_text(text)
    token_file.chmod(mode)
    with pytest.raises(InputError, match=reason):
        prepare(Path("any.hx"), Listening(token_file=token_file))


def test_a_port_that_is_taken_is_refused_before_an_address_is_printed(run: Run, site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("serve", "-i", site.index, "--port", port)
    assert (ran.code, ran.out) == (2, "")
    (line,) = (line for line in ran.err.splitlines() if "error: " in line)
    assert line == (
        f"histo-index: error: --host 127.0.0.1 --port {port}: cannot listen there (Address already "
        "in use); pass another --port or --host"
    )


def test_answers_are_not_held_back_until_the_client_acknowledges() -> None:
    with listen(Listening(port=0)) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_without_options_it_listens_on_loopback_with_a_token_of_its_own(site: Site) -> None:
    configs = [prepare(site.index, Listening(port=8000)) for _ in range(2)]
    assert len({config.token for config in configs}) == 2
    assert min(len(config.token) for config in configs) == 43
    assert configs[0].hosts == {"127.0.0.1:8000", "localhost:8000", "[::1]:8000"}
    shown = address(configs[0], has_token_file=False)
    assert shown == f"http://127.0.0.1:8000/?token={configs[0].token}"
    assert address(configs[0], has_token_file=True) == "http://127.0.0.1:8000/?token=TOKEN"
    assert configs[0].token not in repr(configs[0])


def test_with_a_proxy_it_answers_for_the_name_that_browsers_show(token_file: Path) -> None:
    listening = Listening(
        host="10.0.0.5", behind_proxy=True, root_path="/histo", token_file=token_file,
        allowed_hosts=["tiles.example.org"],
    )  # fmt: skip
    config = prepare(Path("any.hx"), listening)
    assert config.hosts == {"tiles.example.org", "10.0.0.5:8000"}
    assert config.origin == "https://tiles.example.org"
    assert config.is_secure


def test_the_socket_is_one_of_loopback_and_answers_nothing_without_the_token(
    site: Site, tell: Tell
) -> None:
    with running(site) as served:
        listening = [
            entry.laddr.ip
            for entry in psutil.Process().net_connections("inet")
            if entry.status == "LISTEN" and entry.laddr.port == served.port
        ]
        assert listening == ["127.0.0.1"]
        with httpx.Client(base_url=served.url, timeout=60) as client:
            paths = ("/", "/search", "/v1/tiles", "/metrics", "/openapi.json", "/static/app.css")
            assert {client.get(path).status_code for path in paths} == {401}
            entered = client.get("/", params={"token": TOKEN})
            assert (entered.status_code, entered.headers["location"]) == (303, "/")
            assert client.get("/").status_code == 200
    tell(f"{len(UNSAFE) + 6} unsafe start-ups, 4 safe ones", "all unsafe ones refused")
