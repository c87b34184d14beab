"""Bytes from the network: limits, one meaning for each message, and an identity that is no encoding's."""

import base64
import itertools
from collections.abc import Callable

import msgspec
import pytest
import token_lab
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from attest_pipeline import wire
from attest_pipeline.adapters.nats_config import MAX_PAYLOAD
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import (
    Challenge,
    Context,
    EpochChallenge,
    EventLog,
    Evidence,
    EvidenceCollection,
    FieldValue,
    LoggedEvent,
    LogName,
    NonceChallenge,
    Rejection,
    SuppliedChallenge,
    Verified,
)
from attest_pipeline.wire import JSON, MSGPACK, BatchEntry, EvidenceBatch

COLLECTION = EvidenceCollection(
    evidence=(Evidence("tdx", {"quote": b"q" * 50, "event_log": b"l"}), Evidence("snp", {"report": b"r"})),
    challenge=NonceChallenge(b"n" * 56),
    attester_key=b"key",
    as_of=1_790_000_000,
    endorsements={"collateral": (b"one", b"two")},
)


def reason_of(read: Callable[[], object]) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        read()
    return caught.value.reason


def json_reason(text: str | bytes) -> Reason:
    data = text.encode() if isinstance(text, str) else text
    return reason_of(lambda: wire.decode_collection(data, JSON))


def packed_reason(document: object) -> Reason:
    return reason_of(lambda: wire.decode_collection(msgspec.msgpack.encode(document)))


def quoted(item: str) -> str:
    return f'{{"evidence": [{{"tee": "tdx", "items": {{"quote": "{item}"}}}}]}}'


# ── one collection ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_messagepack_and_json_say_the_same() -> None:
    assert wire.decode_collection(wire.encode(COLLECTION)) == COLLECTION
    assert wire.decode_collection(msgspec.json.encode(COLLECTION), JSON) == COLLECTION


@pytest.mark.parametrize(
    "challenge", [None, EpochChallenge(7), EpochChallenge(7, "job"), SuppliedChallenge(b"12345678")]
)
def test_every_kind_of_challenge_reference_survives_both_encodings(challenge: Challenge | None) -> None:
    collection = msgspec.structs.replace(COLLECTION, challenge=challenge)
    assert wire.decode_collection(wire.encode(collection), MSGPACK) == collection
    assert wire.decode_collection(msgspec.json.encode(collection), JSON) == collection


def test_json_may_leave_out_what_has_a_default() -> None:
    text = '{"evidence": [{"tee": "tdx", "items": {}}], "challenge": {"epoch": 7, "type": "epoch"}, "as_of": null}'
    assert wire.decode_collection(text.encode(), JSON) == EvidenceCollection(
        evidence=(Evidence("tdx", {}),), challenge=EpochChallenge(7)
    )


@pytest.mark.parametrize("content_type", [MSGPACK, JSON])
def test_no_bytes_are_empty(content_type: str) -> None:
    assert reason_of(lambda: wire.decode_collection(b"", content_type)) is Reason.EMPTY


@pytest.mark.parametrize("content_type", [MSGPACK, JSON])
def test_a_message_of_two_megabytes_is_refused_before_it_is_read(content_type: str) -> None:
    assert reason_of(lambda: wire.decode_collection(bytes(2 << 20), content_type)) is Reason.TOO_LARGE


