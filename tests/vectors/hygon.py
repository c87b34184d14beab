"""Hygon: the one report with its whole chain, one without HSK and CEK, the root."""

from datetime import UTC, datetime

from vectors.walk import Book, Outcome, differing, held, refused

from attest_pipeline.errors import Reason
from attest_pipeline.verifiers.csv import abi
from attest_pipeline.verifiers.csv.roots import trusted_roots
from attest_pipeline.verifiers.csv.verify import prove_chip

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ROOM = "evidence/csv"
ROOTS = trusted_roots({})


def explain(book: Book) -> None:
    report, recorded = f"{ROOM}/report_v1.bin", f"{ROOM}/report_v1.expect.json"
    claims = held(book.prove("csv", {"report": report}, {"hsk_cek": f"{ROOM}/hsk_cek.cert"}, NOW))
    assert not differing(book.corpus.json(recorded)["fields"], claims)
    book.note(recorded, Outcome.EXPECTATION, "csv", f"of {report}")
    explain_parts(book)
    explain_trustee(book)


def explain_parts(book: Book) -> None:
    """The halves of HSK and CEK prove the chip when they are put together; the root holds the pinned key."""
    hsk, cek, root = f"{ROOM}/hsk.cert", f"{ROOM}/cek.cert", "evidence/roots/hygon/hrk.cert"
    prove_chip(book.corpus.read(hsk) + book.corpus.read(cek), ROOTS)
    for path in (hsk, cek):
        book.note(path, Outcome.ENDORSEMENT, "csv", "of a chip, proven")
    assert abi.read_ca(book.corpus.read(root)).key.spki == ROOTS[0].spki
    book.note(root, Outcome.ENDORSEMENT, "csv.roots", "the pinned key")


def explain_trustee(book: Book) -> None:
    """CoCo's evidence names a chip whose certificates nobody published: refused without them, and under another's."""
    report, pek, document = (
        f"{ROOM}/trustee_report.bin",
        f"{ROOM}/trustee_pek.cert",
        f"{ROOM}/trustee_csv_evidence.json",
    )
    book.refuse(report, "csv", book.prove("csv", {"report": report}, {}, NOW))
    other = book.prove("csv", {"report": report}, {"hsk_cek": f"{ROOM}/hsk_cek.cert"}, NOW)
    assert refused(other) is Reason.BAD_SIGNATURE
    parsed = abi.parse(book.corpus.read(report))
    assert parsed.pek == book.corpus.read(pek)
    signer = abi.read_csv(parsed.pek)
    assert signer.key.verify(parsed.signature.r, parsed.signature.s, parsed.signed, signer.user_id)
    book.note(pek, Outcome.PARSED, "csv.abi", f"signs {report}, itself signed by no known CEK")
    for path in (document, "trustee/evidence/csv_evidence.json"):
        carried = bytes(book.corpus.json(path)["attestation_report"]["data"])
        assert abi.parse(carried) == parsed
        book.refuse(path, "csv", book.prove("csv", {"report": carried}, {}, NOW))
