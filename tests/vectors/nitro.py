"""AWS Nitro: documents from the first to the last second of their chain, altered ones, the root."""

from datetime import datetime, timedelta

from vectors.walk import Book, Outcome, differing, held, refused

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.x509 import load_certificate, public_key
from attest_pipeline.verifiers.nitro.roots import AWS_NITRO_ENCLAVES_ROOT_G1

SECOND = timedelta(seconds=1)
ALTERED_AT = datetime.fromisoformat("2021-09-09T10:30:00Z")


def explain(book: Book) -> None:
    for document in book.corpus.glob("evidence/nitro/*.cbor"):
        explain_document(book, document)
    for document in book.corpus.glob("evidence/negative/nitro/*.cbor"):
        book.refuse(document, "nitro", book.prove("nitro", {"document": document}, {}, ALTERED_AT))
    for path in (
        "evidence/roots/aws/AWS_NitroEnclaves_Root-G1.pem",
        "evidence/negative/nitro/fortanix_tampered_root.pem",
    ):
        explain_root(book, path)


def explain_document(book: Book, document: str) -> None:
    recorded = document.replace(".cbor", ".expect.json")
    expected = book.corpus.json(recorded)
    start, end = map(datetime.fromisoformat, expected["valid"])
    for at in (start, end):
        claims = held(book.prove("nitro", {"document": document}, {}, at))
    registers = {f"pcr{number}": value for number, value in expected["pcrs"].items()}
    texts = {
        name: expected[name] for name in ("module_id", "digest", "nonce", "user_data", "public_key") if expected[name]
    }
    assert not differing(registers | texts, claims), document
    assert claims.debug is expected["debug"]
    for at, reason in ((start - SECOND, Reason.NOT_YET_VALID), (end + SECOND, Reason.EXPIRED)):
        assert refused(book.prove("nitro", {"document": document}, {}, at)) is reason, (document, at)
    book.note(recorded, Outcome.EXPECTATION, "nitro", f"of {document}")


def explain_root(book: Book, path: str) -> None:
    try:
        held = public_key(load_certificate(book.corpus.read(path))).spki == AWS_NITRO_ENCLAVES_ROOT_G1
    except BadEvidence as error:
        book.note(path, Outcome.REJECTED, "nitro.roots", error.reason)
    else:
        book.note(
            path,
            *(
                (Outcome.ENDORSEMENT, "nitro.roots", "the pinned key")
                if held
                else (Outcome.REJECTED, "nitro.roots", Reason.UNTRUSTED_ROOT)
            ),
        )