@pytest.mark.parametrize("content_type", ["application/cbor", "", "application/json; charset=utf-8", "x" * 100_000])
def test_another_content_type_is_unsupported_and_not_repeated_at_length(content_type: str) -> None:
    with pytest.raises(BadEvidence) as caught:
        wire.decode_collection(b"{}", content_type)
    assert caught.value.reason is Reason.UNSUPPORTED_FORMAT
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"evidence": None},
        {"evidence": []},
        {"evidence": [{"tee": "tdx"}]},
        {"evidence": [{"tee": "tdx", "items": {}, "url": "http://x"}]},
        {"evidence": [{"tee": "tdx", "items": {}}], "unknown": 1},
        {"evidence": [{"tee": "tdx", "items": {"quote": 1}}]},
        {"evidence": [{"tee": "tdx", "items": {1: b""}}]},
        {"evidence": [{"tee": 1, "items": {}}]},
        {"evidence": [{"tee": "", "items": {}}]},
        {"evidence": [{"tee": "t" * (wire.MAX_TEE + 1), "items": {}}]},
        {"evidence": [{"tee": "tdx", "items": {}}] * (wire.MAX_EVIDENCE + 1)},
        {"evidence": [{"tee": "tdx", "items": {}}], "as_of": -1},
        {"evidence": [{"tee": "tdx", "items": {}}], "as_of": 1 << 33},
        {"evidence": [{"tee": "tdx", "items": {}}], "as_of": True},
        {"evidence": [{"tee": "tdx", "items": {}}], "challenge": {"type": "other"}},
        {"evidence": [{"tee": "tdx", "items": {}}], "challenge": {"type": "epoch", "epoch": -1}},
        {"evidence": [{"tee": "tdx", "items": {}}], "challenge": {"type": "epoch", "epoch": 1 << 63}},
        {"evidence": [{"tee": "tdx", "items": {}}], "challenge": {"type": "epoch", "epoch": 1, "nonce": b""}},
    ],
    ids=str,
)
def test_what_is_no_collection_is_malformed(document: object) -> None:
    assert packed_reason(document) is Reason.MALFORMED


def test_the_largest_collection_is_accepted_and_a_larger_one_is_too_large() -> None:
    most = {f"i{number}": b"" for number in range(wire.MAX_ITEMS)}
    full = EvidenceCollection(
        evidence=(Evidence("t" * wire.MAX_TEE, {**most, "i0": bytes(wire.MAX_ITEM)}),) + (Evidence("tdx", most),) * 7
    )
    assert len(full.evidence) == wire.MAX_EVIDENCE
    assert wire.decode_collection(wire.encode(full)) == full
    for items in ({**most, "more": b""}, {"quote": bytes(wire.MAX_ITEM + 1)}):
        assert packed_reason({"evidence": [{"tee": "tdx", "items": items}]}) is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of 2^32 - 1
        b"\xdf\xff\xff\xff\xff",  # a map of as many
        b"\xc6\xff\xff\xff\xff",  # bytes of as many
        b"\x91" * 100_000,  # arrays in arrays
        b"\xc1",  # never used
        b"\x81\xa8evidence\x91\x82\xa3tee\xa3\xed\xa0\x80\xa5items\x80",  # a lone surrogate
        wire.encode(COLLECTION)[:-1],
        wire.encode(COLLECTION) + b"\x00",
    ],
)
def test_messagepack_bombs_and_fragments_are_malformed(data: bytes) -> None:
    assert reason_of(lambda: wire.decode_collection(data)) is Reason.MALFORMED


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([MSGPACK, JSON]))
def test_no_bytes_raise_anything_but_bad_evidence(data: bytes, content_type: str) -> None:
    with pytest.raises(BadEvidence):
        wire.decode_collection(data, content_type)


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "text",
    [
        '{"evidence": [{"tee": "tdx", "items": {}}], "evidence": [{"tee": "snp", "items": {}}]}',
        '{"evidence": [{"tee": "tdx", "tee": "snp", "items": {}}]}',
        '{"evidence": [{"tee": "tdx", "items": {"quote": "QQ==", "quote": "Qg=="}}]}',
        '{"evidence": [{"tee": "tdx", "items": {"quote": "QQ==", "\\u0071uote": "QQ=="}}]}',
        '{"evidence": [{"tee": "tdx", "items": {}}], "challenge": {"type": "epoch", "epoch": 1, "epoch": 2}}',
    ],
)
def test_a_member_that_stands_twice_is_malformed_however_it_is_written(text: str) -> None:
    assert json_reason(text) is Reason.MALFORMED


@pytest.mark.parametrize("item", ["QR==", "QUF=", "QQ", "Q Q==", "QQ==\\n", "-_-_", "QQ=", "QQ===", "QQ==QQ=="])
def test_base64_that_no_encoder_writes_is_malformed(item: str) -> None:
    assert json_reason(quoted(item)) is Reason.MALFORMED


