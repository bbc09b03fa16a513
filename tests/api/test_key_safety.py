"""The key leaves in one header, to one host, and whatever a server does, nothing hangs or grows without bound."""

from __future__ import annotations

import gzip
import json
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from airflow_provider_paperspace.api.errors import (
    ApiError,
    ServerError,
    TransportError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.api.settings import MAX_ANSWER_BYTES, ClientSettings
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.clients import AsyncClient, Client, SyncClient
from tests.raw_server import DRIP, HANG, http, raw_server
from tests.secret_watch import API_KEY

EMPTY_PAGE = json.dumps({"hasMore": False, "items": []}).encode()
BEARER = f"Bearer {API_KEY}".encode()


@pytest.fixture(params=[SyncClient, AsyncClient], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> type[Client]:
    kind: type[Client] = request.param
    return kind


def to(url: str, **more: object) -> ClientSettings:
    return replace(ClientSettings(api_key=API_KEY, base_url=url, timeout_s=5, max_attempts=1), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_no_redirect_is_followed(kind: type[Client], status: str) -> None:
    with raw_server(http(EMPTY_PAGE)) as elsewhere:
        location = f"Location: http://localhost:{elsewhere.port}/v1/projects/p1/tags"
        with raw_server(http(b"gone", status, location)) as here, kind(to(here.url)) as client:
            with pytest.raises(UnexpectedResponseError, match="'localhost', where the key must not go"):
                client.list("p1")
            with pytest.raises(UnexpectedResponseError):
                client.session()
        assert elsewhere.heads == []


def test_a_redirect_without_end_is_not_read_to_its_end(kind: type[Client]) -> None:
    head = http(b"", "302 Found", "Location: /elsewhere", length=10**12)
    with raw_server(head, b"x" * (MAX_ANSWER_BYTES + 1), HANG) as here, kind(to(here.url)) as client:
        with pytest.raises(UnexpectedResponseError, match="302"):
            client.list("p1")


def test_a_netrc_cannot_replace_the_key(kind: type[Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setattr(ClientSettings, "is_loopback", False)  # as for the real service: the environment counts
    with raw_server(http(EMPTY_PAGE)) as here, kind(to(here.url)) as client:
        client.list("p1")
        assert b"authorization: " + BEARER in here.heads[0].replace(b"Authorization", b"authorization")


def test_a_proxy_is_not_asked_for_a_host_on_this_machine(kind: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(http(EMPTY_PAGE)) as proxy, raw_server(http(EMPTY_PAGE)) as here:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        with kind(to(here.url)) as client:
            assert client.list("p1") == []
        assert (len(proxy.heads), len(here.heads)) == (0, 1)


def test_a_proxy_from_the_environment_is_used_and_does_not_see_the_key(
    kind: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_server(http(b"no", "403 Forbidden")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with kind(to("https://api.paperspace.com/v1")) as client:
            with pytest.raises(TransportError, match="proxy let no connection through"):
                client.list("p1")
        assert proxy.heads[0].startswith(b"CONNECT api.paperspace.com:443 ")
        assert API_KEY.encode() not in proxy.heads[0]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_a_certificate_that_no_ca_vouches_for_is_refused_and_the_key_stays(
    kind: type[Client], tls: ssl.SSLContext
) -> None:
    with raw_server(http(EMPTY_PAGE), tls=tls) as here, kind(to(here.url)) as client:
        with pytest.raises(TransportError, match="the TLS connection failed"):
            client.list("p1")
        assert here.heads == []


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_users_own_ca_is_heeded_from_each_usual_variable(
    kind: type[Client],
    tls: ssl.SSLContext,
    authority: trustme.CA,
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    if variable == "SSL_CERT_DIR":
        name = _openssl_hash(bundle)
        bundle.rename(tmp_path / name)
        bundle = tmp_path
    monkeypatch.setenv(variable, str(bundle))
    with raw_server(http(EMPTY_PAGE), tls=tls) as here, kind(to(here.url)) as client:
        assert client.list("p1") == []
        assert BEARER in here.heads[0]


def _openssl_hash(certificate: Path) -> str:
    import subprocess

    command = ["openssl", "x509", "-noout", "-hash", "-in", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() + ".0"  # noqa: S603


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "gzip"])
def test_an_answer_over_ten_megabytes_is_cut_off_with_an_error(kind: type[Client], encoded: bool) -> None:
    body = b" " * (MAX_ANSWER_BYTES + 1_000_000)
    answer = http(gzip.compress(body), "200 OK", "Content-Encoding: gzip") if encoded else http(body)
    with raw_server(answer) as here, kind(to(here.url)) as client:
        with pytest.raises(UnexpectedResponseError, match="cut off after 10,000,000 bytes"):
            client.list("p1")
    with raw_server(http(body, "500 Oops")) as here, kind(to(here.url)) as client:
        with pytest.raises(ServerError):
            client.list("p1")


@pytest.mark.parametrize(
    "answer",
    [
        [HANG],
        [http(EMPTY_PAGE, length=1_000), HANG],
        [http(b"", length=1_000_000), DRIP + b" "],
    ],
    ids=["silent", "stops", "drips"],
)
def test_an_attempt_takes_no_longer_than_its_timeout(kind: type[Client], answer: list[bytes]) -> None:
    with raw_server(*answer) as here, kind(to(here.url, timeout_s=0.3)) as client:
        with pytest.raises(TransportError, match=r"no answer within 0\.3 s"):
            client.list("p1")


@pytest.mark.parametrize(
    "answer",
    [b"", b"garbage\r\n\r\n", http(EMPTY_PAGE, "200 OK", "Content-Encoding: gzip"), http(EMPTY_PAGE, length=1_000)],
    ids=["nothing", "no http", "no gzip", "too short"],
)
def test_an_answer_that_is_no_http_is_no_answer(kind: type[Client], answer: bytes) -> None:
    with raw_server(answer) as here, kind(to(here.url)) as client:
        with pytest.raises(TransportError, match="failed or broke off"):
            client.list("p1")


def test_a_key_that_the_server_echoes_is_blanked(kind: type[Client]) -> None:
    said = json.dumps({"code": "C", "message": "x" * 190 + API_KEY, "details": {"header": API_KEY}}).encode()
    for body in (said, b"<p>" + b"y" * 185 + API_KEY.encode()):
        with raw_server(http(body, "400 Bad Request")) as here, kind(to(here.url)) as client:
            with pytest.raises(ApiError) as caught:
                client.list("p1")
            assert API_KEY[:10] not in str(caught.value)


def test_a_lost_connection_brings_no_library_error_along(client: Client, server: LocalPaperspaceServer) -> None:
    server.fault("reset", times=0)
    with pytest.raises(TransportError) as caught:
        client.list("p1")
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.fixture(autouse=True)
def _no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
