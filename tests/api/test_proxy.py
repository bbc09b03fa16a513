"""The proxy of the settings: both clients use it in place of the environment's, and nothing shows its password."""

from __future__ import annotations

import base64
import gc
import json
import ssl
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_provider_paperspace.api.errors import InvalidArgumentError, TransportError
from airflow_provider_paperspace.api.settings import ClientSettings
from tests.clients import Client
from tests.forward_proxy import PASSWORD, QUOTED_PASSWORD, USER, ForwardProxy, forward_proxy
from tests.raw_server import HANG, RawServer, http, raw_server
from tests.secret_watch import API_KEY, SecretWatch

MakeClient = Callable[[ClientSettings], Client]

EMPTY_PAGE = json.dumps({"hasMore": False, "items": []}).encode()
PAPERSPACE = "https://api.paperspace.com/v1"
HEADER = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def _watch_the_password(secret_watch: SecretWatch) -> None:
    secret_watch.secrets += [PASSWORD, QUOTED_PASSWORD, HEADER]


@pytest.fixture(scope="module")
def _small_heap() -> None:
    """Keep what is older than this module out of the collections below, which would take half a second each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _end_of_tls(_small_heap: None) -> Iterator[None]:
    """Collect a test's connections: aiohttp does not wait for the peer to end TLS, and asyncio warns of that later."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def through(proxy: str, url: str = PAPERSPACE, **more: Any) -> ClientSettings:
    settings = ClientSettings(api_key=API_KEY, base_url=url, timeout_s=30, max_attempts=1, proxy=proxy)
    return replace(settings, **more)