def test_base64_is_checked_wherever_it_stands() -> None:
    base = '"evidence": [{"tee": "tdx", "items": {}}]'
    for member in (
        '"attester_key": "QR=="',
        '"challenge": {"type": "nonce", "nonce": "QR=="}',
        '"challenge": {"type": "supplied", "value": "QR=="}',
        '"endorsements": {"ca": ["QQ==", "QR=="]}',
    ):
        assert json_reason(f"{{{base}, {member}}}") is Reason.MALFORMED
        assert wire.decode_collection(f"{{{base}, {member.replace('QR', 'QQ')}}}".encode(), JSON)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"evidence":' + b"[" * 33 + b"]" * 33 + b"}",
        b'{"evidence":' * 100_000,
        b'{"unknown":' + b'{"a":' * 400_000,
        b'{"evidence": [{"tee": "tdx", "items": {}}], "as_of": ' + b"9" * 5000 + b"}",
        b'{"evidence": [{"tee": "tdx", "items": {}}], "as_of": NaN}',
        b'{"evidence": [{"tee": "tdx", "items": {}}], "as_of": 1e400}',
        b'{"evidence": [{"tee": "\\ud800", "items": {}}]}',
        b'{"evidence": [{"tee": "\xff", "items": {}}]}',
        '{"evidence": [{"tee": "tdx", "items": {}}]}'.encode("utf-16"),
        b'\xef\xbb\xbf{"evidence": [{"tee": "tdx", "items": {}}]}',
    ],
    ids=range(11),
)
def test_json_bombs_and_other_alphabets_are_refused(text: bytes) -> None:
    assert json_reason(text) in {Reason.MALFORMED, Reason.TOO_LARGE}


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_bad_entry_of_a_batch_harms_no_other() -> None:
    good = wire.encode(BatchEntry("node-1", COLLECTION))
    batch = EvidenceBatch(
        tuple(msgspec.Raw(entry) for entry in (good, b"\x01", wire.encode(BatchEntry("n", COLLECTION))))
    )
    first, second, third = wire.decode_batch(wire.encode(batch))
    assert wire.decode_entry(first) == BatchEntry("node-1", COLLECTION)
    assert reason_of(lambda: wire.decode_entry(second)) is Reason.MALFORMED
    assert wire.decode_entry(third).agent == "n"


def test_an_entry_has_the_limits_of_a_collection() -> None:
    entry = BatchEntry("node-1", EvidenceCollection(evidence=()))
    assert reason_of(lambda: wire.decode_entry(wire.encode(entry))) is Reason.MALFORMED


@pytest.mark.parametrize("count", [0, wire.MAX_BATCH + 1])
def test_a_batch_has_at_least_one_entry_and_at_most_so_many(count: int) -> None:
    batch = EvidenceBatch((msgspec.Raw(b"\x01"),) * count)
    assert reason_of(lambda: wire.decode_batch(wire.encode(batch))) is Reason.TOO_LARGE
    assert (
        len(wire.decode_batch(wire.encode(EvidenceBatch((msgspec.Raw(b"\x01"),) * wire.MAX_BATCH)))) == wire.MAX_BATCH
    )


@pytest.mark.parametrize("data", [b"\x80", b"\x91" * 100_000, b"\x81\xa7entries\xdd\xff\xff\xff\xff"])
def test_what_is_no_batch_is_malformed(data: bytes) -> None:
    assert reason_of(lambda: wire.decode_batch(data)) is Reason.MALFORMED


def test_a_batch_is_bounded_as_any_message() -> None:
    assert reason_of(lambda: wire.decode_batch(b"")) is Reason.EMPTY
    assert reason_of(lambda: wire.decode_batch(bytes(wire.MAX_MESSAGE + 1))) is Reason.TOO_LARGE


# ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_frame_comes_back_as_it_left() -> None:
    context = Context(attestation_id=bytes(32), tenant="acme", agent="node-1", received_at=1, fresh=False)
    frame = wire.Frame("acme", "v1", (wire.Item(context, (Rejection("tdx", "malformed", "x"),), "reply", "ack"),))
    assert wire.decode_frame(wire.encode(frame)) == frame


def test_a_frame_that_cannot_be_read_is_a_bug_not_bad_evidence() -> None:
    for broken, error in (
        (b"\x80", msgspec.MsgspecError),
        (b"\x93\xa3\xed\xa0\x80\xa1v\x90", UnicodeDecodeError),
        (b"\x93\xa1a\xa1v\x91\x94\x81\xa2zz" + b"\x91" * 5000, RecursionError),
    ):
        with pytest.raises(error):
            wire.decode_frame(broken)


