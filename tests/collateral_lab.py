"""A local stand-in for the vendors' servers: serves what simulated vendors endorse, throttles, hangs, lies and dies."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attest_pipeline.collateral.budget import Rate
from attest_pipeline.model import TrustAnchor

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
QUICK = {"intel": Rate(interval=0.001, burst=100), "amd": Rate(interval=0.001, burst=100)}


class FakeVendors:
    """Intel's PCS, its root CRL and AMD's KDS under one address. `mood` may take an answer over."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.mood: Answer | None = None
        self._answers: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.url = ""

    def intel(self, tee: str, key: str, document: bytes) -> None:
        """Serve a DCAP document the way the PCS does: in four parts."""
        parts = json.loads(document)
        _, fmspc, authority = key.split("/")
        tcb = f'{{"tcbInfo":{parts["tcb_info"]},"signature":"{parts["tcb_info_signature"]}"}}'
        identity = f'{{"enclaveIdentity":{parts["qe_identity"]},"signature":"{parts["qe_identity_signature"]}"}}'
        self.serve(
            f"/{tee}/certification/v4/tcb?fmspc={fmspc}",
            tcb.encode(), {"TCB-Info-Issuer-Chain": quote(parts["tcb_info_issuer_chain"])},
        )  # fmt: skip
        self.serve(
            f"/{tee}/certification/v4/qe/identity",
            identity.encode(), {"SGX-Enclave-Identity-Issuer-Chain": quote(parts["qe_identity_issuer_chain"])},
        )  # fmt: skip
        self.serve(
            f"/sgx/certification/v4/pckcrl?ca={authority}&encoding=der",
            bytes.fromhex(parts["pck_crl"]), {"SGX-PCK-CRL-Issuer-Chain": quote(parts["pck_crl_issuer_chain"])},
        )  # fmt: skip
        self.serve("/IntelSGXRootCA.der", bytes.fromhex(parts["root_ca_crl"]))

    def amd(self, product: str, endorsements: Mapping[str, tuple[bytes, ...]]) -> None:
        """Serve chain and CRL of a product the way the KDS does."""
        low = product.lower()
        ask, ark = (endorsements[f"amd-chain/{low}/{role}"][0] for role in ("ask", "ark"))
        chain = b"".join(x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in (ask, ark))
        self.serve(f"/vcek/v1/{product}/cert_chain", chain)
        self.serve(f"/vcek/v1/{product}/crl", endorsements[f"amd-crl/{low}"][0])

    def serve(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._answers[path] = (body, headers or {})

    def settings(self, *anchors: TrustAnchor, **changes: Any) -> dict[str, Any]:
        """Settings of a worker that asks this server."""
        return {
            "sites": {"intel": self.url, "intel-root-crl": f"{self.url}IntelSGXRootCA.der", "amd": self.url},
            "rates": QUICK,
            "allow_private": True,
            "timeout": 1.0,
            "trust_anchors": anchors,
            **changes,
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if self.mood is not None:
            return await self.mood(request)
        return self.truth(request)

    def truth(self, request: web.Request) -> web.StreamResponse:
        if request.path_qs not in self._answers:
            return web.Response(status=404)
        body, headers = self._answers[request.path_qs]
        return web.Response(body=body, headers=headers)


@asynccontextmanager
async def serving(fake: FakeVendors) -> AsyncIterator[FakeVendors]:
    """Run the server until the block ends."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", fake.handle)
    server = TestServer(app)
    await server.start_server()
    fake.url = str(server.make_url("/"))
    try:
        yield fake
    finally:
        await server.close()


def write_settings(state: Path, settings: Mapping[str, Any]) -> None:
    state.mkdir(parents=True, exist_ok=True)
    (state / "settings.json").write_bytes(msgspec.json.encode(settings))


def refusing(status: int, headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    return answer


async def hanging(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


def saying(body: bytes) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    return answer


async def dying(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
