"""Huawei: virtCCA tokens and iTrustee reports, bare and in secGear's and GTA's envelopes, logs, certificates."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from vectors.walk import Book, Outcome, Source, held, refused

from attest_pipeline.crypto import EcKey, RsaKey
from attest_pipeline.model import Claims
from attest_pipeline.verifiers._huawei.cjson import render
from attest_pipeline.verifiers._huawei.roots import trusted_roots
from attest_pipeline.verifiers._shared.x509 import load_certificate, public_key, signed_path

NOW = datetime(2025, 9, 1, tzinfo=UTC)
ROOTS = trusted_roots({})
CA = ("evidence/roots/huawei/Huawei_IT_Product_CA.pem", "evidence/roots/huawei/Huawei_Equipment_Root_CA.pem")
GTA = {"token": "secgear/virtcca/gta_token.cbor", "dev_cert": "secgear/virtcca/gta_dev_cert.der"}
CCEL = "secgear/ima_uefi/gta_ccel.bin"
IMA = "secgear/ima_uefi/gta_virtcca_ima.ascii.log"


def explain(book: Book) -> None:
    explain_virtcca(book)
    explain_virtcca_envelopes(book)
    for path in book.corpus.glob("evidence/itrustee/provision_*aa.json"):
        explain_provision(book, path)
    explain_itrustee(book)
    explain_itrustee_envelopes(book)
    for path in book.corpus.glob("evidence/itrustee/*.der"):
        explain_device(book, path)
    for path in (*book.corpus.glob("secgear/certs/*"), "secgear/itrustee/drk_cert.der"):
        explain_device(book, path)


def explain_virtcca(book: Book) -> None:
    claims = held(book.prove("virtcca", {**GTA, "event_log": CCEL}, {"ca": CA}, NOW))
    recorded = "secgear/expected.json"
    expected = book.corpus.json(recorded)["virtcca/gta_evidence.json"]
    assert [claims.measurements[f"rem{number}"] for number in range(4)] == expected["rem"]
    assert claims.measurements["rim"] == expected["rim"]
    book.note(recorded, Outcome.EXPECTATION, "virtcca", f"of {GTA['token']} and others")
    book.refuse(IMA, "virtcca", book.prove("virtcca", {**GTA, "ima_log": IMA}, {"ca": CA}, NOW))
    unbound, aik = "evidence/virtcca/virtcca_cvm_only.cbor", "evidence/virtcca/virtcca_aik_cert.der"
    refuse(book, unbound, "virtcca", {"token": unbound, "dev_cert": aik})
    explain_device(book, aik)
    text, twin = "secgear/virtcca/virtcca.cbor", "secgear/virtcca/virtcca_aik_cert.der"
    assert bytes.fromhex(book.corpus.read(text).decode()) == book.corpus.read(unbound)
    refuse(book, text, "virtcca", {"token": book.corpus.read(unbound), "dev_cert": twin})
    explain_device(book, twin)
    forged = "secgear/derived/NEGATIVE_virtcca_forged_cvm_only_token.cbor"
    refuse(book, forged, "virtcca", {"token": forged, "dev_cert": GTA["dev_cert"]})


def refuse(book: Book, path: str, tee: str, evidence: dict[str, Source]) -> None:
    """Explain a file by the Evidence that it is, or carries, being refused."""
    book.refuse(path, tee, book.prove(tee, evidence, {"ca": CA}, NOW))


def accept(book: Book, path: str, tee: str, evidence: dict[str, Source], challenge: bytes | None = None) -> Claims:
    """Explain a file by what it carries being proven."""
    claims = held(book.prove(tee, evidence, {"ca": CA}, NOW, challenge))
    book.note(path, Outcome.VERIFIED, tee, "in an envelope")
    return claims


def explain_virtcca_envelopes(book: Book) -> None:
    path = "secgear/virtcca/gta_evidence.json"
    fields = book.corpus.json(path)["evidence"]
    accept(book, path, "virtcca", {"token": unb64(fields["vcca_token"]), "dev_cert": unb64(fields["dev_cert"])})
    for path in book.corpus.glob("secgear/derived/virtcca_*.json"):
        challenge, inner = envelope(book, path)
        items: dict[str, Source] = {"token": bytes(inner["evidence"]), "dev_cert": bytes(inner["dev_cert"])}
        if inner.get("uefi_log"):
            items["event_log"] = bytes(inner["uefi_log"]["ccel_data"])
        accept(book, path, "virtcca", items, None if challenge is None else challenge.ljust(64, b"\0"))


def envelope(book: Book, path: str) -> tuple[bytes | None, Any]:
    """Challenge and evidence out of secGear's request to its service, or out of its agent's answer."""
    outer, challenge = book.corpus.json(path), None
    if "challenge" in outer:
        challenge = unb64(outer["challenge"])
        outer = json.loads(unb64(outer["evidence"]))
    return challenge, json.loads(outer["evidence"])


def unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_" if {"-", "_"} & set(text) else b"+/")


def explain_itrustee(book: Book) -> None:
    for path in ("evidence/itrustee/report_no_as.json", "secgear/itrustee/report.json"):
        claims = held(book.prove("itrustee", {"report": path}, {"ca": CA}, NOW))
    expected = book.corpus.json("secgear/expected.json")["itrustee/report.json"]
    assert (claims.measurements["ta_img"], claims.measurements["ta_mem"]) == (
        expected["ta_img_hex"],
        expected["ta_mem_hex"],
    )
    for path in (*book.corpus.glob("evidence/itrustee/*.json"), *book.corpus.glob("evidence/itrustee/legacy_*.bin")):
        if path.endswith(".expect.json"):
            book.note(path, Outcome.EXPECTATION, "itrustee", f"of {path.replace('.expect', '')}")
        elif path not in book.pages:
            refuse(book, path, "itrustee", {"report": path})


def explain_provision(book: Book, path: str) -> None:
    """What a device says when its AK is made: signed by its root key, and no report."""
    refused(book.prove("itrustee", {"report": path}, {"ca": CA}, NOW))
    drk = device_key(book, path.replace(".json", ".drk_cert.der"))
    found = book.corpus.json(path)
    signed = base64.urlsafe_b64encode(render(found["payload"]).encode()).rstrip(b"=")
    assert isinstance(drk, RsaKey)
    assert drk.verify_pss(unb64(found["signature"]["drk_sign"]), signed, "sha256", 32)
    book.note(path, Outcome.PARSED, "itrustee.cjson", "an AK signed by its DRK, and no report")


def explain_itrustee_envelopes(book: Book) -> None:
    """The agent's answers hold the report's own text, or the envelope that the verifier reads."""
    for path in (*book.corpus.glob("secgear/itrustee/a*.json"), *book.corpus.glob("secgear/derived/itrustee_*.json")):
        outer = book.corpus.json(path)
        challenge = unb64(outer["challenge"]) if "challenge" in outer else None
        inner = json.loads(unb64(outer["evidence"])) if challenge is not None else outer
        accept(book, path, "itrustee", {"report": inner["evidence"].encode()}, challenge)


def explain_device(book: Book, path: str) -> None:
    """Certificates of devices and authorities lead to a pinned root of Huawei."""
    held = device_key(book, path).spki in ROOTS
    book.note(path, Outcome.ENDORSEMENT, "_huawei.roots", "the pinned key" if held else "under a pinned key")


def device_key(book: Book, path: str) -> EcKey | RsaKey:
    """Key of a certificate that leads to a pinned root."""
    data, *pool = map(book.corpus.read, (path, *CA, *book.corpus.glob("secgear/certs/*")))
    return public_key(signed_path(load_certificate(data), tuple(map(load_certificate, pool)), ROOTS).leaf)