def listing(ack: str, events: int, text: str = "") -> wire.Item:
    """An item whose Claims hold a log of so many events."""
    listed = (LoggedEvent(10, "ima-ng", "00" * 32, text, text_authenticated=True),) * events
    log = EventLog(name=LogName.IMA, digest="00", registers=(10,), events=listed)
    context = Context(attestation_id=bytes(32), tenant="acme", agent="node-1", received_at=1, fresh=False)
    return wire.Item(context, (Verified(replace(token_lab.CLAIMS, logs=(log,))),), "", ack)


def node(name: str) -> wire.Item:
    """An item of a node with eight devices, each with the Claims of a GPU: 12 kB."""
    fields: dict[str, FieldValue] = {f"measurement_{index}": "00" * 48 for index in range(60)}
    claims = replace(token_lab.CLAIMS, fields=fields, measurements={f"index_{index}": "00" * 48 for index in range(60)})
    context = Context(attestation_id=bytes(32), tenant="acme", agent=name, received_at=1, fresh=False)
    return wire.Item(context, (Verified(claims),) * 8, "", name)


def test_nodes_with_many_devices_come_in_frames_that_fit_the_broker() -> None:
    items = [node(f"node-{number}") for number in range(64)]
    portions = [*wire.portions(items)]
    assert [item for portion in portions for item in portion] == items
    assert len(wire.encode(wire.Frame("acme", "v1", tuple(items)))) > MAX_PAYLOAD
    assert all(len(wire.encode(wire.Frame("acme", "v1", portion))) < MAX_PAYLOAD / 2 for portion in portions)


def test_what_is_small_is_one_frame() -> None:
    items = [listing(str(number), 0) for number in range(300)]
    assert [*wire.portions(items)] == [tuple(items)]
    assert [*wire.portions([])] == []


def test_a_frame_that_is_full_of_events_is_followed_by_another_and_the_order_stays() -> None:
    items = [listing(str(number), 2000) for number in range(64)]
    portions = [*wire.portions(items)]
    assert [item for portion in portions for item in portion] == items
    assert len(portions) > 10
    assert all(len(wire.encode(wire.Frame("acme", "v1", portion))) < MAX_PAYLOAD for portion in portions)


def test_items_that_share_an_ack_share_a_frame_however_many_events_they_have() -> None:
    batch = [listing("one", 12_000) for _ in range(3)]
    assert [len(portion) for portion in wire.portions([*batch, listing("two", 1)])] == [3, 1]


def test_the_largest_messages_of_events_still_fit_the_broker() -> None:
    """The event that grows most: the smallest of a log, of a type with the longest name."""
    grown = LoggedEvent(1, "EV_EFI_BOOT_SERVICES_APPLICATION", "00" * 20, "", text_authenticated=False)
    in_log = 4 + 4 + 4 + 2 + 20 + 4
    assert len(wire.encode(grown)) < 2.2 * in_log
    assert len(wire.encode(replace(grown, digest="00" * 64))) < wire._EVENT
    assert wire.FULL_FRAME + 2.2 * wire.MAX_MESSAGE < 0.75 * MAX_PAYLOAD


# ── identity ──────────────────────────────────────────────────────────────────────────────────────────────────────────
_bytes = st.binary(max_size=6)
_names = st.text("ab", max_size=3)
_evidence = st.builds(Evidence, _names, st.dictionaries(_names, _bytes, max_size=3))
_challenges = st.one_of(
    st.none(),
    st.builds(NonceChallenge, _bytes),
    st.builds(EpochChallenge, st.integers(0, (1 << 63) - 1), _names),
    st.builds(SuppliedChallenge, _bytes),
)
_collections = st.builds(
    EvidenceCollection,
    evidence=st.lists(_evidence, max_size=3).map(tuple),
    challenge=_challenges,
    attester_key=st.none() | _bytes,
    as_of=st.none() | st.integers(0, (1 << 33) - 1),
    endorsements=st.dictionaries(_names, st.lists(_bytes, max_size=2).map(tuple), max_size=2),
)


