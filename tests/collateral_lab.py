"""A local stand-in for the vendors' servers, which serves, throttles, hangs, lies and dies; a service that asks it."""

import asyncio
import base64
import json
import time
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
from cryptography.x509 import ocsp

from attest_pipeline.adapters.collateral_service import CollateralService
from attest_pipeline.adapters.collateral_sources import READ_LIMIT, Directory, Vendors, read_settings
from attest_pipeline.adapters.collateral_store import CollateralStore
from attest_pipeline.adapters.guarded_http import GuardedClient
from attest_pipeline.collateral.book import Book
from attest_pipeline.collateral.budget import Rate
from attest_pipeline.collateral.exchange import Held
from attest_pipeline.model import TrustAnchor

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
QUICK = dict.fromkeys(("intel", "amd", "nvidia"), Rate(interval=0.001, burst=100))
CertId = tuple[bytes, int]
"""Hashes of the issuer's name and key, and the serial number."""


class FakeVendors:
    """Intel's PCS, its root CRL, AMD's KDS and NVIDIA's two services under one address. `mood` may take an answer over.

    `questions` are the serial numbers that the OCSP responder was asked about, `statuses` its answers.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.questions: list[int] = []
        self.statuses: dict[CertId, bytes] = {}
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

    def nvidia(self, endorsements: Mapping[str, tuple[bytes, ...]]) -> None:
        """Serve the manifests of GPUs the way the RIM service does, and answer about certificates by OCSP."""
        for name, documents in endorsements.items():
            if name.startswith("nvidia-ocsp/"):
                self.statuses |= {cert_id(ocsp.load_der_ocsp_response(one)): one for one in documents}
            else:
                recipe, key = Book().of(name)
                for request in recipe.requests(key):
                    self.serve(
                        f"/{request.path}", json.dumps({"rim": base64.b64encode(documents[0]).decode()}).encode()
                    )

    def serve(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._answers[path] = (body, headers or {})

    def settings(self, *anchors: TrustAnchor, **changes: Any) -> dict[str, Any]:
        """Settings of a worker that asks this server."""
        return {
            "sites": {
                "intel": self.url,
                "intel-root-crl": f"{self.url}IntelSGXRootCA.der",
                "amd": self.url,
                "nvidia-rim": self.url,
                "nvidia-ocsp": f"{self.url}ocsp/",
            },
            "rates": QUICK,
            "allow_private": True,
            "timeout": 1.0,
            "trust_anchors": anchors,
            **changes,
        }

    def trouble(self, mood: Answer) -> None:
        """The mood of the OCSP responder alone."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return await mood(request) if request.path == "/ocsp/" else await self.truth(request)

        self.mood = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if self.mood is not None:
            return await self.mood(request)
        return await self.truth(request)

    async def truth(self, request: web.Request) -> web.StreamResponse:
        if request.content_type == "application/ocsp-request":
            return await self._status(request)
        if request.path_qs not in self._answers:
            return web.Response(status=404)
        body, headers = self._answers[request.path_qs]
        return web.Response(body=body, headers=headers)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        question = cert_id(ocsp.load_der_ocsp_request(await request.read()))
        self.questions.append(question[1])
        unknown = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        return web.Response(body=self.statuses.get(question) or unknown.public_bytes(Encoding.DER))


def cert_id(of: ocsp.OCSPRequest | ocsp.OCSPResponse) -> CertId:
    return of.issuer_name_hash + of.issuer_key_hash, of.serial_number


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


class World:
    """One service at a time on a state directory, with a clock that the test turns."""

    def __init__(self, state: Path, fake: FakeVendors, anchors: tuple[TrustAnchor, ...]) -> None:
        self.state = state
        self.fake = fake
        self.now = time.time()
        self._anchors = anchors

    @asynccontextmanager
    async def service(self, **changes: Any) -> AsyncIterator[CollateralService]:
        write_settings(self.state, self.fake.settings(*self._anchors, **changes))
        settings = read_settings(self.state)
        store = await CollateralStore.open(self.state)
        async with GuardedClient(
            allow_private=settings.allow_private, read_limit=READ_LIMIT, timeout=settings.timeout
        ) as client:
            service = CollateralService(
                Book(settings.trust_anchors),
                Vendors(settings, client, lambda: self.now),
                Directory(self.state / "imported"),
                store,
                rates=settings.rates,
                clock=lambda: self.now,
                sleep=self._sleep,
                max_count=settings.max_count,
                max_bytes=settings.max_bytes,
            )
            await service.load()
            try:
                yield service
            finally:
                await service.stop()
                await store.close()

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def held(service: CollateralService, name: str, seconds: float = 5.0) -> Held:
    answer = (await service.obtain([name], seconds))[name]
    assert isinstance(answer, Held), answer
    return answer
