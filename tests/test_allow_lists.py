"""From a signed register to a verdict: logs of real layout, proven by a quote and held against an allow-list."""

import hashlib
import re
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from tpm_lab import CHALLENGE, attest, pcr_json, public_pem, sign, values

from attest_pipeline.matching import ReferenceValues
from attest_pipeline.model import AllowList, Endorsements, Evidence, LogName, Match, Mismatch, Policy, ReferenceValueSet
from attest_pipeline.owner.tenant import TenantSettings, assemble
from attest_pipeline.simulator.tpm import TpmVendor
from attest_pipeline.verifiers.tpm import TpmVerifier

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
AK: Final = ec.generate_private_key(ec.SECP256R1())
GOOD: Final = hashlib.sha256(b"the program that was built").digest()
BAD: Final = hashlib.sha256(b"another program").digest()
VIOLATED: Final = None
BOOT: Final = values("sha256", tuple(range(10)))
AGGREGATE: Final = hashlib.sha256(b"".join(BOOT.values())).digest()


def log_and_pcr(*entries: tuple[str, bytes | None]) -> tuple[bytes, bytes]:
    """A binary IMA log of paths with digests, None for a violation, and PCR 10 after it."""
    log, pcr = b"", bytes(32)
    for path, digest in entries:
        fields = (b"sha256:\0" + (digest or bytes(32)), path.encode() + b"\0")
        data = b"".join(struct.pack("<I", len(field)) + field for field in fields)
        noted = bytes(20) if digest is VIOLATED else hashlib.sha1(data, usedforsecurity=False).digest()
        log += struct.pack("<I20sI6sI", 10, noted, 6, b"ima-ng", len(data)) + data
        pcr = hashlib.sha256(pcr + (b"\xff" * 32 if digest is VIOLATED else hashlib.sha256(data).digest())).digest()
    return log, pcr


def judged(*entries: tuple[str, bytes | None], quoted: int = 10) -> Match:
    """How a machine that measured these files compares with a baseline that allows the good program alone.

    It quotes so many PCRs of its boot, and PCR 10.
    """
    log, pcr = log_and_pcr(*entries)
    pcrs = {**{number: BOOT[number] for number in range(quoted)}, 10: pcr}
    message = attest(pcrs)
    items = {"attest": message, "signature": sign(AK, message), "pcrs": pcr_json(pcrs), "ima_log": log}
    endorsements = Endorsements({"ak": (public_pem(AK),)})
    claims = TpmVerifier({}).verify(Evidence("tpm", items), endorsements, challenge=CHALLENGE, now=NOW)
    allowed = AllowList(registers=(10,), digests=(GOOD.hex(),))
    baseline = ReferenceValueSet(
        name="files", version="1", tee="tpm", values={"pcr_bank": ("sha256",)}, logs={LogName.IMA: allowed}
    )
    return ReferenceValues([baseline]).match(claims)


def test_a_machine_that_ran_what_is_allowed_matches() -> None:
    assert judged(("boot_aggregate", AGGREGATE), ("/usr/bin/app", GOOD), ("/opt/app", GOOD)).matched


def test_a_bad_program_is_not_whitewashed_by_a_good_one_at_the_same_path() -> None:
    found = judged(("/usr/bin/app", BAD), ("/usr/bin/app", GOOD))
    assert not found.matched
    assert found.mismatches == (
        Mismatch("ima_events_not_allowed", (0,), 1),
        Mismatch("ima_event", (), f"{BAD.hex()} ima-ng /usr/bin/app"),
    )


def test_a_violation_is_never_allowed_whatever_digest_it_shows() -> None:
    found = judged(("/usr/bin/app", GOOD), ("/usr/bin/app", VIOLATED))
    assert [mismatch.got for mismatch in found.mismatches] == [1, "violation (unproven: /usr/bin/app)"]


def test_a_boot_aggregate_is_a_file_like_any_unless_the_quote_bears_it_out() -> None:
    assert not judged(("boot_aggregate", AGGREGATE), quoted=9).matched
    assert not judged(("boot_aggregate", AGGREGATE), ("boot_aggregate", AGGREGATE)).matched
    assert judged(("boot_aggregate", GOOD), quoted=9).matched


def test_the_reference_value_set_of_the_page_is_one_that_a_tenant_may_have() -> None:
    page = (Path(__file__).parent.parent / "docs" / "event-logs.md").read_text()
    found = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert found
    reference = msgspec.json.decode(found[1], type=ReferenceValueSet)
    settings = TenantSettings(issuer="urn:i", audience="a", tees=("tpm",))
    policy = Policy(id="appraisal/tpm", tee="tpm", text="", digest="", reads=(), allow_unfresh=False)
    config, _ = assemble(
        "acme", settings, policies=[policy], reference_values=[reference], trust_anchors=[], endorsements={}
    )
    assert config.reference_values[0].logs[LogName.IMA].registers == (10,)


def test_a_simulated_machine_matches_its_vendors_files_and_none_without_its_log() -> None:
    vendor = TpmVendor(NOW)
    published = vendor.endorsements()
    endorsements = Endorsements({"ca": published["tpm-ca/authorities"], "crl": published["tpm-ca/crl"]})
    verifier = TpmVerifier({"tpm": tuple(anchor.spki for anchor in vendor.trust_anchors())})
    items = vendor.evidence(1, CHALLENGE).items
    for given, matched in ((items, True), ({name: items[name] for name in items if name != "ima_log"}, False)):
        claims = verifier.verify(Evidence("tpm", given), endorsements, challenge=CHALLENGE, now=NOW)
        assert ReferenceValues([vendor.reference_values()]).match(claims).matched == matched