def with_password(server: RawServer) -> str:
    return server.url.replace("http://", f"http://{USER}:{QUOTED_PASSWORD}@")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForwardProxy]:
    pytest.importorskip("proxy", reason="the extra 'test' has the package proxy.py")
    with forward_proxy(tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


class TestSettings:
    @pytest.mark.parametrize(
        ("proxy", "kept", "address"),
        [
            ("", "", ""),
            (" \n", "", ""),
            ("http://proxy.example.org:3128", "http://proxy.example.org:3128", "proxy.example.org:3128"),
            (" HTTP://proxy:80/ ", "http://proxy:80", "proxy:80"),
            ("http://[::1]:3128", "http://[::1]:3128", "[::1]:3128"),
            ("http://ada:a%40b@proxy:3128", "http://ada:a%40b@proxy:3128", "proxy:3128"),
            ("http://ada:a@b:c%@proxy:3128", "http://ada:a%40b%3Ac%25@proxy:3128", "proxy:3128"),
            ("http://ad%3Aa:%C3%BC@proxy:3128", "http://ad%3Aa:%C3%BC@proxy:3128", "proxy:3128"),
        ],
    )
    def test_a_proxy_is_kept_in_one_spelling(self, proxy: str, kept: str, address: str) -> None:
        settings = through(proxy)
        assert (settings.proxy, settings.proxy_address) == (kept, address)
        assert replace(settings, timeout_s=1).proxy == kept

    @pytest.mark.parametrize("scheme", ["https", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
    def test_another_kind_of_proxy_is_refused_by_name(self, scheme: str) -> None:
        complaint = f"The proxy is a {scheme.lower()}:// proxy; only http:// proxies are supported"
        with pytest.raises(InvalidArgumentError, match=complaint):
            through(f"{scheme}://{USER}:{QUOTED_PASSWORD}@proxy:1080")

    @pytest.mark.parametrize(
        "proxy",
        [
            f"{USER}:{PASSWORD}@proxy:3128",
            "proxy:3128",
            "ftp://proxy:3128",
            f"http://{USER}:{PASSWORD}@proxy",
            f"http://{USER}:{PASSWORD}@:3128",
            f"http://{USER}:{PASSWORD}@proxy:port",
            f"http://{USER}:{PASSWORD}@proxy:99999",
            f"http://{USER}:{PASSWORD}@proxy:0",
            f"http://{USER}:{PASSWORD}@[::1",
            f"http://{PASSWORD.replace('@', '')}@proxy:3128",
            f"http://:{PASSWORD}@proxy:3128",
            "http://ada:@proxy:3128",
            f"http://{USER}:{PASSWORD}@proxy:3128/path",
            f"http://{USER}:{PASSWORD}@proxy:3128?x",
            f"http://{USER}:{PASSWORD}@proxy:3128#x",
            f"http://{USER}:{PASSWORD}/x@proxy:3128",
            f"http://{USER}:{PASSWORD} x@proxy:3128",
            f"http://{USER}:{PASSWORD}\nx@proxy:3128",
            f"http://{USER}:{PASSWORD}ü@proxy:3128",
            "http://ada:%E2%82%AC@proxy:3128",
            "http://ada:%FC@proxy:3128",
            None,
            7,
        ],
    )
    def test_a_malformed_proxy_is_refused_and_not_quoted(self, proxy: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="The proxy must be a URL such as") as caught:
            through(proxy)
        assert "pa55" not in f"{caught.value} {caught.value.__context__}"

    def test_no_repr_shows_a_proxy(self) -> None:
        assert "proxy:3128" not in repr(through("http://proxy:3128"))

    @pytest.mark.parametrize(
        ("proxy", "secrets"),
        [
            ("", ()),
            ("http://proxy:3128", ()),
            (f"http://{USER}:{QUOTED_PASSWORD}@proxy:3128", (PASSWORD, QUOTED_PASSWORD, HEADER)),
            ("http://ada:plain@proxy:3128", ("plain", base64.b64encode(b"ada:plain").decode())),
        ],
    )
    def test_the_secrets_are_the_password_in_each_form(self, proxy: str, secrets: tuple[str, ...]) -> None:
        assert through(proxy).proxy_secrets == secrets

    def test_a_loopback_host_has_no_proxy(self) -> None:
        assert through("http://proxy:3128", "http://127.0.0.1:8787").proxy_address == ""


class TestMessages:
    """What a user reads about a wrong proxy: its address, without the user and the password."""

    @pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
    def test_a_proxy_that_refuses_is_named(self, make_client: MakeClient, status: str) -> None:
        with raw_server(http(b"no", status)) as proxy, make_client(through(with_password(proxy))) as client:
            with pytest.raises(TransportError) as caught:
                client.list("p1")
            (head,) = proxy.heads
        code = status.split()[0]
        assert f"the proxy 127.0.0.1:{proxy.port} did not open a connection (it answered {code})" in str(caught.value)
        assert head.startswith(b"CONNECT api.paperspace.com:443 ")
        assert f"Proxy-Authorization: Basic {HEADER}".lower() in head.decode().lower()
        assert API_KEY.encode() not in head

    def test_a_proxy_that_is_not_there_is_named(self, make_client: MakeClient) -> None:
        with make_client(through(f"http://{USER}:{QUOTED_PASSWORD}@127.0.0.1:1")) as client:
            with pytest.raises(TransportError, match=r"the proxy 127\.0\.0\.1:1 did not open a connection: Conn"):
                client.list("p1")

    def test_a_proxy_with_an_unknown_host_is_named(self, make_client: MakeClient) -> None:
        with make_client(through(f"http://{USER}:{QUOTED_PASSWORD}@proxy.invalid:3128")) as client:
            with pytest.raises(TransportError, match=r"the proxy proxy\.invalid:3128 did not open a connection: "):
                client.list("p1")

    def test_a_silent_proxy_is_named(self, make_client: MakeClient) -> None:
        with raw_server(HANG) as proxy, make_client(through(with_password(proxy), timeout_s=0.2)) as client:
            with pytest.raises(
                TransportError, match=rf"timed out after 0\.2 s through the proxy 127\.0\.0\.1:{proxy.port}"
            ):
                client.list("p1")

    @pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b""], ids=["no HTTP", "nothing"])
    def test_what_is_no_proxy_is_named(self, make_client: MakeClient, answer: bytes) -> None:
        with raw_server(answer) as proxy, make_client(through(with_password(proxy))) as client:
            with pytest.raises(TransportError, match=rf"the proxy 127\.0\.0\.1:{proxy.port}"):
                client.list("p1")

    def test_a_proxy_that_speaks_no_tls_behind_its_answer_is_named(self, make_client: MakeClient) -> None:
        opened = b"HTTP/1.1 200 Connection established\r\n\r\nno TLS, but something else"
        with raw_server(opened) as proxy, make_client(through(with_password(proxy))) as client:
            with pytest.raises(TransportError, match=rf"through the proxy 127\.0\.0\.1:{proxy.port}"):
                client.list("p1")


class TestTheEnvironment:
    def test_the_proxy_replaces_those_of_the_environment(
        self, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with raw_server(http(b"no", "403 Forbidden")) as proxy, raw_server(http(EMPTY_PAGE)) as other:
            for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(variable, other.url)
            monkeypatch.setenv("NO_PROXY", "*")
            with make_client(through(with_password(proxy))) as client, pytest.raises(TransportError):
                client.list("p1")
            assert (len(proxy.heads), len(other.heads)) == (1, 0)

    def test_a_bad_proxy_of_the_environment_does_not_matter(
        self, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
        with raw_server(http(b"no", "403 Forbidden")) as proxy, make_client(through(with_password(proxy))) as client:
            with pytest.raises(TransportError, match="it answered 403"):
                client.list("p1")

    def test_this_machine_is_reached_without_a_proxy(self, make_client: MakeClient) -> None:
        with raw_server(http(EMPTY_PAGE)) as proxy, raw_server(http(EMPTY_PAGE)) as here:
            with make_client(through(with_password(proxy), here.url)) as client:
                assert client.list("p1") == []
            assert (len(proxy.heads), len(here.heads)) == (0, 1)

    def test_an_error_about_this_machine_names_no_proxy(self, make_client: MakeClient) -> None:
        with make_client(through("http://proxy:3128", "http://127.0.0.1:1")) as client:
            with pytest.raises(TransportError) as caught:
                client.list("p1")
        assert "proxy:3128" not in str(caught.value)


class TestARealProxy:
    """A forward proxy with a password, and a TLS server behind it."""

    @pytest.fixture
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
        """A TLS server on this machine that counts as the real service."""
        authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        monkeypatch.setattr(ClientSettings, "is_loopback", False)
        with raw_server(http(EMPTY_PAGE), tls=context) as server:
            yield server

    def test_both_clients_reach_the_service_through_it(
        self, make_client: MakeClient, proxy: ForwardProxy, here: RawServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        with make_client(through(proxy.url, here.url)) as client:
            assert client.list("p1") == []
        assert proxy.next_target() == f"127.0.0.1:{here.port}"
        (head,) = here.heads
        assert f"Bearer {API_KEY}".encode() in head
        assert b"proxy-authorization" not in head.lower()

    def test_a_wrong_password_is_refused_and_not_shown(
        self, make_client: MakeClient, proxy: ForwardProxy, here: RawServer, secret_watch: SecretWatch
    ) -> None:
        secret_watch.secrets.append("wr0ng-pa55")
        url = proxy.url.replace(QUOTED_PASSWORD, "wr0ng-pa55")
        with make_client(through(url, here.url)) as client:
            with pytest.raises(
                TransportError, match=f"the proxy {proxy.address} did not open a connection .it answered 407."
            ):
                client.list("p1")
        assert here.heads == []
        proxy.next_target()
