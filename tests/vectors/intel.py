"""Intel: quotes under every recorded collateral at its time, collateral alone, the QVL's samples, the pinned roots."""

from datetime import UTC, datetime
from typing import Any

from vectors.walk import Book, Outcome, differing

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims
from attest_pipeline.verifiers._intel.abi import parse_quote
from attest_pipeline.verifiers._intel.collateral import check_collateral, prove_collateral
from attest_pipeline.verifiers._intel.quote import prove_attestation_key
from attest_pipeline.verifiers._intel.roots import INTEL_SGX_ROOT_CA
from attest_pipeline.verifiers._shared.x509 import load_certificate, public_key, signed_path

ROOTS = frozenset((INTEL_SGX_ROOT_CA,))
LATE = datetime(2026, 11, 23, tzinfo=UTC)


def explain(book: Book) -> None:
    for tee in ("tdx", "sgx"):
        for quote in book.corpus.glob(f"evidence/{tee}/v*.bin"):
            if ".ccel" not in quote:
                explain_quote(book, tee, quote)
    for path in book.corpus.glob("evidence/dcap-collateral/*.json"):
        explain_collateral(book, path)
    for path in book.corpus.glob("evidence/roots/intel/*"):
        explain_root(book, path)


def explain_quote(book: Book, tee: str, quote: str) -> None:
    """Prove a quote in each recorded run, and compare what was recorded."""
    recorded = quote.replace(".bin", ".expect.json")
    if recorded not in book.corpus.paths:
        book.refuse(quote, tee, book.prove(tee, {"quote": quote}, {}, LATE))
        return
    expected = book.corpus.json(recorded)
    outcomes = [explain_run(book, tee, quote, run) for run in expected.get("expectations", [])]
    proven = [claims for claims in outcomes if isinstance(claims, Claims)]
    for claims in proven:
        assert not differing({**expected["fields"], "fmspc": expected["fmspc"]}, claims), quote
        assert claims.debug == bool(
            int(expected["fields"].get("tdattributes", expected["fields"].get("attributes"))[:2], 16)
            & (1 if tee == "tdx" else 2)
        )
    if not proven:
        reasons = sorted({error.reason for error in outcomes if isinstance(error, BadEvidence)})
        explain_unendorsed(book, tee, quote, ", ".join(reasons))
    book.note(recorded, Outcome.EXPECTATION, tee, f"of {quote}")


def explain_run(book: Book, tee: str, quote: str, run: dict[str, Any]) -> Claims | BadEvidence | None:
    """One recorded run: None if its collateral is not in the corpus."""
    collateral = f"evidence/{run['collateral']}"
    if collateral not in book.corpus.paths:
        return None
    at = datetime.fromtimestamp(run["verify_at"], UTC)
    outcome = book.prove(tee, {"quote": quote}, {"collateral": collateral}, at)
    if isinstance(outcome, BadEvidence):
        assert run["own_platform"] == "TCBNotFound", run
        assert outcome.reason in {Reason.TCB_NOT_FOUND, Reason.MALFORMED}, run
        return outcome
    assert (outcome.fields["platform_tcb_status"], outcome.fields["qe_tcb_status"]) == (
        run["own_platform"],
        run["own_qe"],
    ), run
    if str(run["dcap_qvl_0_7_0"]).isalpha():
        assert outcome.tcb_status == run["dcap_qvl_0_7_0"], run
    return outcome


def explain_unendorsed(book: Book, tee: str, quote: str, reasons: str) -> None:
    """Without collateral that knows its platform a quote is refused, though its chain leads to Intel's root."""
    if reasons != Reason.MALFORMED:
        parsed = parse_quote(book.corpus.read(quote))
        proof = prove_attestation_key(parsed.state.certification, parsed.state.version, INTEL_SGX_ROOT_CA)
        assert proof.key.verify_raw(parsed.signature, parsed.signed, "sha256")
    if reasons:
        book.note(quote, Outcome.REJECTED, tee, reasons)
    else:
        book.refuse(quote, tee, book.prove(tee, {"quote": quote}, {}, LATE))


def explain_collateral(book: Book, path: str) -> None:
    """Collateral that no quote of the corpus needs is proven alone, within the window that its parts share."""
    collateral = prove_collateral(book.corpus.read(path), ROOTS)
    start, end = max(part.start for part in collateral.windows), min(part.end for part in collateral.windows)
    check_collateral(collateral, now=start)
    check_collateral(collateral, now=end)
    book.note(path, Outcome.ENDORSEMENT, "_intel.collateral", "proven alone")


def explain_root(book: Book, path: str) -> None:
    """Intel's certificates lead to the pinned key."""
    certificate = load_certificate(book.corpus.read(path))
    assert signed_path(certificate, (), ROOTS).root == INTEL_SGX_ROOT_CA
    held = public_key(certificate).spki == INTEL_SGX_ROOT_CA
    book.note(path, Outcome.ENDORSEMENT, "_intel.roots", "the pinned key" if held else "under the pinned key")
