"""What is left: tokens of other services, single files that some reader takes, and the formats that are not ours."""

from datetime import UTC, datetime
from fnmatch import fnmatch

from vectors import arm
from vectors.walk import Book, Outcome, Source, refused

from attest_pipeline import jws, result
from attest_pipeline.verifiers._arm.anchor import load_anchor
from attest_pipeline.verifiers._shared.x509 import load_certificate
from attest_pipeline.verifiers.az_tdx_vtpm.abi import parse_td_report

NOW = datetime(2026, 11, 23, tzinfo=UTC)
NOT_OURS = {
    "evidence/azure/aci_uvm_reference_info.cose": "Azure's endorsement of a utility VM: Reference Values are JSON sets",
    "evidence/ibm-se/*": "IBM Secure Execution: its measurement is an HMAC, which only the owner of the key can check",
    "evidence/itrustee/basevalue*.txt": "Reference Values of secGear as text: here they are JSON sets",
    "secgear/itrustee/*basevalue.txt": "Reference Values of secGear as text: here they are JSON sets",
    "secgear/itrustee/itrustee_*": "Reference Values of secGear as text: here they are JSON sets",
    "secgear/derived/virtcca_uefi_digest_list_file": "Reference Values of secGear as text: here they are JSON sets",
    "evidence/itrustee/daa-pubkey": "issuer key of direct anonymous attestation: no maintained library has the pairing",
    "evidence/jwt/maa_sample_claims.json": "claims of Microsoft Azure Attestation without a signature",
    "evidence/tdx/*.ccel_acpi_table.bin": "the ACPI table that says where a CCEL lies: the log itself is sent",
    "evidence/tpm/*.pb": "protobuf of go-tpm-tools: its quotes, log and certificate are files of their own",
    "evidence/tpm/*.tpmt_public.bin": "TPMT_PUBLIC of an AK: an enrolled key is a SubjectPublicKeyInfo",
    "evidence/tpm/*.pcrs.tpm2tools.bin": "PCR values as a C struct of tpm2-tools: here they are JSON",
    "evidence/tpm/veraison_parsec_tpm.cbor": "Parsec's key attestation, as example data without valid signatures",
    "rats/cca/rv.json": "Reference Values of rust-ccatoken: here they are JSON sets of their own form",
    "secgear/cca/*/rv.json": "Reference Values of rust-ccatoken: here they are JSON sets of their own form",
    "secgear/cca/*/i*-id.bin": "identifiers that name an anchor in rust-ccatoken's store",
    "rats/*/*.claims.json": "claims of a token, without a signature",
    "rats/claims/ccatoken-*.json": "claims of a token, without a signature",
    "secgear/token/claims_sample_virtcca.json": "claims of secGear's own result, without a signature",
    "trustee/evidence/cca-claims.json": "claims of a token, without a signature",
    "rats/*.diag": "CBOR diagnostic notation, for people",
    "rats/*.cddl": "a grammar, for people",
    "rats/corim/*": "CoRIM: Reference Values and Endorsements are files of the operator in forms of their own",
    "trustee/reference/unsigned-example-corim.cbor": "CoRIM: Reference Values are JSON sets of the operator",
    "rats/cmw/*.json": "CMW in JSON: collections are read in CBOR",
    "rats/results/*.json": "results of Veraison's verifier: policies differ",
    "rats/sevsnp/sevsnp-ratsd-*": "RATSd's collection of CMWs, its claims and environment",
    "trustee/jwk/*": "JWKs with x5c, by which CoCo's broker finds the keys of its tokens",
}
"""Pattern → why the files are not ours, the first that matches; each is also refused as Evidence of every TEE."""
KEYS_OF_TOKENS = {"rats/ear/draft-opa*": "rats/keys/ear-draft-opa-jwks.json", "*": "rats/keys/ear-go-pub.jwk"}


def explain(book: Book) -> None:
    explain_small(book)
    for pattern in ("rats/ear/*.jwt", "evidence/jwt/*"):
        for path in book.corpus.glob(pattern):
            if path not in NOT_OURS:
                explain_token(book, path)
    for path in book.corpus.glob("rats/ear/*.expected.txt"):
        book.note(path, Outcome.EXPECTATION, "result", f"of {path.replace('.expected.txt', '.jwt')}")
    for path in ("evidence/INDEX.tsv", "rats/SOURCE.txt", "secgear/SOURCE.txt", "trustee/SOURCE.txt"):
        book.note(path, Outcome.EXPECTATION, "the walk", "where files are from, and what is expected")
    for path in book.corpus.paths:
        ground = next((ground for pattern, ground in NOT_OURS.items() if fnmatch(path, pattern)), None)
        if ground is not None and path not in book.pages:
            explain_foreign(book, path, ground)


