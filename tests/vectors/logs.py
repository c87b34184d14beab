"""Measurement logs: real ones of TDs beside their quotes, and logs alone, replayed against what others found."""

import hashlib
from datetime import UTC, datetime

from vectors.walk import Book, Outcome

from attest_pipeline.errors import BadEvidence
from attest_pipeline.verifiers._shared.eventlog import replay_ima_ascii, replay_tcg2

PAIRS = {
    "evidence/tdx/v4_gcp_cos113.ccel.bin": "evidence/tdx/v4_gcp_cos113.bin",
    "evidence/tdx/lunal_live2.ccel.bin": "evidence/tdx/v4_lunal_live.bin",
    "evidence/tdx/v4_lunal_live.ccel.bin": "evidence/tdx/v4_lunal_live.bin",
    "evidence/tdx/v4_debug_td_alibaba.ccel.bin": "evidence/tdx/v4_debug_td_alibaba.bin",
}
"""Log → the quote that it was published with."""
REPLAYED = {
    "CCEL_data": "2dc712306a963ead 0fa3be56af61208b - -",
    "CCEL_data_ovmf": "8566f998798db094 775b9f6bfe99f8a3 94eaf7a7bf398ed8 -",
    "CCEL_data_grub": "cec0a104f691f60d 6c289e0c62182d41 08919d017ba0e52c -",
    "CCEL_data_gcp": "3300980705adf09d 204d49f78d29918f - -",
    "CCEL_data_grub_gke": "bc9945139042cf2c c17cb288a4dee302 334aeba2c985f888 -",
}
"""What CoCo's own tests expect of registers 1 to 4, the first 8 bytes (trustee, deps/eventlog/src/lib.rs)."""
ALONE = (
    "evidence/tdx/ccel_*.bin",
    "evidence/tpm/eventlogs/*",
    "evidence/negative/eventlog/*",
    "secgear/tpm_gta/binary_*",
    "trustee/eventlog/CCEL_*",
)


def explain(book: Book) -> None:
    for log, quote in PAIRS.items():
        explain_pair(book, log, quote)
    for pattern in ALONE:
        for path in book.corpus.glob(pattern):
            if not path.endswith(".json"):
                explain_alone(book, path)
    for path in book.corpus.glob("trustee/eventlog/*_out.json"):
        explain_events(book, path)
    for path in book.corpus.glob("secgear/ima_uefi/*.ascii.log"):
        replay_ima_ascii(book.corpus.read(path), "sha256", frozenset(range(24)))
        book.note(path, Outcome.PARSED, "_shared.eventlog", "an IMA log alone")


def explain_pair(book: Book, log: str, quote: str) -> None:
    """A log beside its quote: an endorsement of it, or refused."""
    runs = book.corpus.json(quote.replace(".bin", ".expect.json"))["expectations"]
    run = next(run for run in runs if f"evidence/{run['collateral']}" in book.corpus.paths)
    at = datetime.fromtimestamp(run["verify_at"], UTC)
    endorsements = {"collateral": f"evidence/{run['collateral']}"}
    outcome = book.prove("tdx", {"quote": quote, "event_log": log}, endorsements, at)
    if isinstance(outcome, BadEvidence):
        book.note(log, Outcome.REJECTED, "tdx", f"{outcome.reason} with {quote}")


def explain_alone(book: Book, path: str) -> None:
    """Replay a log in each bank that it has, and compare with what others found."""
    data, found = book.corpus.read(path), {}
    for algorithm in ("sha1", "sha256", "sha384", "sha512"):
        try:
            found[algorithm] = replay_tcg2(data, algorithm)
        except BadEvidence as error:
            refusal = error.reason
    if not found:
        book.note(path, Outcome.REJECTED, "_shared.eventlog", refusal)
        return
    for register, digest in enumerate(REPLAYED.get(path.rpartition("/")[2], "").split(), 1):
        assert digest == "-" or found["sha384"][register].hex().startswith(digest), (path, register)
    book.note(path, Outcome.PARSED, "_shared.eventlog", ", ".join(found))


def explain_events(book: Book, path: str) -> None:
    """CoCo's list of a log's events extends the registers to the values that the log replays to."""
    log = path.replace("_out.json", "")
    registers: dict[int, bytes] = {}
    for event in book.corpus.json(path)["uefi_event_logs"]:
        digests = {one["alg"]: bytes.fromhex(one["digest"]) for one in event["digests"]}
        if event["type_name"] != "EV_NO_ACTION" and "SHA-384" in digests:
            before = registers.get(event["index"], bytes(48))
            registers[event["index"]] = hashlib.sha384(before + digests["SHA-384"]).digest()
    if registers:
        assert dict(replay_tcg2(book.corpus.read(log), "sha384")) == registers, path
    book.note(path, Outcome.EXPECTATION, "_shared.eventlog", f"of {log}")
