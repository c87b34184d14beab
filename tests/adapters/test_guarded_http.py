"""Each SSRF rule of the guarded client, with servers on the loopback that must not be reached."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attest_pipeline.adapters.guarded_http import GuardedClient, Refused, is_private_or_public, is_public
from attest_pipeline.errors import Unavailable

NAME = "hooks.example.test"
PUBLIC = "93.184.215.14"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names(AbstractResolver):
    """Answers one list of addresses for each question, in order; the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        assert family == socket.AF_UNSPEC, "a name is judged by all of its addresses"
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=_family(address), proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        self.answers.clear()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Hits(list[web.Request]):
    """Remembers what reached its handler."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.append(request)
        return web.Response(text="reached")


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    server = TestServer(app, scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def listening(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """URL of a raw TCP server that reads a request's head and then does what it is told."""
    ends: list[asyncio.Future[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(end := asyncio.get_running_loop().create_future())
        await reader.readuntil(b"\r\n\r\n")
        await answer(writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        end.set_result(None)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await asyncio.gather(*ends)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server whose certificate names NAME, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(private + certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cadata=certificate.decode())


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that the connector dials; nobody answers."""
    addresses: list[str] = []

    async def refuse(addr_infos: Sequence[Any], **_: object) -> socket.socket:
        addresses.extend(info[4][0] for info in addr_infos)
        raise ConnectionRefusedError(111, "nobody there")

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", refuse)
    return addresses


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "0.0.0.0", "0.1.2.3"),  # noqa: S104 - data
        *("169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "203.0.113.9"),
        *("192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1"),
        *("2002:7f00:1::", "2002:a00:1::1", "2001::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1"),
    ],
)
def test_an_address_that_is_not_global_unicast_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", PUBLIC, "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "100.128.0.1"],
)
def test_a_global_unicast_address_is_public_also_in_translation(address: str) -> None:
    assert is_public(address)
    assert is_private_or_public(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "fd12::1", "::1", "::ffff:192.168.0.1", "100.64.0.1"])
def test_private_networks_can_be_allowed(address: str) -> None:
    assert is_private_or_public(address)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.1", "ff02::1"],  # noqa: S104 - data
)
def test_credentials_of_the_cloud_and_multicast_stay_out_of_reach_of_private_clients(address: str) -> None:
    assert not is_private_or_public(address)


# ── the text of a URL ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.test/", "only https"),
        ("ftp://hooks.example.test/", "only https"),
        ("file:///etc/passwd", "without a host"),
        ("hooks.example.test/path", "without a host"),
        ("https:///path", "host"),
        ("https://[::1", "no URL"),
        ("https://hooks.example.test:99999/", "no URL"),
        ("https://user@hooks.example.test/", "credentials"),
        ("https://user:secret@hooks.example.test/", "credentials"),
        ("https://:secret@hooks.example.test/", "credentials"),
        ("https://hooks.example.test:80/", "port 80"),
        ("https://hooks.example.test:6379/", "port 6379"),
        ("https://127.0.0.1/", "not allowed"),
        ("https://[::1]/", "not allowed"),
        ("https://[::ffff:7f00:1]/", "not allowed"),
        ("https://[64:ff9b::a9fe:a9fe]/", "not allowed"),
        ("https://169.254.169.254/latest/meta-data", "not allowed"),
        ("https://2130706433/", "disguise"),
        ("https://127.1/", "disguise"),
        ("https://017700000001/", "disguise"),
        ("https://hooks..example.test/", "no host name"),
        (f"https://{'a' * 64}.example.test/", "no host name"),
    ],
)
async def test_a_url_is_refused_before_anything_is_resolved(url: str, why: str) -> None:
    names = Names([PUBLIC])
    async with GuardedClient(resolver=names) as client:
        with pytest.raises(Refused, match=why) as refusal:
            await client.send("POST", url)
    assert names.asked == []
    assert "secret" not in str(refusal.value)
    assert "meta-data" not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["https://hooks.example.test/", "https://hooks.example.test:8443/x?y", "https://8.8.8.8/"]
)
async def test_https_to_a_public_host_on_the_usual_ports_is_allowed(url: str) -> None:
    async with GuardedClient(resolver=Names([PUBLIC])) as client:
        assert str(client.check(url)) == url


async def test_plain_http_is_for_the_loopback_of_development_only() -> None:
    async with GuardedClient(allow_private=True, resolver=Names(["10.0.0.1"])) as client:
        client.check("http://127.0.0.1:8080/")
        client.check("http://localhost/")
        client.check("https://10.0.0.1:9000/")
        with pytest.raises(Refused, match="only https"):
            client.check("http://10.0.0.1/")
        with pytest.raises(Refused, match="not allowed"):
            client.check("https://169.254.169.254/")


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("answer", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["2606:4700::1", "::ffff:127.0.0.1"]])
async def test_a_name_with_any_address_that_is_not_public_is_refused(answer: list[str], dialled: list[str]) -> None:
    async with GuardedClient(resolver=Names(answer)) as client:
        with pytest.raises(Refused, match="not allowed"):
            await client.send("POST", f"https://{NAME}/")
    assert dialled == []


@pytest.mark.parametrize("name", ["localhost", "0x7f000001"])
async def test_names_of_this_host_are_refused_by_the_resolver_of_the_system(name: str) -> None:
    async with GuardedClient() as client:
        with pytest.raises(Refused, match=r"not allowed: (127\.0\.0\.1|::1)"):
            await client.send("POST", f"https://{name}/")


async def test_closing_the_client_closes_its_resolver() -> None:
    names = Names([PUBLIC])
    async with GuardedClient(resolver=names):
        assert names.answers
    assert not names.answers


async def test_a_name_without_an_address_is_unavailable() -> None:
    async with GuardedClient(resolver=Names([])) as client:
        with pytest.raises(Unavailable, match="ClientConnectorDNSError"):
            await client.send("POST", f"https://{NAME}/")


async def test_the_address_dialled_is_the_one_that_was_checked(dialled: list[str]) -> None:
    names = Names([PUBLIC], ["127.0.0.1"])
    async with GuardedClient(resolver=names) as client:
        with pytest.raises(Unavailable):
            await client.send("POST", f"https://{NAME}/")
        assert names.asked == [NAME], "one question per connection: there is no second answer to fall for"
        with pytest.raises(Refused):
            await client.send("POST", f"https://{NAME}/")
    assert dialled == [PUBLIC]


async def test_a_name_that_turns_to_the_loopback_reaches_nothing(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    hits = Hits()
    async with serving(hits.handle, tls[0]) as server:
        names = Names(["127.0.0.1"], ["169.254.169.254"])
        async with GuardedClient(allow_private=True, resolver=names, tls=tls[1]) as client:
            url = f"https://{NAME}:{server.port}/"
            assert (await client.send("POST", url, headers={"Connection": "close"})).status == 200
            with pytest.raises(Refused, match=r"169\.254"):
                await client.send("POST", url)
    assert len(hits) == 1


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_host_and_sni_stay_the_name_while_the_address_is_pinned(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    hits, indicated = Hits(), []
    tls[0].sni_callback = lambda _, name, __: indicated.append(name)
    async with (
        serving(hits.handle, tls[0]) as server,
        GuardedClient(allow_private=True, resolver=Names(["127.0.0.1"]), tls=tls[1]) as client,
    ):
        port = server.port
        answer = await client.send("POST", f"https://{NAME}:{port}/in?a=b", body=b"{}", headers={"X-Id": "1"})
    tls[0].sni_callback = None
    assert answer.body == b"reached"
    assert indicated == [NAME]
    assert hits[0].host == f"{NAME}:{port}"
    assert hits[0].path_qs == "/in?a=b"
    assert hits[0].headers["Accept-Encoding"] == "identity"
    assert hits[0].headers["X-Id"] == "1"


async def test_a_certificate_for_another_name_or_of_an_unknown_issuer_is_not_accepted(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    hits = Hits()
    async with serving(hits.handle, tls[0]) as server:
        for context, name in ((tls[1], "other.example.test"), (None, NAME)):
            async with GuardedClient(allow_private=True, resolver=Names(["127.0.0.1"]), tls=context) as client:
                with pytest.raises(Unavailable, match="Certificate"):
                    await client.send("POST", f"https://{name}:{server.port}/")
    assert not hits


# ── behaviour of the other side ───────────────────────────────────────────────────────────────────────────────────────
async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    hits = Hits()

    async def redirect(_: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(str(internal.make_url("/secret")))

    async with (
        serving(hits.handle) as internal,
        serving(redirect) as server,
        GuardedClient(allow_private=True) as client,
    ):
        answer = await client.send("POST", str(server.make_url("/")))
    assert answer.status == 307
    assert not hits


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    hits, target = Hits(), Hits()
    async with serving(hits.handle) as proxy, serving(target.handle) as server:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, str(proxy.make_url("/")))
        async with GuardedClient(allow_private=True) as client:
            await client.send("POST", str(server.make_url("/")))
    assert len(target) == 1
    assert not hits


async def test_cookies_of_one_answer_are_not_sent_with_the_next_request() -> None:
    seen = []

    async def cookie(request: web.Request) -> web.StreamResponse:
        seen.append(dict(request.cookies))
        response = web.Response()
        response.set_cookie("session", "1")
        return response

    async with serving(cookie) as server:
        url = str(server.make_url("/")).replace("127.0.0.1", "localhost")
        async with GuardedClient(allow_private=True) as client:
            await client.send("POST", url)
            await client.send("POST", url)
    assert seen == [{}, {}]


async def test_a_huge_body_is_cut_at_the_limit() -> None:
    written = 0

    async def huge(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with suppress(ConnectionError):
            while written < 100 << 20:
                writer.write(b"x" * 65536)
                written += 65536
                await writer.drain()

    async with listening(huge) as url, GuardedClient(allow_private=True) as client:
        answer = await client.send("POST", url)
    assert answer.status == 200
    assert len(answer.body) == 4096
    assert not answer.complete
    assert written < 32 << 20, "the connection is dropped, not read to the end"


async def test_a_body_at_the_limit_is_complete_and_compression_is_not_undone() -> None:
    async def exact(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * 10, headers={"Content-Encoding": "gzip"})

    async with serving(exact) as server, GuardedClient(allow_private=True, read_limit=10) as client:
        answer = await client.send("GET", str(server.make_url("/")))
    assert answer.complete
    assert answer.body == b"x" * 10
    assert answer.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"])
async def test_a_slow_answer_or_a_trickling_body_ends_at_the_timeout(head: bytes) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        with suppress(ConnectionError):
            for _ in range(30):
                await asyncio.sleep(0.02)
                writer.write(b"." if head else b"")
                await writer.drain()

    async with listening(trickle) as url, GuardedClient(allow_private=True, timeout=0.2) as client:
        with pytest.raises(Unavailable, match="TimeoutError"):
            await client.send("POST", url)


@pytest.mark.parametrize("rest", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b"rubbish\r\n\r\n"])
async def test_a_connection_that_breaks_off_is_unavailable(rest: bytes) -> None:
    async def break_off(writer: asyncio.StreamWriter) -> None:
        writer.write(rest)
        await writer.drain()

    async with listening(break_off) as url, GuardedClient(allow_private=True) as client:
        with pytest.raises(Unavailable, match=r"^127\.0\.0\.1: "):
            await client.send("POST", url)


async def test_many_slow_answers_of_a_host_do_not_keep_others_from_it() -> None:
    release = asyncio.Event()

    async def some_wait(request: web.Request) -> web.StreamResponse:
        if request.path == "/slow":
            await release.wait()
        return web.Response(text=request.path)

    async with serving(some_wait) as server, GuardedClient(allow_private=True) as client:
        slow = [asyncio.create_task(client.send("POST", str(server.make_url("/slow")))) for _ in range(120)]
        assert (await client.send("POST", str(server.make_url("/quick")))).body == b"/quick"
        assert not any(task.done() for task in slow)
        release.set()
        assert {answer.status for answer in await asyncio.gather(*slow)} == {200}
