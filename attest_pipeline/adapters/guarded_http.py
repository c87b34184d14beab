"""The one way out of this machine: HTTP that cannot be turned against the network it runs in (SSRF).

The check sits in the connector's resolver: aiohttp dials exactly the addresses that were checked, for each new
connection, so a name that answers differently the second time (DNS rebinding) gains nothing. Host and SNI stay the
name. No redirects, no proxy from the environment, no cookies, no decompression.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from msgspec import Struct
from yarl import URL

from attest_pipeline.errors import AttestationError, Unavailable

PORTS: Final = frozenset({443, 8443})
TIMEOUT: Final = 10.0
READ_LIMIT: Final = 4096
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_USER_AGENT: Final = "attest-pipeline"
_GLOBAL_UNICAST: Final = ip_network("2000::/3")
_NAT64: Final = ip_network("64:ff9b::/96")
_NOT_PUBLIC: Final = tuple(ip_network(net) for net in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))
"""Special-purpose blocks (RFC 6890, 7526, 9637) that Python 3.11's `is_global` takes for public."""
_NEVER: Final = tuple(ip_network(net) for net in ("0.0.0.0/8", "169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"))
"""Where clouds keep instance credentials, and addresses that mean "this host": refused on private networks too."""


class Refused(AttestationError):
    """A URL, or an address that its host resolves to, that must not be called. Names the host, never path or query."""


class Answer(Struct, frozen=True):
    """A response: header names are case-insensitive; `complete` is false where the body was cut at the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool


def is_public(address: str) -> bool:
    """Whether an address (text, without port) is global unicast, also behind IPv4 mapping, NAT64 and 6to4."""
    ip = _unmapped(address)
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in net for net in _NOT_PUBLIC)


def is_private_or_public(address: str) -> bool:
    """Whether an address may be called where private networks are allowed: link-local and multicast never are."""
    ip = _unmapped(address)
    return not (ip.is_multicast or ip.is_unspecified or any(ip in net for net in _NEVER))


def _unmapped(address: str) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address carries in a known translation, or the address itself."""
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(ip.packed[12:])
    return ip.ipv4_mapped or ip.sixtofour or ip


class _GuardedResolver(AbstractResolver):
    """Resolves once per connection and refuses a name of which any address is not admitted."""

    def __init__(self, inner: AbstractResolver, *, allow_private: bool) -> None:
        self._inner = inner
        self._admits = is_private_or_public if allow_private else is_public

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of the host. Raises Refused, or OSError if there are none."""
        found = await self._inner.resolve(host, port, family)
        if not found:
            raise OSError(None, "no address")
        for result in found:
            self.check(host, result["host"])
        return found

    def check(self, host: str, address: str) -> None:
        """Raises Refused unless the address may be called."""
        if not self._admits(address):
            raise Refused(f"{host} has an address that is not allowed: {address}")

    async def close(self) -> None:
        """Release the inner resolver."""
        await self._inner.close()


def _check_labels(host: str) -> None:
    """Raises Refused for a name that no resolver can be asked for: the socket module fails on it by other means."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise Refused(f"{host[:80]} is no host name: each of its labels has 1 to 63 characters") from None


class GuardedClient:
    """One HTTP session for public hosts; construct it inside the running loop and close it, or use `async with`.

    HTTPS on ports 443 and 8443 only. `allow_private` admits any port, addresses that are not public, and plain HTTP to
    the loopback. `read_limit` (bytes) bounds each body, `timeout` (seconds) each request from name to last byte.
    Requests in flight are the caller's to bound: waiting for a slot here would use up the timeout of a neighbour on
    the same host.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        read_limit: int = READ_LIMIT,
        timeout: float = TIMEOUT,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._read_limit = read_limit
        self._timeout = timeout
        self._resolver = _GuardedResolver(resolver or DefaultResolver(), allow_private=allow_private)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver, use_dns_cache=False, limit=0, ssl=True if tls is None else tls
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    def check(self, url: str) -> URL:
        """The parsed URL, if its text alone gives no reason to refuse it. Raises Refused."""
        try:
            parsed = URL(url)
            host, port = parsed.host, parsed.port
        except ValueError:
            raise Refused("no URL") from None
        if not host:
            raise Refused("a URL without a host")
        if parsed.user is not None or parsed.password is not None:
            raise Refused(f"the URL of {host} carries credentials")
        if parsed.scheme != "https" and not (parsed.scheme == "http" and self._allow_private and host in LOOPBACK):
            raise Refused(f"{parsed.scheme or 'no scheme'} to {host}: only https is allowed")
        if port not in PORTS and not self._allow_private:
            raise Refused(f"port {port} of {host}: only {sorted(PORTS)} are allowed")
        self._check_literal(host)
        return parsed

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send one request and read its answer, whatever its status; redirects are answers, not followed.

        Raises Refused, or Unavailable if there was no whole answer in time.
        """
        target = self.check(url)
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.request(method, target, headers=headers, data=body, allow_redirects=False) as response,
            ):
                content = await self._read(response.content)
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{target.host}: {type(error).__name__}") from None
        complete = len(content) <= self._read_limit
        return Answer(response.status, response.headers, content[: self._read_limit], complete)

    def _check_literal(self, host: str) -> None:
        """Addresses written into the URL never reach the resolver, so they are checked here; names for their form."""
        try:
            ip_address(host)
        except ValueError:
            if host.replace(".", "").isdigit():
                raise Refused(f"{host} is an address in disguise") from None
            _check_labels(host)
            return
        self._resolver.check("the URL", host)

    async def _read(self, stream: aiohttp.StreamReader) -> bytes:
        """The body up to a little over the limit."""
        content = bytearray()
        async for chunk in stream.iter_any():
            content += chunk
            if len(content) > self._read_limit:
                break
        return bytes(content)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._resolver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
