"""AMD: reports under their VCEK or VLEK at both ends of its window, altered leaves, the intermediates and the roots."""

import base64
from datetime import timedelta

import cbor2
from vectors.walk import Book, Outcome, Source, differing, held, refused, standing

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims
from attest_pipeline.verifiers._amd.proof import Chain, prove_leaf
from attest_pipeline.verifiers._amd.roots import ARK
from attest_pipeline.verifiers._shared.x509 import load_certificate, public_key, signed_path

ROOT = "evidence/roots/amd"
VCEK = "63da758de6644564adc5f4b93be8accd"
"""GUID of a VCEK in the table of a host (AMD 56421)."""
SECOND = timedelta(seconds=1)
UNLIKE = {"signing_key"}
"""Recorded as a number, and claimed as a word."""


def explain(book: Book) -> None:
    for report in book.corpus.glob("evidence/snp/*.bin"):
        explain_report(book, report)
    explain_roots(book)
    for leaf in [*book.corpus.glob("evidence/negative/snp/*.der"), "evidence/snp/turin_vcek_only.der"]:
        explain_leaf(book, leaf)
    for path in book.corpus.glob("rats/sevsnp/sevsnp-tsm-report.*"):
        explain_tsm(book, path)
    explain_serde(book)


def explain_report(book: Book, report: str) -> None:
    """Prove a report from the first to the last second of its leaf, and compare every recorded field."""
    recorded = report.replace(".bin", ".expect.json")
    expected = book.corpus.json(recorded)
    book.note(recorded, Outcome.EXPECTATION, "snp", f"of {report}")
    if "leaf" not in expected:
        ask, ark = chain("Milan")
        at, _ = book.corpus.window(ask)
        book.refuse(report, "snp", book.prove("snp", {"report": report}, {"ask": ask, "ark": ark}, at))
        return
    leaf = f"evidence/{expected['leaf']}"
    ask, ark = (f"evidence/{path}" for path in expected["ca"])
    start, end = book.corpus.window(report)
    endorsements = {"leaf": leaf, "ask": ask, "ark": ark}
    for at in (start, end):
        claims = held(book.prove("snp", {"report": report}, endorsements, at))
        fields = {name: value for name, value in expected["fields"].items() if name not in UNLIKE}
        assert not differing(fields, claims), report
        assert claims.fields["signing_key"] == expected["leaf_kind"]
    for at, reason in ((start - SECOND, Reason.NOT_YET_VALID), (end + SECOND, Reason.EXPIRED)):
        assert refused(book.prove("snp", {"report": report}, endorsements, at)) is reason, (report, at)


def chain(product: str, kind: str = "") -> tuple[str, str]:
    """Intermediate and root of a product."""
    return f"{ROOT}/SEV-{kind}{product}.pem", f"{ROOT}/ARK-{product}.pem"


def explain_roots(book: Book) -> None:
    for path in book.corpus.glob(f"{ROOT}/*.pem"):
        product = path.rpartition("-")[2].removesuffix(".pem")
        certificate = load_certificate(book.corpus.read(path))
        assert signed_path(certificate, (), frozenset((ARK[product],))).root == ARK[product]
        held = public_key(certificate).spki == ARK[product]
        book.note(path, Outcome.ENDORSEMENT, "_amd.roots", f"{'the' if held else 'under the'} pinned key of {product}")


def explain_leaf(book: Book, leaf: str) -> None:
    """A leaf without a report of its own is proven, or refused, alone."""
    product = "Turin" if "turin" in leaf else "Milan"
    ask, ark = map(book.corpus.read, chain(product))
    try:
        proven = prove_leaf(Chain(book.corpus.read(leaf), ask, ark), frozenset())
    except BadEvidence as error:
        book.note(leaf, Outcome.REJECTED, "_amd.proof", error.reason)
    else:
        start, end = book.corpus.window(leaf)
        assert (proven.not_before.date(), proven.not_after.date()) == (start.date(), end.date())
        book.note(leaf, Outcome.ENDORSEMENT, "_amd.proof", "proven alone")


def explain_tsm(book: Book, path: str) -> None:
    """A report as the kernel's configfs-tsm gives it: `outblob`, and the certificates of the host in `auxblob`."""
    if path.endswith(".json"):
        texts = book.corpus.json(path)
        found = {name: base64.urlsafe_b64decode(texts[name] + "==") for name in ("outblob", "auxblob")}
    else:
        found = cbor2.loads(book.corpus.read(path))
    prove_inside(book, path, found["outblob"], certificates(found["auxblob"])[VCEK], "Genoa")


def certificates(table: bytes) -> dict[str, bytes]:
    """Certificates by GUID out of the table of a host (AMD 56421, GHCB, "Extended guest request")."""
    found = {}
    for at in range(0, len(table), 24):
        guid = table[at : at + 16]
        if not any(guid):
            break
        start, size = (int.from_bytes(table[at + 16 + 4 * part : at + 20 + 4 * part], "little") for part in (0, 1))
        found[guid.hex()] = table[start : start + size]
    return found


def prove_inside(book: Book, path: str, report: bytes, leaf: bytes, product: str) -> Claims:
    """Prove a report that a file carries, and explain the file by it."""
    ask, ark = chain(product)
    endorsements: dict[str, Source] = {"leaf": leaf, "ask": ask, "ark": ark}
    at = load_certificate(leaf).not_valid_before_utc
    claims = held(book.prove("snp", {"report": report}, endorsements, at))
    book.note(path, Outcome.VERIFIED, "snp", standing(claims))
    return claims


def explain_serde(book: Book) -> None:
    """CoCo's JSON of the same Genoa report, field by field."""
    path = "trustee/evidence/snp_genoa_struct.json"
    document = book.corpus.json(path)
    twin = "evidence/snp/v3_genoa_vcek_coco_structjson"
    leaf = bytes(document["cert_chain"][0]["data"])
    assert leaf == book.corpus.read(f"{twin}.vcek.der")
    claims = prove_inside(book, path, book.corpus.read(f"{twin}.bin"), leaf, "Genoa")
    report = document["attestation_report"]
    assert claims.fields["measurement"] == bytes(report["measurement"]).hex()
    assert claims.fields["report_data"] == bytes(report["report_data"]).hex()
