"""`attest verify --stream`: the conformance protocol, one JSON request a line in, one JSON response a line out."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from attest_pipeline.cli.inputs import Moment
from attest_pipeline.cli.proof import Outcome, Proof, prove
from attest_pipeline.errors import Reason
from attest_pipeline.model import Claims, Endorsements, Evidence, FieldValue
from attest_pipeline.ports import Verifier


class Request(Struct, frozen=True):
    """One piece of Evidence. `challenge` is hexadecimal and stands for the whole field; `at` is the time."""

    id: str
    tee: str
    evidence: dict[str, bytes]
    endorsements: dict[str, bytes | tuple[bytes, ...]]
    challenge: str | None
    at: Moment


class Response(Struct, frozen=True):
    """Its outcome; TCB status, debug and claims are null or empty unless it is `verified`."""

    id: str
    outcome: str
    reason: str
    tcb_status: str | None = None
    debug: bool | None = None
    claims: dict[str, FieldValue] = {}


class _Id(Struct):
    id: str


_request_decoder = msgspec.json.Decoder(Request)
_id_decoder = msgspec.json.Decoder(_Id)
_encoder = msgspec.json.Encoder()


def answers(verifiers: Mapping[str, Verifier], lines: Iterable[bytes]) -> Iterator[bytes]:
    """A response line for every request line that has an id, as soon as it was read."""
    for line in lines:
        response = _answer(verifiers, line)
        if response is not None:
            yield _encoder.encode(response) + b"\n"


def _answer(verifiers: Mapping[str, Verifier], line: bytes) -> Response | None:
    try:
        request = _request_decoder.decode(line)
        challenge = None if request.challenge is None else bytes.fromhex(request.challenge)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _malformed(line)
    endorsements = {
        name: (found,) if isinstance(found, bytes) else found for name, found in request.endorsements.items()
    }
    evidence = Evidence(request.tee, request.evidence)
    proof = prove(verifiers, evidence, Endorsements(endorsements), challenge=challenge, now=request.at)
    return _response(request.id, proof)


def _malformed(line: bytes) -> Response | None:
    try:
        return Response(_id_decoder.decode(line).id, Outcome.REJECTED, Reason.MALFORMED)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _response(identity: str, proof: Proof) -> Response:
    claims: Claims | None = proof.claims
    if claims is None:
        return Response(identity, proof.outcome, proof.reason)
    return Response(
        identity,
        proof.outcome,
        proof.reason,
        claims.tcb_status,
        claims.debug,
        claims.fields | {"challenge_verified": claims.challenge_verified},
    )
