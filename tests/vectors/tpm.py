"""TPMs and Azure's vTPMs: quotes under enrolled and certified AKs, evidence JSON of every version, and its parts."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from vectors import amd
from vectors.walk import Book, Outcome, Source, held, refused, standing

from attest_pipeline.crypto import RsaKey
from attest_pipeline.errors import Reason
from attest_pipeline.model import Claims
from attest_pipeline.verifiers._amd.kds import issuer_product
from attest_pipeline.verifiers._amd.proof import Chain, prove_leaf
from attest_pipeline.verifiers._azure.document import read_snp, read_tdx
from attest_pipeline.verifiers._azure.hcl import SNP, TDX, parse_hcl
from attest_pipeline.verifiers._shared.x509 import load_certificate, signed_path
from attest_pipeline.verifiers._tpm.abi import parse_quote
from attest_pipeline.verifiers._tpm.roots import trusted_roots

NOW = datetime(2025, 6, 1, tzinfo=UTC)
ROOM = "evidence/tpm"
ROOTS = "evidence/roots/tpm"
GOOGLE = (f"{ROOTS}/google_tpm_ek_intermediate_2.crt", f"{ROOTS}/google_tpm_ek_root_1.cer")
SECOND = timedelta(seconds=1)


def explain(book: Book) -> None:
    for attest in book.corpus.glob(f"{ROOM}/*.attest.bin"):
        explain_quote(book, attest.removesuffix(".attest.bin"))
    for path in book.corpus.glob(f"{ROOTS}/*"):
        explain_root(book, path)
    for tee in ("snp", "tdx"):
        for path in (
            *book.corpus.glob(f"evidence/azure/az_{tee}_*.json"),
            *book.corpus.glob(f"trustee/evidence/az-{tee}-vtpm/evidence-*.json"),
        ):
            if not path.endswith(".expect.json"):
                explain_azure(book, tee, path)
        explain_azure_parts(book, tee)
    explain_trustee(book)
    explain_gta(book)


# ── TPM ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def explain_quote(book: Book, name: str) -> None:
    """Prove a quote under its enrolled AK and, where there is one, under the AK's certificate with the boot's log."""
    expected = book.corpus.json(f"{name}.expect.json")
    challenge = bytes.fromhex(expected["attest"]["extra"])
    evidence: dict[str, Source] = {
        "attest": f"{name}.attest.bin",
        "signature": f"{name}.sig.bin",
        "pcrs": json.dumps(expected["pcrs"]).encode(),
    }
    claims = held(book.prove("tpm", evidence, {"ak": f"{name}.ak.pem"}, NOW, challenge))
    assert {f"pcr{number}": value for number, value in expected["pcrs"].items()} == claims.measurements
    assert (claims.fields["clock"], claims.fields["reset_count"]) == (
        expected["attest"]["clock"],
        expected["attest"]["reset"],
    )
    if "gce" in name:
        certified = {"ak_cert": f"{ROOM}/gce-cos-85.ak_cert.der", "ca": GOOGLE}
        log = f"{name.rpartition('_')[0]}.eventlog.bin"
        held(book.prove("tpm", {**evidence, "event_log": log}, certified, NOW, challenge))
        explain_certified_window(book, evidence, certified)
    book.note(f"{name}.expect.json", Outcome.EXPECTATION, "tpm", f"of {name}.attest.bin")


def explain_certified_window(book: Book, evidence: dict[str, Source], certified: dict[str, Any]) -> None:
    start, end = book.corpus.window(f"{ROOM}/gce-cos-85.ak_cert.der")
    for at, reason in ((start, Reason.NOT_YET_VALID), (end + timedelta(days=1), Reason.EXPIRED)):
        assert refused(book.prove("tpm", evidence, certified, at)) is reason


def explain_root(book: Book, path: str) -> None:
    """Google's authorities lead to a pinned key; the intermediates need their issuers beside them."""
    pool = tuple(load_certificate(book.corpus.read(one)) for one in book.corpus.glob(f"{ROOTS}/*"))
    signed_path(load_certificate(book.corpus.read(path)), pool, trusted_roots({}))
    book.note(path, Outcome.ENDORSEMENT, "tpm.roots", "under a pinned key")


def explain_trustee(book: Book) -> None:
    """CoCo's bare vTPM: its quote holds under the key beside it, which nobody endorses."""
    for path in (f"{ROOM}/trustee_tpm.json", "trustee/evidence/tpm_evidence.json"):
        found = book.corpus.json(path)
        quote = found["tpm_quote"]
        evidence: dict[str, Source] = {
            "attest": base64.b64decode(quote["message"]),
            "signature": base64.b64decode(quote["signature"]),
            "pcrs": json.dumps({str(number): value for number, value in enumerate(quote["pcrs"])}).encode(),
            "ak_public": base64.b64decode(found["ak_public"]),
        }
        explain_unendorsed(book, path, evidence)


def explain_unendorsed(book: Book, path: str, evidence: dict[str, Source]) -> None:
    """A quote under a key that only the evidence names: refused, though it holds as soon as the key is enrolled."""
    book.refuse(path, "tpm", book.prove("tpm", evidence, {}, NOW))
    held(book.prove("tpm", evidence, {"ak": evidence["ak_public"]}, NOW))