def identity(collection: EvidenceCollection = COLLECTION, tenant: str = "acme", agent: str = "node-1") -> bytes:
    return wire.attestation_id(tenant, agent, collection)


@settings(max_examples=200, deadline=None)
@given(_collections)
def test_encodings_of_one_submission_are_one_attestation(collection: EvidenceCollection) -> None:
    packed = msgspec.msgpack.decode(wire.encode(collection), type=EvidenceCollection)
    text = msgspec.json.decode(msgspec.json.encode(collection), type=EvidenceCollection)
    assert identity(packed) == identity(text) == identity(collection)


@settings(max_examples=200, deadline=None)
@given(_collections)
def test_the_order_in_which_items_were_written_does_not_matter(collection: EvidenceCollection) -> None:
    turned = msgspec.structs.replace(
        collection,
        evidence=tuple(Evidence(one.tee, dict(reversed(one.items.items()))) for one in collection.evidence),
        endorsements=dict(reversed(collection.endorsements.items())),
    )
    assert identity(turned) == identity(collection)


@settings(max_examples=600, deadline=None)
@given(_collections, _collections, st.tuples(_names, _names), st.tuples(_names, _names))
def test_two_submissions_share_an_identity_only_if_they_are_equal(
    one: EvidenceCollection, other: EvidenceCollection, whose: tuple[str, str], others: tuple[str, str]
) -> None:
    same = wire.attestation_id(*whose, one) == wire.attestation_id(*others, other)
    assert same == ((one, whose) == (other, others))


CHANGES = [
    {"evidence": COLLECTION.evidence[:1]},
    {"evidence": COLLECTION.evidence[::-1]},
    {"evidence": (*COLLECTION.evidence, Evidence("snp", {}))},
    {"evidence": (Evidence("sgx", COLLECTION.evidence[0].items), COLLECTION.evidence[1])},
    {"evidence": (Evidence("tdx", {"quote": b"q" * 50, "event_log": b"L"}), COLLECTION.evidence[1])},
    {"evidence": (Evidence("tdx", {"quote": b"q" * 50, "log": b"l"}), COLLECTION.evidence[1])},
    {"challenge": None},
    {"challenge": NonceChallenge(b"N" * 56)},
    {"challenge": SuppliedChallenge(b"n" * 56)},
    {"challenge": EpochChallenge(1)},
    {"challenge": EpochChallenge(1, "j")},
    {"challenge": EpochChallenge(2)},
    {"attester_key": None},
    {"attester_key": b""},
    {"attester_key": b"k"},
    {"as_of": None},
    {"as_of": 0},
    {"endorsements": {}},
    {"endorsements": {"collateral": ()}},
    {"endorsements": {"collateral": (b"one",)}},
    {"endorsements": {"collateral": (b"two", b"one")}},
    {"endorsements": {"collateral": (b"onetwo",)}},
    {"endorsements": {"other": (b"one", b"two")}},
]


def test_every_part_of_a_submission_is_part_of_its_identity() -> None:
    changed = [msgspec.structs.replace(COLLECTION, **change) for change in CHANGES]  # type: ignore[arg-type]
    found = [identity(one) for one in (COLLECTION, *changed)]
    found += [identity(tenant="acm"), identity(agent="node-2"), identity(tenant="acmen", agent="ode-1")]
    assert all(first != second for first, second in itertools.combinations(found, 2))


def test_the_identity_is_that_of_decoded_bytes_so_base64_variants_change_nothing() -> None:
    lenient = msgspec.json.Decoder(EvidenceCollection)  # as a peer that does not check might read
    written = base64.b64encode(b"A").decode()
    assert identity(lenient.decode(quoted(written))) == identity(lenient.decode(quoted("QR==")))


def test_equal_rubbish_of_two_agents_or_tenants_is_two_attestations_and_never_that_of_evidence() -> None:
    found = {
        wire.undecodable_id("acme", "node-1", b"x"),
        wire.undecodable_id("acme", "node-2", b"x"),
        wire.undecodable_id("acmen", "ode-1", b"x"),
        wire.undecodable_id("acme", "node-1", b"y"),
        wire.undecodable_id("acme", "node-1", wire.encode(COLLECTION)),
        identity(),
    }
    assert len(found) == 6
    assert wire.undecodable_id("acme", "node-1", b"x") in found
