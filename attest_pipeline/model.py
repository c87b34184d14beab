"""The artefacts of RFC 9334 as frozen Structs: what flows from stage to stage, in the words of the standard.

Units: times are whole seconds since 1970 (UTC); digests and identifiers are lower-case hexadecimal text unless typed
`bytes`.
"""

from enum import StrEnum

from msgspec import Struct

MARK = "attest-pipeline simulator"
"""Organisation in every simulated certificate, member `simulator` of every simulated JWK: production refuses both."""

FieldValue = str | int | bool | None
"""A TEE-specific claim: hexadecimal or plain text, a number, a truth value, or null."""


# ── Evidence and what endorses it ─────────────────────────────────────────────────────────────────────────────────────
class Evidence(Struct, frozen=True, forbid_unknown_fields=True):
    """One TEE's Evidence: named byte items such as `{"quote": …, "event_log": …}`; `docs/evidence.md` lists them."""

    tee: str
    items: dict[str, bytes]


class NonceChallenge(Struct, frozen=True, tag="nonce", forbid_unknown_fields=True):
    """The challenge was derived from a nonce that this Verifier issued (`freshness.issue_nonce`)."""

    nonce: bytes


class EpochChallenge(Struct, frozen=True, tag="epoch", forbid_unknown_fields=True):
    """The challenge was derived from a tick of the epoch bell; `job` is empty for periodic attestation."""

    epoch: int
    job: str = ""


class SuppliedChallenge(Struct, frozen=True, tag="supplied", forbid_unknown_fields=True):
    """A Relying Party chose the challenge: compared byte for byte and echoed as `eat_nonce`, never called fresh."""

    value: bytes


Challenge = NonceChallenge | EpochChallenge | SuppliedChallenge


class EvidenceCollection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an agent sends: the Evidence of one Attester (several items for a composite), bound by one challenge.

    `attester_key` is the DER SubjectPublicKeyInfo held inside the TEE; it enters the challenge and the token's `cnf`.
    `as_of` and `endorsements` replay old Evidence at its own time with its own collateral. They are refused unless the
    tenant's configuration allows replay, and the result says so.
    """

    evidence: tuple[Evidence, ...]
    challenge: Challenge | None = None
    attester_key: bytes | None = None
    as_of: int | None = None
    endorsements: dict[str, tuple[bytes, ...]] = {}


class EndorsementKind(StrEnum):
    """The closed set of things a verifier may ask its host for."""

    INTEL_DCAP = "intel-dcap"
    AMD_CHAIN = "amd-chain"
    AMD_LEAF = "amd-leaf"
    AMD_CRL = "amd-crl"
    ARM_CPAK = "arm-cpak"
    PSA_IAK = "psa-iak"
    HUAWEI_CA = "huawei-ca"
    NVIDIA_RIM = "nvidia-rim"
    NVIDIA_OCSP = "nvidia-ocsp"
    NVIDIA_CERTIFICATE_STATUS = "nvidia-certificate-status"
    TPM_AK = "tpm-ak"
    TPM_AK_CERT = "tpm-ak-cert"
    TPM_CA = "tpm-ca"
    HUAWEI_AK_ISSUER = "huawei-ak-issuer"
    HYGON_HSK_CEK = "hygon-hsk-cek"


class EndorsementRef(Struct, frozen=True):
    """Names an Endorsement that a verifier needs; the host finds it. Never a URL, never a path taken from Evidence.

    `item` is the name under which `Verifier.verify` expects it, `key` is a canonical lower-case path such as
    `tdx/90c06f000000/platform`. A `required` one that is absent makes the Evidence `missing_endorsement`.
    """

    item: str
    kind: EndorsementKind
    key: str
    required: bool = True


class Endorsements(Struct, frozen=True):
    """The Endorsements handed to a verifier: item name → one or more documents, as received."""

    items: dict[str, tuple[bytes, ...]]

    def one(self, item: str) -> bytes | None:
        """The only document of that name, or None if there is none."""
        documents = self.items.get(item, ())
        return documents[0] if len(documents) == 1 else None


# ── parse: what was proven ────────────────────────────────────────────────────────────────────────────────────────────
class LogName(StrEnum):
    """The measurement logs that are read: UEFI's of a confidential VM, UEFI's of a TPM, and that of Linux IMA."""

    CCEL = "ccel"
    TCG2 = "tcg2"
    IMA = "ima"


class LoggedEvent(Struct, frozen=True, array_like=True, gc=False):
    """One measurement. The register bears out `digest`, and `text` if, and only if, `text_authenticated` is true.

    `register` counts as the log does. `kind` is the type that the log calls it (a TCG event type, an IMA template, or
    `violation`), which nothing covers. `digest` is what was extended, in IMA that of the file; it is empty if nobody
    knows it. `text` is printable, at most 2048 characters, and may be empty.
    """

    register: int
    kind: str
    digest: str
    text: str
    text_authenticated: bool


class EventLog(Struct, frozen=True, kw_only=True):
    """A measurement log that replays to what the TEE has signed for `registers`, and the events of just these.

    `digest` is the SHA-256 of the log as received.
    """

    name: LogName
    digest: str
    registers: tuple[int, ...]
    events: tuple[LoggedEvent, ...]


class Claims(Struct, frozen=True, kw_only=True):
    """What the Evidence of one TEE proves: signatures, chain, bindings and validity all hold.

    Authentic, not yet acceptable: debug mode or an old TCB is reported here and judged by policy.
    `measurements` are the register and image digests; `fields` are the TEE's own claims under canonical names (a
    superset that repeats the measurements); `checks` names every check that was made and held; `endorsements` maps
    each document used to its SHA-256, `degraded` names those that are stale: they hold, but could not be fetched anew.
    `logs` go no further than to match; what a policy and a token see of them stands in `fields`.
    """

    tee: str
    hardware_id: str | None
    debug: bool | None
    tcb_status: str | None
    measurements: dict[str, str]
    signer: str | None
    challenge_verified: bool
    endorsements: dict[str, str]
    fields: dict[str, FieldValue]
    checks: tuple[str, ...]
    degraded: tuple[str, ...] = ()
    logs: tuple[EventLog, ...] = ()


class Rejection(Struct, frozen=True, tag="rejection"):
    """The Evidence does not hold: the Attester's fault. Ends as a signed, contraindicated result."""

    tee: str
    reason: str
    detail: str