def explain_gta(book: Book) -> None:
    """GTA's tests: quotes whose certificates are made up."""
    for path in book.corpus.glob("secgear/tpm_gta/*.json"):
        found = book.corpus.json(path)["evidence"]
        certificate = base64.b64decode(found["ak_certs"][0]["cert_data"])
        evidence: dict[str, Source] = {
            "attest": base64.b64decode(found["quote"]["quote_data"]),
            "signature": base64.b64decode(found["quote"]["signature"]),
            "pcrs": json.dumps(
                {str(pcr["pcr_index"]): pcr["pcr_value"] for pcr in found["pcrs"]["pcr_values"]}
            ).encode(),
        }
        book.refuse(path, "tpm", book.prove("tpm", evidence, {"ak_cert": certificate}, NOW))


# ── Azure ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def explain_azure(book: Book, tee: str, path: str) -> None:
    """Prove the evidence of a VM, with its own extraData as the challenge."""
    data, claims = inner_document(book, path), None
    document = (read_snp if tee == "snp" else read_tdx)(data)
    challenge = parse_quote(document.message).extra_data
    if tee == "snp":
        claims = prove_snp(book, data, document.hardware, challenge)
    else:
        claims = prove_td(book, "az-tdx-vtpm", {"evidence": data}, challenge)
    assert claims.challenge_verified
    book.note(path, Outcome.VERIFIED, claims.tee, standing(claims))
    recorded = path.replace(".json", ".expect.json")
    if recorded in book.corpus.paths:
        checks = book.corpus.json(recorded)["checks"]
        assert (checks["extra"], checks["user_data"].lower()) == (challenge.hex(), claims.fields["user_data"])
        assert checks["report_data"] == claims.fields["report_data"]
        book.note(recorded, Outcome.EXPECTATION, claims.tee, f"of {path}")


def inner_document(book: Book, path: str) -> bytes:
    """The document itself, which one publisher wraps under the name of the platform."""
    found = book.corpus.json(path)
    return json.dumps(found["evidence"]).encode() if "platform" in found else book.corpus.read(path)


def prove_snp(book: Book, data: bytes, leaf: bytes, challenge: bytes) -> Claims:
    certificate = load_certificate(leaf)
    ask, ark = amd.chain(issuer_product(certificate)[0].name)
    at = certificate.not_valid_before_utc
    return held(book.prove("az-snp-vtpm", {"evidence": data}, {"ask": ask, "ark": ark}, at, challenge))


def prove_td(book: Book, tee: str, evidence: dict[str, Source], challenge: bytes | None) -> Claims:
    """All of Azure's TDs in the corpus run on platforms of one FMSPC."""
    runs = book.corpus.json("evidence/tdx/v4_azure_td_quote.expect.json")["expectations"]
    collateral, at = next(
        (path, datetime.fromtimestamp(run["verify_at"], UTC))
        for run in runs
        if (path := f"evidence/{run['collateral']}") in book.corpus.paths
    )
    return held(book.prove(tee, evidence, {"collateral": collateral}, at, challenge))


def explain_azure_parts(book: Book, tee: str) -> None:
    """The parts of CoCo's tests: the AK in the HCL report signs the quotes, the VCEK and the TD quote are proven."""
    room = f"trustee/evidence/az-{tee}-vtpm"
    hcl = parse_hcl(book.corpus.read(f"{room}/hcl-report.bin"), SNP if tee == "snp" else TDX)
    book.note(f"{room}/hcl-report.bin", Outcome.PARSED, "_azure.hcl", f"VM {hcl.runtime.vm.fields['vm_unique_id']}")
    assert isinstance(hcl.runtime.vm.ak, RsaKey)
    for path, message, signature in quotes(book, room):
        signed = hcl.runtime.vm.ak.verify_pkcs1(signature, message, "sha256")
        parse_quote(message)
        book.note(
            path, Outcome.PARSED, "_tpm.abi", f"{'signed' if signed else 'not signed'} by the AK of the HCL report"
        )
    for path in book.corpus.glob(f"{room}/vcek*.pem"):
        certificate = load_certificate(book.corpus.read(path))
        ask, ark = map(book.corpus.read, amd.chain(issuer_product(certificate)[0].name))
        prove_leaf(Chain(book.corpus.read(path), ask, ark), frozenset())
        book.note(path, Outcome.ENDORSEMENT, "_amd.proof", "proven alone")
    for quote in (
        *book.corpus.glob(f"{room}/td-quote.bin"),
        *book.corpus.glob(f"evidence/azure/az_{tee}_*.td_quote.bin"),
    ):
        prove_td(book, "tdx", {"quote": quote}, None)


def quotes(book: Book, room: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Message and signature of each quote of its own: in JSON, as two files, and as Rust's bincode."""
    found = book.corpus.json(f"{room}/tpm-quote-v1.json")
    yield f"{room}/tpm-quote-v1.json", bytes.fromhex(found["message"]), bytes.fromhex(found["signature"])
    packed = book.corpus.read(f"{room}/quote.bin")
    size = int.from_bytes(packed[264:272], "little")
    yield f"{room}/quote.bin", packed[272 : 272 + size], packed[8:264]
    for message in book.corpus.glob(f"{room}/*.msg"):
        signature = message.replace(".msg", ".sig")
        yield message, book.corpus.read(message), book.corpus.read(signature)
        book.note(signature, *book.pages[message])
