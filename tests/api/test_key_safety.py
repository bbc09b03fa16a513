"""The key leaves in one header, to one host, and whatever a server does, nothing hangs or grows without bound."""

from __future__ import annotations

import base64
import gzip
import json
import ssl
import subprocess
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import trustme
from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_paperspace.api.async_client import _environment_proxy
from airflow_provider_paperspace.api.errors import (
    ApiError,
    InvalidArgumentError,
    PaperspaceError,
    ServerError,
    TransportError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.api.settings import MAX_ANSWER_BYTES, ClientSettings
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.clients import AsyncClient, Client, SyncClient
from tests.raw_server import DRIP, HANG, TUNNEL, http, raw_server
from tests.secret_watch import API_KEY, SecretWatch

EMPTY_PAGE = json.dumps({"hasMore": False, "items": []}).encode()
BEARER = f"Bearer {API_KEY}".encode()
PAPERSPACE = "https://api.paperspace.com/v1"
CA_VARIABLES = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"]


def is_older(distribution: str, *than: int) -> bool:
    """Return whether the installed version of a dependency is older."""
    return tuple(map(int, version(distribution).split(".")[:2])) < than


PART_OF_A_NAME = pytest.mark.skipif(
    is_older("requests", 2, 34), reason="requests before 2.34 takes a part of a host name in NO_PROXY for the host"
)
BOUNDED_GZIP = pytest.mark.skipif(
    is_older("urllib3", 2, 6) or is_older("aiohttp", 3, 14),
    reason="urllib3 before 2.6 and aiohttp before 3.14 decompress what came, whatever its size",
)

MakeClient = Callable[[ClientSettings], Client]


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*CA_VARIABLES, "NO_PROXY", "no_proxy", "NETRC"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def _not_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server on this machine count as the real service, for which the environment's settings apply."""
    monkeypatch.setattr(ClientSettings, "is_loopback", False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def to(url: str, **more: Any) -> ClientSettings:
    return replace(ClientSettings(api_key=API_KEY, base_url=url, timeout_s=30, max_attempts=1), **more)


@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_ca_certificates_that_do_not_exist_are_refused_at_once(
    make_client: MakeClient, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/nowhere/ca.pem")
    with pytest.raises(
        InvalidArgumentError, match=f"{variable} points to CA certificates that do not exist: '/nowhere/ca.pem'"
    ):
        make_client(to(PAPERSPACE))
    make_client(to("http://127.0.0.1:1")).close()


@pytest.mark.parametrize("variable", CA_VARIABLES)
@pytest.mark.parametrize("content", ["not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_without_ca_certificates_is_refused(
    make_client: MakeClient, variable: str, content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text(content)
    monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
    with raw_server() as here, pytest.raises(PaperspaceError, match="PEM|TLS connection failed") as caught:
        make_client(to(here.url.replace("http:", "https:"))).list("p1")
    assert isinstance(caught.value, InvalidArgumentError) or content != "not PEM"


class TestHeaders:
    def test_the_key_is_sent_once(self, make_client: MakeClient) -> None:
        with raw_server(http(EMPTY_PAGE)) as here, make_client(to(here.url)) as client:
            client.list("p1")
            (head,) = here.heads
        assert head.lower().count(b"authorization") == 1
        assert head.count(BEARER) == 1

    def test_a_read_has_no_body(self, make_client: MakeClient) -> None:
        with raw_server(http(EMPTY_PAGE)) as here, make_client(to(here.url)) as client:
            client.list("p1")
            (head,) = here.heads
        assert head.endswith(b"\r\n\r\n")
        for header in (b"content-type", b"content-length", b"transfer-encoding"):
            assert header not in head.lower()

    def test_the_base_url_is_sent_to_the_letter(self, make_client: MakeClient) -> None:
        with raw_server(http(EMPTY_PAGE)) as here, make_client(to(f"{here.url}/gate%2Fway/v1")) as client:
            client.list("p%1")
            (head,) = here.heads
        assert head.startswith(b"GET /gate%2Fway/v1/projects/p%251/tags?limit=120&")

    @pytest.mark.usefixtures("_not_loopback")
    def test_a_netrc_cannot_replace_the_key(
        self, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login someone password else\ndefault login someone password else\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        with raw_server(http(EMPTY_PAGE)) as here, make_client(to(here.url)) as client:
            client.list("p1")
            (head,) = here.heads
        assert b"authorization: " + BEARER in head.replace(b"Authorization", b"authorization")
        assert b"basic" not in head.lower()


class TestRedirects:
    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
    def test_no_redirect_is_followed(self, make_client: MakeClient, status: str) -> None:
        with raw_server(http(EMPTY_PAGE)) as elsewhere:
            location = f"Location: http://localhost:{elsewhere.port}/v1/projects/p1/tags"
            with raw_server(http(b"gone", status, location)) as here, make_client(to(here.url)) as client:
                with pytest.raises(UnexpectedResponseError, match="to 'localhost'; refusing to send the API key there"):
                    client.list("p1")
                with pytest.raises(UnexpectedResponseError):
                    client.session()
            assert elsewhere.heads == []

    def test_an_endless_redirect_is_not_read_to_its_end(self, make_client: MakeClient) -> None:
        head = http(b"", "302 Found", "Location: /elsewhere", length=10**12)
        with raw_server(head, b"x" * (MAX_ANSWER_BYTES + 1), HANG) as here, make_client(to(here.url)) as client:
            with pytest.raises(UnexpectedResponseError, match="302"):
                client.list("p1")


class TestProxies:
    """A proxy is asked to open a connection; the key travels inside it, encrypted."""

    def test_a_proxy_is_not_used_for_this_machine(
        self, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with raw_server(http(EMPTY_PAGE)) as proxy, raw_server(http(EMPTY_PAGE)) as here:
            for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(variable, proxy.url)
            with make_client(to(here.url)) as client:
                assert client.list("p1") == []
            assert (len(proxy.heads), len(here.heads)) == (0, 1)

    @pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
    @pytest.mark.parametrize("scheme", ["http://", ""], ids=["url", "host and port"])
    def test_a_proxy_of_the_environment_does_not_see_the_key(
        self, make_client: MakeClient, variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with raw_server(http(b"no", "403 Forbidden")) as proxy:
            monkeypatch.setenv(variable, proxy.url.replace("http://", scheme))
            with make_client(to(PAPERSPACE)) as client:
                with pytest.raises(TransportError, match="the proxy did not open a connection"):
                    client.list("p1")
            assert proxy.heads[0].startswith(b"CONNECT api.paperspace.com:443 ")
            assert b"authorization" not in b"".join(proxy.heads).lower()
            assert API_KEY.encode() not in b"".join(proxy.heads)

    @pytest.mark.usefixtures("_not_loopback")
    def test_the_key_travels_encrypted_through_a_proxy(
        self, make_client: MakeClient, tls: ssl.SSLContext, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        with raw_server(http(EMPTY_PAGE), tls=tls) as here:
            opened = b"HTTP/1.1 200 Connection established\r\n\r\n"
            with raw_server(opened, TUNNEL + str(here.port).encode()) as proxy:
                monkeypatch.setenv("HTTPS_PROXY", proxy.url)
                with make_client(to(here.url)) as client:
                    assert client.list("p1") == []
                assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{here.port} ".encode())
                assert len(proxy.heads) > 1, "the encrypted part went through it"
                assert API_KEY.encode() not in b"".join(proxy.heads)
                assert b"authorization" not in b"".join(proxy.heads).lower()
            assert BEARER in here.heads[0]

    @pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
    def test_a_proxy_password_is_sent_and_not_shown(
        self, make_client: MakeClient, status: str, secret_watch: SecretWatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret_watch.secrets += ["pr0xy@pa55", "pr0xy%40pa55", base64.b64encode(b"ada:pr0xy@pa55").decode()]
        with raw_server(http(b"no", status)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("http://", "http://ada:pr0xy%40pa55@"))
            with make_client(to(PAPERSPACE)) as client:
                with pytest.raises(TransportError, match="the proxy did not open a connection"):
                    client.list("p1")
            (head,) = proxy.heads
        assert head.startswith(b"CONNECT api.paperspace.com:443 ")
        assert b"Proxy-Authorization: Basic " + base64.b64encode(b"ada:pr0xy@pa55") in head
        assert API_KEY.encode() not in head

    def test_a_closed_proxy_is_reported_without_its_password(
        self, make_client: MakeClient, secret_watch: SecretWatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret_watch.secrets.append("pr0xy-pa55")
        monkeypatch.setenv("HTTPS_PROXY", "http://ada:pr0xy-pa55@127.0.0.1:1")
        with make_client(to(PAPERSPACE)) as client:
            with pytest.raises(TransportError, match="the proxy did not open a connection: Conn"):
                client.list("p1")

    def test_a_tls_proxy_does_not_see_the_key(
        self, make_client: MakeClient, tls: ssl.SSLContext, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        with raw_server(http(b"no", "403 Forbidden"), tls=tls) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with make_client(to(PAPERSPACE)) as client:
                with pytest.raises(TransportError, match="the proxy did not open a connection"):
                    client.list("p1")
            assert proxy.heads[0].startswith(b"CONNECT api.paperspace.com:443 ")
            assert b"authorization" not in proxy.heads[0].lower()

    def test_a_tls_proxy_with_an_unknown_certificate_is_refused(
        self, make_client: MakeClient, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with raw_server(http(b"no", "403 Forbidden"), tls=tls) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with make_client(to(PAPERSPACE)) as client:
                with pytest.raises(TransportError, match="TLS connection failed|the proxy did not open a connection"):
                    client.list("p1")
            assert proxy.heads == []

    @pytest.mark.usefixtures("_not_loopback")
    @pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
    @pytest.mark.parametrize("value", ["127.0.0.1", "example.org, 127.0.0.1", "*"])
    def test_no_proxy_is_honoured(
        self,
        make_client: MakeClient,
        variable: str,
        value: str,
        tls: ssl.SSLContext,
        bundle: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        with raw_server(http(b"no", "403 Forbidden")) as proxy, raw_server(http(EMPTY_PAGE), tls=tls) as here:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            monkeypatch.setenv(variable, value)
            with make_client(to(here.url)) as client:
                assert client.list("p1") == []
            assert (len(proxy.heads), len(here.heads)) == (0, 1)

    @pytest.mark.parametrize(
        ("no_proxy", "base_url"),
        [
            pytest.param(no_proxy, base_url, marks=PART_OF_A_NAME if no_proxy == "aperspace.com" else ())
            for no_proxy in [
                "",
                "api.paperspace.com",
                "API.Paperspace.com",
                "paperspace.com",
                ".paperspace.com",
                "aperspace.com",
                "example.org , api.paperspace.com",
                "api.paperspace.com:443",
                "api.paperspace.com:8443",
                "10.1.2.3",
                "*",
            ]
            for base_url in [PAPERSPACE, "https://api.paperspace.com:8443/v1", "https://10.1.2.3/v1"]
        ],
    )
    def test_both_clients_find_the_same_proxy(
        self, no_proxy: str, base_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        monkeypatch.setenv("ALL_PROXY", "http://other:3128")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        found = select_proxy(base_url, get_environ_proxies(base_url))
        assert _environment_proxy(to(base_url)) == found

    @pytest.mark.parametrize(
        "value",
        ["example.org", pytest.param("aperspace.com", marks=PART_OF_A_NAME), "api.paperspace.com:80", "127.0.0.1"],
    )
    def test_no_proxy_for_another_host_changes_nothing(
        self, make_client: MakeClient, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_PROXY", value)
        with raw_server(http(b"no", "403 Forbidden")) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with make_client(to(PAPERSPACE)) as client:
                with pytest.raises(TransportError, match="the proxy did not open a connection"):
                    client.list("p1")
            assert len(proxy.heads) == 1

    @pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h", "ftp"])
    def test_an_unsupported_proxy_is_refused(
        self, scheme: str, secret_watch: SecretWatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret_watch.secrets.append("pr0xy-pa55")
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://ada:pr0xy-pa55@127.0.0.1:1080")
        with pytest.raises(InvalidArgumentError, match=f"a proxy with {scheme}://; only http:// and https:// proxies"):
            AsyncClient(to(PAPERSPACE))

    @pytest.mark.parametrize("rest", ["[::1", "127.0.0.1:port", "127.0.0.1:99999", "", ":8080"])
    def test_a_malformed_proxy_is_refused_and_not_quoted(
        self, rest: str, secret_watch: SecretWatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret_watch.secrets.append("pr0xy-pa55")
        monkeypatch.setenv("HTTPS_PROXY", f"http://ada:pr0xy-pa55@{rest}")
        with pytest.raises(InvalidArgumentError, match="a proxy without a valid host and port"):
            AsyncClient(to(PAPERSPACE))

    @pytest.mark.parametrize("proxy", ["socks5://ada:pr0xy-pa55@127.0.0.1:1", "http://ada:pr0xy-pa55@[::1"])
    def test_requests_fails_on_such_a_proxy_without_quoting_it(
        self, proxy: str, secret_watch: SecretWatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret_watch.secrets.append("pr0xy-pa55")
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with SyncClient(to(PAPERSPACE)) as client:
            with pytest.raises(PaperspaceError, match="Check the network, the proxy settings"):
                client.list("p1")

    def test_a_proxy_is_irrelevant_for_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
        monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
        with raw_server(http(EMPTY_PAGE)) as here, AsyncClient(to(here.url)) as client:
            assert client.list("p1") == []


class TestTls:
    def test_an_unknown_certificate_is_refused(self, make_client: MakeClient, tls: ssl.SSLContext) -> None:
        with raw_server(http(EMPTY_PAGE), tls=tls) as here, make_client(to(here.url)) as client:
            with pytest.raises(TransportError, match="the TLS connection failed"):
                client.list("p1")
            assert here.heads == []

    def test_a_certificate_of_another_host_is_refused(
        self, make_client: MakeClient, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("api.paperspace.com").configure_cert(other)
        with raw_server(http(EMPTY_PAGE), tls=other) as here, make_client(to(here.url)) as client:
            with pytest.raises(TransportError, match="the TLS connection failed"):
                client.list("p1")
            assert here.heads == []

    @pytest.mark.parametrize("variable", CA_VARIABLES)
    def test_each_ca_variable_is_honoured(
        self,
        make_client: MakeClient,
        tls: ssl.SSLContext,
        bundle: Path,
        variable: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if variable == "SSL_CERT_DIR":
            bundle.rename(bundle.with_name(_openssl_hash(bundle)))
            bundle = bundle.parent
        monkeypatch.setenv(variable, str(bundle))
        with raw_server(http(EMPTY_PAGE), tls=tls) as here, make_client(to(here.url)) as client:
            assert client.list("p1") == []
            assert BEARER in here.heads[0]


def _openssl_hash(certificate: Path) -> str:
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() + ".0"  # noqa: S603


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Return a hundred megabytes of blanks, gzipped to less than one."""
    return gzip.compress(b" " * 100_000_000)


class TestLimits:
    @pytest.mark.parametrize("is_gzipped", [False, True], ids=["plain", "gzip"])
    def test_an_answer_is_cut_off_at_ten_megabytes(self, make_client: MakeClient, is_gzipped: bool) -> None:
        body = b" " * (MAX_ANSWER_BYTES + 1_000_000)
        answer = http(gzip.compress(body), "200 OK", "Content-Encoding: gzip") if is_gzipped else http(body)
        with raw_server(answer) as here, make_client(to(here.url)) as client:
            with pytest.raises(UnexpectedResponseError, match="larger than the limit of 10,000,000 bytes"):
                client.list("p1")
        with raw_server(http(body, "500 Oops")) as here, make_client(to(here.url)) as client:
            with pytest.raises(ServerError):
                client.list("p1")

    @BOUNDED_GZIP
    def test_a_gzip_bomb_does_not_fill_the_memory(self, make_client: MakeClient, bomb: bytes) -> None:
        with raw_server(http(bomb, "200 OK", "Content-Encoding: gzip")) as here, make_client(to(here.url)) as client:
            tracemalloc.start()
            try:
                with pytest.raises(UnexpectedResponseError, match="larger than the limit of 10,000,000 bytes"):
                    client.list("p1")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert peak < 6 * MAX_ANSWER_BYTES

    @pytest.mark.parametrize(
        "answer",
        [
            [HANG],
            [http(EMPTY_PAGE, length=1_000), HANG],
            [http(b"", length=1_000_000), DRIP + b" "],
        ],
        ids=["silent", "stops", "drips"],
    )
    def test_an_attempt_takes_no_longer_than_its_timeout(self, make_client: MakeClient, answer: list[bytes]) -> None:
        with raw_server(*answer) as here, make_client(to(here.url, timeout_s=0.3)) as client:
            with pytest.raises(TransportError, match=r"timed out after 0\.3 s"):
                client.list("p1")

    def test_a_dripping_head_does_not_outlast_the_timeout(self) -> None:
        head = [b"HTTP/1.1 200 OK\r\n", DRIP + b"X: y\r\n"]
        with raw_server(*head) as here, AsyncClient(to(here.url, timeout_s=0.3)) as client:
            with pytest.raises(TransportError, match=r"timed out after 0\.3 s"):
                client.list("p1")

    @pytest.mark.parametrize(
        "answer",
        [b"", b"garbage\r\n\r\n", http(EMPTY_PAGE, "200 OK", "Content-Encoding: gzip"), http(EMPTY_PAGE, length=1_000)],
        ids=["nothing", "not HTTP", "not gzip", "too short"],
    )
    def test_a_broken_answer_counts_as_none(self, make_client: MakeClient, answer: bytes) -> None:
        with raw_server(answer) as here, make_client(to(here.url)) as client:
            with pytest.raises(TransportError, match="the connection failed or was closed"):
                client.list("p1")


class TestEchoes:
    def test_a_key_that_the_server_echoes_is_redacted(self, make_client: MakeClient) -> None:
        said = json.dumps({"code": "C", "message": "x" * 190 + API_KEY, "details": {"header": API_KEY}}).encode()
        for body in (said, b"<p>" + b"y" * 185 + API_KEY.encode()):
            with raw_server(http(body, "400 Bad Request")) as here, make_client(to(here.url)) as client:
                with pytest.raises(ApiError) as caught:
                    client.list("p1")
                assert API_KEY[:10] not in str(caught.value)

    @pytest.mark.parametrize("call", [lambda c: c.list("p1"), lambda c: c.add("p1", "x"), lambda c: c.session()])
    def test_a_lost_connection_carries_no_library_error(
        self,
        make_client: MakeClient,
        call: Callable[[Client], Any],
        settings: ClientSettings,
        server: LocalPaperspaceServer,
    ) -> None:
        server.fault("reset", times=0)
        with make_client(replace(settings, max_attempts=2)) as client:
            with pytest.raises(TransportError) as caught:
                call(client)
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
