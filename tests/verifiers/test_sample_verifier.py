import json
from datetime import UTC, datetime

import pytest

from attest_pipeline import verifiers
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements, Evidence
from attest_pipeline.owner.tenant import DEVELOPMENT_ONLY
from attest_pipeline.verifiers.sample import SampleVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
REPORT = {"challenge": CHALLENGE.hex(), "measurement": "ab" * 48}
VERIFIER = SampleVerifier({})


def sample(report: object) -> Evidence:
    data = report if isinstance(report, bytes) else json.dumps(report).encode()
    return Evidence("sample", {"report": data})


def test_its_claims_say_that_nothing_was_proven() -> None:
    claims = VERIFIER.verify(sample(REPORT), Endorsements({}), challenge=CHALLENGE, now=NOW)
    assert claims.checks == ("none",)
    assert (claims.debug, claims.hardware_id, claims.signer, claims.tcb_status) == (True, None, None, None)
    assert (claims.challenge_verified, claims.measurements) == (True, {"measurement": "ab" * 48})


def test_without_a_challenge_none_is_verified() -> None:
    assert not VERIFIER.verify(sample(REPORT), Endorsements({}), challenge=None, now=NOW).challenge_verified


def test_it_asks_for_no_endorsement() -> None:
    assert VERIFIER.endorsements_for(sample(REPORT)) == ()


def test_it_is_loaded_only_by_name_and_known_as_for_development() -> None:
    assert set(verifiers.load(["sample"], {})) == {"sample"}
    assert "sample" not in verifiers.load(["snp"], {})
    assert "sample" in DEVELOPMENT_ONLY


@pytest.mark.parametrize("challenge", [bytes(64), CHALLENGE[:63], b""])
def test_another_challenge_is_refused(challenge: bytes) -> None:
    with pytest.raises(BadEvidence) as refused:
        VERIFIER.verify(sample(REPORT), Endorsements({}), challenge=challenge, now=NOW)
    assert refused.value.reason is Reason.CHALLENGE_MISMATCH


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"{", Reason.MALFORMED),
        (b"\xff\xfe", Reason.MALFORMED),
        (b'{"challenge":"\xff","measurement":"ab"}', Reason.MALFORMED),
        ([], Reason.MALFORMED),
        ({"challenge": "ab"}, Reason.MALFORMED),
        ({**REPORT, "debug": False}, Reason.MALFORMED),
        ({**REPORT, "challenge": "AB"}, Reason.MALFORMED),
        ({**REPORT, "challenge": "ab\n"}, Reason.MALFORMED),
        ({**REPORT, "measurement": "abc"}, Reason.MALFORMED),
        ({**REPORT, "measurement": ""}, Reason.MALFORMED),
        ({**REPORT, "measurement": 171}, Reason.MALFORMED),
        (b" " * 2000, Reason.TOO_LARGE),
    ],
)
def test_only_the_exact_report_is_read(report: object, reason: Reason) -> None:
    with pytest.raises(BadEvidence) as refused:
        VERIFIER.verify(sample(report), Endorsements({}), challenge=None, now=NOW)
    assert refused.value.reason is reason
