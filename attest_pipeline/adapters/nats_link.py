"""One connection to a NATS server. The only module that imports nats-py; its traps end here.

nats-py builds a message object, parses headers and crosses a queue and a task for every message. The pipeline needs
neither, so messages go from the parser straight to a *sink*: a plain function that must not block. Besides that: own
jitter on reconnect, which never gives up; errors go to the log as one line; `flush` is a real barrier.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import BadHeaderError
from nats.errors import Error as NatsError

from attest_pipeline.errors import Misconfigured, Unavailable

Raw = tuple[bytes, bytes, bytes, bytes | None]
"""Subject, reply subject, data and undecoded header block of one message."""
Sink = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Receives the parts of one message."""

_START_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 3
_PING_SECONDS: Final = 10
_BUFFER: Final = 8 * 1024 * 1024
"""Bytes kept for sending while the server is away; beyond that, sending raises Unavailable."""
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 10.0
_log: Final = logging.getLogger(__name__)


class _Client(Client):  # type: ignore[misc]  # nats-py is untyped here
    """nats-py's client, with messages handed to sinks, and sent at a third of the cost.

    A subscription's `future` is its sink.
    """

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: Mapping[str, str] | None
    ) -> None:
        """Queue one message that `publish` has checked. nats-py looks at every header by itself."""
        block = _header_block(headers) if headers else b""
        verb, sizes = ("HPUB", f"{len(block)} {len(block) + payload_size}") if headers else ("PUB", payload_size)
        command = b"%b%b%b\r\n" % (f"{verb} {subject} {reply} {sizes}\r\n".encode(), block, payload)
        self._pending.append(command)
        self._pending_data_size += len(command)
        full = self._pending_data_size > self._max_pending_size
        if full or self._flush_queue.empty():
            await self._flush_pending(force_flush=full)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        subscription = self._subs.get(sid)
        if subscription is not None:
            try:
                subscription._future(subject, reply, data, headers)  # noqa: SLF001 - see the class
            except Exception:  # noqa: BLE001 - it would end nats-py's read loop for good
                _log.exception("a message could not be taken")

    async def _process_pong(self) -> None:
        """Take the answer to a `flush` that was given up, too: nats-py fails on it, and its read loop ends for good."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()


class Link:
    """A connection that heals itself, one inbox for all answers, and nothing but Unavailable when it fails."""

    def __init__(self, inbox_prefix: str) -> None:
        self.inbox = f"{inbox_prefix}.{secrets.token_hex(8)}"
        self.atomic = True
        """Whether streams are offered atomic batches."""
        self.on_reconnect: list[Callable[[], None]] = []
        self._client = _Client()
        self._routes: dict[bytes, Sink] = {}
        self._numbers = count(1)
        self._opening = True
        self._trouble: BaseException | None = None
        self._closing = False

    async def connect(self, url: str, seed: str, name: str) -> None:
        """Connect as the user of that nkey seed; a server that is not there yet is waited for.

        Raises Unavailable, and Misconfigured if the URL is none of a broker.
        """
        _check_url(url)
        opening = self._client.connect(
            url, name=name, nkeys_seed_str=seed,
            allow_reconnect=False, max_reconnect_attempts=-1, reconnect_to_server_handler=_next_server,
            connect_timeout=_CONNECT_SECONDS, reconnect_time_wait=_FIRST_DELAY,
            ping_interval=_PING_SECONDS, max_outstanding_pings=2,
            pending_size=_BUFFER, flush_timeout=_PING_SECONDS,
            error_cb=self._troubled, disconnected_cb=self._disconnected, reconnected_cb=self._reconnected,
        )  # fmt: skip
        try:
            await asyncio.wait_for(opening, _START_SECONDS)
            self._client.options["allow_reconnect"] = True  # before, refused users would try for ever
            await self.listen(f"{self.inbox}.>", "", self._answered)
        except (NatsError, OSError, TimeoutError) as error:
            await self.close()
            raise Unavailable(f"cannot connect to {url} as {name}: {_text(self._trouble or error)}") from None
        self._opening = False

    @property
    def connected(self) -> bool:
        """Whether the server can be reached now."""
        return bool(self._client.is_connected)

    async def send(self, subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Queue one message for sending, in order. Raises Unavailable if closed, too large, or the buffer is full."""
        try:
            await self._client.publish(subject, data, reply, headers or None)
        except (NatsError, OSError) as error:
            raise Unavailable(f"cannot send on {subject}: {_text(error)}") from None

    async def listen(self, subject: str, queue: str, sink: Sink) -> Any:
        """Hand every message of the subject to the sink; returns what `unlisten` takes. Raises Unavailable."""
        try:
            return await self._client.subscribe(subject, queue=queue, future=sink)
        except NatsError as error:
            raise Unavailable(f"cannot listen on {subject}: {_text(error)}") from None

    async def unlisten(self, *subscriptions: Any) -> None:
        """Hear nothing more of those; what the server had sent by then has reached the sinks."""
        with suppress(NatsError):
            for subscription in subscriptions:
                await self._client._send_unsubscribe(subscription._id)  # noqa: SLF001 - nats-py's drops what is under way
            await self.flush()
            for subscription in subscriptions:
                self._client._remove_sub(subscription._id)  # noqa: SLF001 - see above

    async def request(self, subject: str, data: bytes, timeout: float, headers: Mapping[str, str] | None) -> Raw:  # noqa: ASYNC109 - a deadline of the protocol
        """Send and wait for the first answer, which may be a status message. Raises Unavailable."""
        answer: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()

        def take(*parts: Any) -> None:
            if not answer.done():
                answer.set_result(parts)

        address = self.expect(take)
        try:
            await self.send(subject, data, address, headers)
            return await asyncio.wait_for(answer, timeout)
        except TimeoutError:
            raise Unavailable(f"no answer on {subject} within {timeout} s") from None
        finally:
            self.forget(address)

    def expect(self, sink: Sink) -> str:
        """An address for answers: the sink gets what is sent to it, or to any subject below it, until `forget`."""
        token = b"%x" % next(self._numbers)
        self._routes[token] = sink
        return f"{self.inbox}.{token.decode()}"

    def own_address(self) -> str:
        """An address to `listen` on. It is not below the inbox, which would get every message a second time."""
        return f"{self.inbox}-{next(self._numbers):x}"

    def forget(self, address: str) -> None:
        """End an address."""
        self._routes.pop(address.rpartition(".")[2].encode(), None)

    async def flush(self) -> None:
        """Return once the server has processed everything sent so far, or the connection is gone.

        nats-py's own `flush` sends its PING before what is queued.
        """
        if not self.connected:
            return
        try:
            await self._client._flush_pending(force_flush=True)  # noqa: SLF001 - see above
            await self._client.flush(_CONNECT_SECONDS)
        except (NatsError, OSError) as error:
            _log.warning("nats: not flushed: %s", _text(error))

    async def close(self) -> None:
        """Flush and disconnect."""
        self._closing = True
        if self._client._flush_queue is None:  # noqa: SLF001 - never opened: nats-py cannot close that
            return
        await self.flush()
        try:
            await self._client.close()
        except OSError as error:
            _log.warning("nats: closed with messages unsent: %s", _text(error))

    def _answered(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        sink = self._routes.get(subject.split(b".")[2])
        if sink is not None:
            sink(subject, reply, data, headers)

    async def _troubled(self, error: Exception) -> None:
        """Log an error; while the server is waited for, each attempt has the same one, and it is said in the end.

        What the server says counts more than that it hung up after it.
        """
        if self._trouble is None or isinstance(error, NatsError):
            self._trouble = error
        if not self._opening:
            _log.warning("nats: %s", _text(error))

    async def _disconnected(self) -> None:
        if not (self._closing or self._opening):
            _log.warning("nats: disconnected")

    async def _reconnected(self) -> None:
        _log.warning("nats: connected again")
        for wake in self.on_reconnect:
            wake()


def _header_block(headers: Mapping[str, str]) -> bytes:
    """Headers on the wire. Raises BadHeaderError for one that would begin another line."""
    block = "".join(["NATS/1.0\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"])
    if block.count("\n") != len(headers) + 2 or block.count("\r") != len(headers) + 2:
        raise BadHeaderError(str(headers)[:200])
    return block.encode()


def status(headers: bytes | None) -> bytes:
    """The three digits of a status message such as `NATS/1.0 503`, or nothing."""
    return headers[9:12] if headers is not None and headers[8:9] == b" " else b""


def parsed(headers: bytes | None) -> dict[str, str]:
    """Headers as text; the first line holds version and status, values that are no UTF-8 are replaced."""
    if headers is None:
        return {}
    fields = (line.partition(b":") for line in headers.split(b"\r\n")[1:] if line)
    return {name.decode(errors="replace"): value.strip().decode(errors="replace") for name, _, value in fields}


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("nats", "tls") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise Misconfigured(f"{url!r} is no address of a broker, such as nats://127.0.0.1:4222")


def _next_server(servers: list[Any], _info: dict[str, Any]) -> tuple[Any, float]:
    """Full jitter: a fleet that lost its server does not come back at once."""
    server = random.choice(servers)  # noqa: S311 - spreads load, guards nothing
    longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(server.reconnects, 10))
    return server, random.uniform(0.0, longest)  # noqa: S311 - the same


def _text(error: BaseException) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__
