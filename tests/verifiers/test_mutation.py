"""For every installed verifier: no byte of Evidence can be altered so that anything else is verified."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec
import pytest
from fuzz.case import Case
from fuzz.verifiers import NAMES, devices, evidence_case, prove

from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import Claims, EventLog
from attest_pipeline.owner.tenant import DEVELOPMENT_ONLY
from attest_pipeline.verifiers._shared.der import elements

LOWEST_BIT: Final = 1
"""Another bit may be no more than the case of a hexadecimal digit, or make one white space of another."""
STRIDES: Final = {"csv": 7, "nvidia-gpu": 3, "nvidia-switch": 3}
"""Every so many bytes, where each alteration has a chain of slow signatures proven anew; else every byte."""

Ranges = tuple[range, ...]


def whole(item: bytes) -> Ranges:
    """A log, whose descriptions no digest covers, or PEM, which decoders read with other text between."""
    return (range(len(item)),)


def pem_tail(item: bytes) -> Ranges:
    """Certificates in PEM at the end of a quote."""
    return (range(item.index(b"-----BEGIN"), len(item)),)


def between(item: bytes) -> Ranges:
    """What stands in a certificate between what is signed and the signature: another copy of the algorithm."""
    ((_, parts, _),) = elements(item)
    (_, _, signed), _, (_, signature, _) = elements(parts)
    start = len(item) - len(parts) + len(signed)
    return (range(start, len(item) - len(signature) + 1),)


def drk_certificate(item: bytes) -> Ranges:
    """The certificate of a device root key, which is in base64 twice."""
    return (range(item.index(b'"drk_cert"'), item.index(b'"drk_sign"')),)


def hardware_proof(item: bytes) -> Ranges:
    """The last member of Azure's document: a VCEK or TD quote, altered byte by byte as `snp` and `tdx`."""
    return (range(max(item.find(b'"vcek"'), item.find(b'"td_quote"')), len(item)),)


def at(*ranges: range) -> Callable[[bytes], Ranges]:
    """Places known from the layout."""
    return lambda _: ranges


UNSIGNED: Final[Mapping[tuple[str, str], Callable[[bytes], Ranges]]] = {
    ("tdx", "quote"): pem_tail,
    ("sgx", "quote"): pem_tail,
    ("snp", "leaf"): between,
    ("tpm", "ak_cert"): between,
    ("itrustee", "report"): drk_certificate,
    ("ascend-npu itrustee", "report"): drk_certificate,
    ("ascend-npu tpm", "ak_cert"): between,
    ("az-snp-vtpm", "evidence"): hardware_proof,
    ("az-tdx-vtpm", "evidence"): hardware_proof,
    ("nvidia-gpu", "cert_chain"): whole,
    ("nvidia-switch", "cert_chain"): whole,
    ("virtcca", "dev_cert"): whole,
    ("tpm", "event_log"): whole,
    ("ascend-npu tpm", "event_log"): whole,
    ("csv 1", "report"): at(range(1532, 2548)),  # the machine owner's signature, and who made the report
    ("csv 2", "report"): at(range(2384, 3400)),
    ("csv 1", "hsk_cek"): at(range(720, 832), range(2028, 2916)),  # fill, and a second signature that is not there
    ("csv 2", "hsk_cek"): at(range(720, 832), range(2028, 2916)),
}
"""Where a byte may be altered unnoticed, by form and item of the Evidence: nothing is read there that counts."""


def altered(case: Case, stride: int) -> Iterator[tuple[str, int, Case]]:
    """The case with one byte of one item of Evidence altered, and which."""
    for item, data in case.items.items():
        if item.startswith("evidence/"):
            for place in range(0, len(data), stride):
                changed = data[:place] + bytes([data[place] ^ LOWEST_BIT]) + data[place + 1 :]
                yield item.removeprefix("evidence/"), place, Case({**case.items, item: changed}, case.given)


def says_no_more(found: Claims, genuine: Claims) -> bool:
    """Whether claims are the genuine ones but for digests of documents, or only say that less was checked or proven."""
    digests = {f"{log.name}_digest": found.fields.get(f"{log.name}_digest") for log in genuine.logs}
    fields = {**genuine.fields, **digests}
    same = msgspec.structs.replace(genuine, endorsements=found.endorsements, logs=found.logs, fields=fields)
    if found == same and len(found.logs) == len(genuine.logs):
        return all(map(proves_no_more, found.logs, genuine.logs))
    return found.measurements == genuine.measurements and {*found.checks} < {*genuine.checks}


def proves_no_more(found: EventLog, genuine: EventLog) -> bool:
    """Whether the same was measured, and no other text is called authentic. Nothing covers the type of an event."""
    events = zip(found.events, genuine.events, strict=True)
    return found.registers == genuine.registers and all(
        (one.register, one.digest) == (other.register, other.digest)
        and (not one.text_authenticated or one.text == other.text)
        for one, other in events
    )


@pytest.mark.parametrize("tee", sorted({*NAMES} - DEVELOPMENT_ONLY))
def test_no_altered_byte_of_evidence_makes_anything_else_verified(tee: str) -> None:
    for device in devices(tee):
        case = evidence_case(device.vendor, device.serial)
        genuine, survivors = prove(case), []
        for item, place, changed in altered(case, STRIDES.get(tee, 1)):
            try:
                found = prove(changed)
            except BadEvidence:
                continue
            assert says_no_more(found, genuine), (device.name, item, place)
            unsigned = UNSIGNED.get((device.name, item), at())(case.items[f"evidence/{item}"])
            if not any(place in places for places in unsigned):
                survivors.append((item, place))
        assert survivors == [], device.name