def explain_foreign(book: Book, path: str, ground: str) -> None:
    """Whatever it is, no verifier takes it for Evidence."""
    for tee in book.verifiers:
        refused_as(book, tee, path)
    book.note(path, Outcome.NOT_OURS, "-", ground)


def refused_as(book: Book, tee: str, path: str) -> None:
    """The file in the place of every item of a TEE's Evidence and Endorsements is refused."""
    names = (
        "quote",
        "report",
        "token",
        "document",
        "attest",
        "evidence",
        "signature",
        "pcrs",
        "cert_chain",
        "dev_cert",
    )
    given = ("collateral", "leaf", "ask", "ark", "cpak", "iak", "ca", "hsk_cek", "ak")
    data = book.corpus.read(path)
    refused(book.prove(tee, dict.fromkeys(names, data), dict.fromkeys(given, data), NOW))


def explain_small(book: Book) -> None:
    """Files that one reader takes, each on its own."""
    for path in (*book.corpus.glob("rats/cmw/*.der"), *book.corpus.glob("rats/keys/certs/*.der")):
        load_certificate(book.corpus.read(path))
        book.note(path, Outcome.PARSED, "_shared.x509", "of nothing here")
    load_anchor(book.corpus.read("rats/keys/certs/endEntity.jwk"))
    book.note("rats/keys/certs/endEntity.jwk", Outcome.PARSED, "_arm.anchor", "of nothing here")
    for path in ("evidence/tdx/coco_tdreport_1.bin", "evidence/tdx/lunal_live.tdreport.bin"):
        parse_td_report(book.corpus.read(path)[:1024])
        refused_as(book, "tdx", path)
        book.note(path, Outcome.PARSED, "az_tdx_vtpm.abi", "a TDREPORT: its MAC is checked on its own machine alone")
    private = "rats/psa/key.pem"
    assert arm.anchor(book, private) == arm.anchor(book, "rats/psa/public.pem")
    book.note(private, Outcome.ENDORSEMENT, "psa", "the private half of rats/psa/public.pem")
    explain_carried(book)


def explain_carried(book: Book) -> None:
    """Evidence within a file of another kind."""
    fixture = "evidence/tdx/v4_dstack_quote_report.fixture.json"
    quote = bytes.fromhex(book.corpus.json(fixture)["quote"])
    assert book.corpus.read("evidence/tdx/v4_dstack_quote_report.bin").startswith(quote.rstrip(b"\0"))
    book.note(
        fixture, Outcome.PARSED, "json", "carries v4_dstack_quote_report.bin; its event log is of dstack's own form"
    )
    for path in book.corpus.glob("evidence/tpm/ek_*.der"):
        quote_of = "evidence/tpm/keylime_files"
        evidence: dict[str, Source] = {
            "attest": f"{quote_of}.attest.bin",
            "signature": f"{quote_of}.sig.bin",
            "pcrs": b'{"0": ""}',
        }
        book.refuse(path, "tpm", book.prove("tpm", evidence, {"ak_cert": path}, NOW))
    for path in book.corpus.glob("rats/cmw/*.cbor"):
        book.refuse(path, "cca", book.prove("cca", {"token": path}, {"cpak": arm.anchor(book, arm.FVP)}, NOW))


def explain_token(book: Book, path: str) -> None:
    """A token of another service, or a broken one, is no result of ours, even under the key that signed it."""
    key = next(key for pattern, key in KEYS_OF_TOKENS.items() if fnmatch(path, pattern))
    found = book.corpus.json(key)
    keys = [{"alg": "ES256", "kid": "", **one} for one in found.get("keys", [found])]
    try:
        result.check(
            book.corpus.read(path).strip(), keys, audience="default", issuer="urn:attest-pipeline:default", now=0
        )
    except jws.BadToken as error:
        book.note(path, Outcome.REJECTED, "result", str(error).partition(":")[0])