class Malfunction(Struct, frozen=True, tag="malfunction"):
    """The Verifier could not judge: our fault. Ends as a signed result of status none."""

    tee: str
    reason: str
    detail: str


class Verified(Struct, frozen=True, tag="verified"):
    """A proof succeeded: output of parse, input of match."""

    claims: Claims


# ── match: what was expected ──────────────────────────────────────────────────────────────────────────────────────────
class AllowList(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may have been measured into some registers: `digests` of events, in lower-case hexadecimal.

    The log must explain each of these `registers` (as it counts them), and every event of theirs must be on the list.
    """

    registers: tuple[int, ...]
    digests: tuple[str, ...]


class ReferenceValueSet(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A baseline: named, versioned, matched as a whole or not at all. `values` maps a claim to its allowed values.

    `logs` says for a measurement log what it may hold; Evidence without that log does not match.
    """

    name: str
    version: str
    tee: str
    values: dict[str, tuple[FieldValue, ...]]
    logs: dict[LogName, AllowList] = {}


class Mismatch(Struct, frozen=True):
    """One claim that differs from the closest Reference Value Set; `expected` are the first of its allowed values."""

    field: str
    expected: tuple[FieldValue, ...]
    got: FieldValue


class Match(Struct, frozen=True, kw_only=True):
    """How Claims compare with the baselines: the set that matched, or every mismatch against the closest one."""

    matched: bool
    set: str | None
    version: str | None
    mismatches: tuple[Mismatch, ...] = ()


class Matched(Struct, frozen=True, tag="matched"):
    """Output of match, input of appraise."""

    claims: Claims
    match: Match


# ── appraise: what it is worth ────────────────────────────────────────────────────────────────────────────────────────
class ClaimReason(Struct, frozen=True):
    """Why one claim of the trustworthiness vector has its value: a policy's reason code and its words."""

    claim: str
    value: int
    reason: str
    detail: str = ""


class Appraisal(Struct, frozen=True, kw_only=True):
    """The judgement of one item: AR4SI vector, the status computed from it, and a reason for every claim."""

    status: str
    vector: dict[str, int]
    reasons: tuple[ClaimReason, ...]
    policy: str
    policy_digest: str


class Appraised(Struct, frozen=True, tag="appraised"):
    """Output of appraise, input of sign."""

    claims: Claims
    match: Match
    appraisal: Appraisal


Artefact = Verified | Matched | Appraised | Rejection | Malfunction
"""What stands for one Evidence at any point of the pipeline; a Rejection or Malfunction rides through unchanged."""


def tee_of(artefact: Artefact) -> str:
    """TEE that an artefact speaks of."""
    return artefact.tee if isinstance(artefact, Rejection | Malfunction) else artefact.claims.tee


class Context(Struct, frozen=True, kw_only=True):
    """What the Attestation Result must say about its collection besides the artefacts: the same at every stage.

    `fresh` is true only if this Verifier issued the challenge and it was inside its window when received.
    """

    attestation_id: bytes
    tenant: str
    agent: str
    received_at: int
    fresh: bool
    replayed: bool = False
    nonce: bytes | None = None
    attester_key: bytes | None = None


# ── the Verifier Owner's configuration ────────────────────────────────────────────────────────────────────────────────
class Policy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A vetted Rego v1 module for one TEE.

    `id` such as `appraisal/tdx` is also its package; `digest` is the SHA-256 of the text. `reads` are the paths of the
    input document (`debug`, `match`, `fields.vmpl`) that the module declares: it is given these and nothing else, which
    makes remembering its answers sound. `allow_unfresh` admits Evidence without a challenge of this Verifier.
    """

    id: str
    tee: str
    text: str
    digest: str
    reads: tuple[str, ...]
    allow_unfresh: bool


class TrustAnchor(Struct, frozen=True, forbid_unknown_fields=True):
    """A root key beyond the vendors' pinned ones: DER SubjectPublicKeyInfo, for development and simulators only."""

    vendor: str
    spki: bytes


class TenantConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One immutable version of a tenant's configuration. `version` is the SHA-256 over everything else.

    `endorsements` maps `<kind>/<key>` to the SHA-256 of each document; the documents travel beside the snapshot.
    `annotate` puts every claim into the token, not only the measurements.
    """

    tenant: str
    version: str
    environment: str
    issuer: str
    audience: str
    token_seconds: int
    tees: tuple[str, ...]
    annotate: bool
    allow_replay: bool
    policies: tuple[Policy, ...]
    reference_values: tuple[ReferenceValueSet, ...]
    trust_anchors: tuple[TrustAnchor, ...]
    endorsements: dict[str, tuple[str, ...]]
