"""Pulling from a durable consumer ahead of the work, with a watchdog against deliveries that silently stop.

nats-py's `fetch` asks, waits, and only then asks again; here a request is always on its way: twice the batch is asked
for, and asked again at half. A request lives `_EXPIRES` seconds; the server says so when it ends (408), so silence for
longer means that the request was lost.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec import Struct

from attest_pipeline.adapters.nats_link import Link, Raw, parsed, status
from attest_pipeline.errors import Unavailable
from attest_pipeline.ports import Message

_EXPIRES: Final = 2.0
_SILENCE: Final = 3.0
_PATIENCE: Final = 2
"""Fruitless rounds, while messages wait in the stream, until the subscription is made anew; twice as many: give up."""
_REFUSALS: Final = 10
_PAUSE: Final = 0.2
"""Requests refused in a row until giving up, and seconds between them: a server that restarts refuses for a moment."""
_ACK_TOKENS: Final = 9
"""`$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<ns>.<pending>`; newer servers may send
`$JS.ACK.<domain>.<account>.<stream>…` with a random token at the end."""


class _Config(Struct):
    max_ack_pending: int


class _Info(Struct):
    """What the watchdog reads of a consumer's state."""

    config: _Config
    num_pending: int
    num_ack_pending: int


_info_decoder: Final = msgspec.json.Decoder(_Info)


class Pull:
    """Messages of one durable consumer, until `close`."""

    def __init__(self, link: Link, stream: str, consumer: str, batch: int) -> None:
        self._link = link
        self._name = f"{stream}.{consumer}"
        self._batch = batch
        self._buffer: deque[Raw] = deque()
        self._asked = 0
        self._refusals = 0
        self._rounds = 0
        self._closing = False
        self._news = asyncio.Event()
        self._address = ""
        self._subscription: Any = None

    async def lists(self) -> AsyncGenerator[list[Message], None]:
        """Lists of 1 to `batch` messages. Raises Unavailable if the consumer is missing or stuck."""
        self._link.on_reconnect.append(self._ask_anew)
        try:
            await self._subscribe()
            while not self._closing:
                await self._ask()
                if self._buffer:
                    self._rounds = 0
                    yield self._take()
                else:
                    await self._wait()
        finally:
            self._link.on_reconnect.remove(self._ask_anew)
            await self._give_back()

    def close(self) -> None:
        """End after the list that is out now."""
        self._closing = True
        self._news.set()

    def _receive(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        if reply:
            self._asked -= 1
            self._refusals = 0
            self._buffer.append((subject, reply, data, headers))
        else:
            self._refusals = 0 if status(headers) == b"408" else self._refusals + 1
            self._asked -= int(parsed(headers).get("Nats-Pending-Messages", self._asked))
        self._news.set()

    def _ask_anew(self) -> None:
        self._asked = 0
        self._news.set()

    def _take(self) -> list[Message]:
        pop = self._buffer.popleft
        return [_message(*pop()) for _ in range(min(self._batch, len(self._buffer)))]

    async def _subscribe(self) -> None:
        if self._subscription is not None:
            await self._link.unlisten(self._subscription)
        self._address = self._link.own_address()
        self._subscription = await self._link.listen(self._address, "", self._receive)
        self._asked = 0

    async def _ask(self) -> None:
        room = 2 * self._batch - len(self._buffer) - max(self._asked, 0)
        if room >= self._batch and self._link.connected:
            self._asked = max(self._asked, 0) + room
            request = b'{"batch":%d,"expires":%d}' % (room, _EXPIRES * 1e9)
            await self._link.send(f"$JS.API.CONSUMER.MSG.NEXT.{self._name}", request, self._address)

    async def _wait(self) -> None:
        self._news.clear()
        try:
            await asyncio.wait_for(self._news.wait(), _SILENCE)
        except TimeoutError:
            self._asked = 0
        if self._closing or self._buffer or not self._link.connected:
            return
        if self._refusals:
            await self._bear_refusal()
        else:
            await self._watch_out()

    async def _bear_refusal(self) -> None:
        if self._refusals >= _REFUSALS:
            raise Unavailable(f"the consumer {self._name} is missing or refuses requests")
        await asyncio.sleep(_PAUSE)

    async def _watch_out(self) -> None:
        self._rounds += 1
        if self._rounds >= _PATIENCE and await self._stuck():
            if self._rounds >= 2 * _PATIENCE:
                raise Unavailable(f"messages wait in {self._name} and none is delivered")
            await self._subscribe()

    async def _stuck(self) -> bool:
        """Whether messages wait that this or another process could be given."""
        try:
            _, _, data, _ = await self._link.request(f"$JS.API.CONSUMER.INFO.{self._name}", b"", _SILENCE, None)
            info = _info_decoder.decode(data)
        except (Unavailable, msgspec.MsgspecError):
            return True
        return info.num_pending > 0 and info.num_ack_pending < info.config.max_ack_pending and not self._buffer

    async def _give_back(self) -> None:
        """Let others have at once what was fetched ahead."""
        if self._subscription is not None:
            await self._link.unlisten(self._subscription)
        with suppress(Unavailable):
            while self._buffer:
                await self._link.send(self._buffer.popleft()[1].decode(), b"-NAK")


def _message(subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> Message:
    text = reply.decode()
    tokens = text.split(".")
    start = 2 if len(tokens) == _ACK_TOKENS else 4
    return Message(
        subject=subject.decode(),
        data=data,
        reply=text,
        received_at=int(tokens[start + 5]) // 1_000_000_000,
        headers=parsed(headers),
        attempt=int(tokens[start + 2]),
    )
