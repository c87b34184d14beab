"""Measurement logs: real ones of TDs beside their quotes, and logs alone, replayed against what others found."""

from datetime import UTC, datetime

from vectors.walk import Book, Outcome

from attest_pipeline.errors import BadEvidence
from attest_pipeline.verifiers._shared.eventlog.banks import BANKS, extend
from attest_pipeline.verifiers._shared.eventlog.ima import read_ima
from attest_pipeline.verifiers._shared.eventlog.tcg2 import read_tcg2

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
    for path in (*book.corpus.glob("secgear/ima_uefi/*ima*.log"), *book.corpus.glob("secgear/ima_uefi/*ima*.bin")):
        explain_ima(book, path)


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
    for bank in BANKS:
        try:
            found[bank] = read_tcg2(data, bank).registers
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
    bank = "sm3" if "csv" in path else "sha384"
    registers: dict[int, bytes] = {}
    for event in book.corpus.json(path)["uefi_event_logs"]:
        (digest,) = (bytes.fromhex(one["digest"]) for one in event["digests"]) if event["digests"] else (b"",)
        if event["type_name"] != "EV_NO_ACTION":
            extend(registers, event["index"], digest, BANKS[bank])
    assert dict(read_tcg2(book.corpus.read(log), bank).registers) == registers, path
    book.note(path, Outcome.EXPECTATION, "_shared.eventlog", f"of {log}")


def explain_ima(book: Book, path: str) -> None:
    """Replay an IMA log, and compare with the PCR 10 that others found."""
    data, recorded = book.corpus.read(path), book.corpus.json("secgear/expected.json")
    expected = recorded.get(path.removeprefix("secgear/"), {})
    for bank in BANKS:
        replay, _ = read_ima(data, bank, frozenset(range(24)))
        assert replay.registers[10].hex() == expected.get(f"pcr10_{bank}", replay.registers[10].hex()), (path, bank)
    book.note(path, Outcome.PARSED, "_shared.eventlog", "an IMA log alone")
