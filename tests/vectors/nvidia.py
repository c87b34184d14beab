"""NVIDIA: reports bare, in lists and pickled, chains, RIMs against the reports of their versions, OCSP, the roots."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from vectors.walk import Book, Outcome, Source, held, refused, standing

from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import Claims
from attest_pipeline.verifiers._nvidia.device import prove_device
from attest_pipeline.verifiers._nvidia.rim import prove_rim
from attest_pipeline.verifiers._nvidia.roots import trusted_roots
from attest_pipeline.verifiers._shared.x509 import load_certificate, public_key, signed_path

NOW = datetime(2025, 6, 1, tzinfo=UTC)
LATER = datetime(2026, 11, 23, tzinfo=UTC)
ROOM = "evidence/nvidia"
TRUSTEE = "trustee/evidence/nvidia"
ROOTS = trusted_roots({})
RIMS = {
    "rim_driver": f"{ROOM}/rim/NV_GPU_DRIVER_GH100_550.90.07.xml",
    "rim_vbios": f"{ROOM}/rim/NV_GPU_VBIOS_1010_0200_882_96009F0001.xml",
}
SWITCH_RIM = {"rim_vbios": f"{ROOM}/rim/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml"}
DEVICE_ANSWERS = ("gpu_certificate_l2", "gpu_certificate_l3", "gpu_certificate_l4")
RIM_ANSWERS = ("gpu_rim_l2", "gpu_driver_rim_l3", "gpu_driver_rim_l4", "gpu_vbios_l4")
"""OCSP responses of one day each."""
Device = tuple[str, bytes, bytes]


def explain(book: Book) -> None:
    explain_golden(book)
    for report in (*book.corpus.glob(f"{ROOM}/*.spdm.bin"), *book.corpus.glob("evidence/negative/nvidia/*.spdm.bin")):
        explain_report(book, report)
    for path in book.corpus.glob(f"{ROOM}/*.json"):
        if not path.endswith(".expect.json"):
            explain_list(book, path)
    explain_trustee(book)
    explain_rims(book)
    explain_chains(book)


def explain_golden(book: Book) -> None:
    """The report and the switch whose RIMs are known hold under them, and another report does not."""
    own, other = (f"{ROOM}/hopper_{version}" for version in ("550.90.07", "580.159.03"))
    held(book.prove("nvidia-gpu", items(own), RIMS, NOW))
    refused(book.prove("nvidia-gpu", items(other), RIMS, NOW))
    for month, day, answers, rims in ((8, 21, DEVICE_ANSWERS, {}), (10, 24, RIM_ANSWERS, RIMS)):
        answered = {"ocsp": [f"{ROOM}/ocsp/test_{name}_ocsp_response.der" for name in answers]}
        held(book.prove("nvidia-gpu", items(own), {**rims, **answered}, datetime(2025, month, day, 12, tzinfo=UTC)))
    path = f"{ROOM}/switch_evidence_ls10.json"
    for _, report, chain in devices(book.corpus.json(path)):
        held(book.prove("nvidia-switch", {"report": report, "cert_chain": chain}, SWITCH_RIM, LATER))


def items(name: str) -> dict[str, str]:
    return {"report": f"{name}.spdm.bin", "cert_chain": f"{name}.chain.pem"}


def explain_report(book: Book, report: str) -> None:
    """Prove a report, its own nonce the challenge, and compare versions, nonce and every measurement."""
    name = report.removesuffix(".spdm.bin")
    tee = "nvidia-switch" if "switch" in name else "nvidia-gpu"
    recorded, evidence = f"{name}.expect.json", items(name)
    expected = book.corpus.json(recorded) if recorded in book.corpus.paths else {}
    book.note(recorded, Outcome.EXPECTATION, tee, f"of {report}")
    if not expected["sig_ok"]:
        book.refuse(report, tee, book.prove(tee, evidence, {}, NOW))
        return
    claims = held(book.prove(tee, evidence, {}, NOW, bytes.fromhex(expected["nonce"])))
    assert claims.challenge_verified
    assert claims.fields["driver_version"] == expected["driver"]
    measured = {f"measurement_{index}": value for index, value in expected["measurements"].items() if int(value, 16)}
    assert claims.measurements == measured


def devices(document: Any) -> Iterator[Device]:
    """TEE, report and chain of each device, in the lists of NVIDIA's tool and in the pickled JSON of its older SDK."""
    if isinstance(document, list):
        for one in document:
            tee = "nvidia-switch" if one["arch"] == "LS10" else "nvidia-gpu"
            yield tee, base64.b64decode(one["evidence"]), base64.b64decode(one["certificate"])
        return
    for one in document.get("gpus", ()):
        chain = one["CertificateChains"]["GpuAttestationCertificateChain"]
        yield "nvidia-gpu", base64.b64decode(one["AttestationReport"]["py/b64"]), pems(chain)
    for one in document.get("nvswitches", ()):
        yield (
            "nvidia-switch",
            base64.b64decode(one["attestation_report"]["py/b64"]),
            pems(one["attestation_cert_chain"]),
        )


def pems(chain: list[dict[str, str]]) -> bytes:
    return b"".join(base64.b64decode(one["pem"]) for one in chain)


def explain_list(book: Book, path: str) -> None:
    """Every device of a list is proven."""
    found = list(devices(book.corpus.json(path)))
    for tee, report, chain in found:
        held(book.prove(tee, {"report": report, "cert_chain": chain}, {}, NOW))
    book.note(path, Outcome.VERIFIED, ", ".join(sorted({tee for tee, _, _ in found})), f"{len(found)} devices")


def explain_trustee(book: Book) -> None:
    """CoCo's reports in hexadecimal, whole chains and broken ones, and what its verifier claims."""
    pairs = {
        "hopperAttestationReport.txt": "hopper_cert_chain_case1.txt",
        "hopper_coco_report1.txt": "hopper_coco_certs1.txt",
    }
    for name, chain in pairs.items():
        evidence: dict[str, Source] = {"report": unhex(book, f"{TRUSTEE}/{name}"), "cert_chain": f"{TRUSTEE}/{chain}"}
        claims = held(book.prove("nvidia-gpu", evidence, {}, NOW))
        book.note(f"{TRUSTEE}/{name}", Outcome.VERIFIED, "nvidia-gpu", standing(claims))
        if "hopperA" in name:
            explain_trustee_claims(book, claims)
    report = unhex(book, f"{TRUSTEE}/hopperAttestationReport.txt")
    for path in (
        *book.corpus.glob(f"{TRUSTEE}/hopper_cert_chain_case[234].txt"),
        *book.corpus.glob("evidence/negative/nvidia/hopper_cert_chain_*"),
    ):
        book.refuse(path, "nvidia-gpu", book.prove("nvidia-gpu", {"report": report, "cert_chain": path}, {}, NOW))


def unhex(book: Book, path: str) -> bytes:
    return bytes.fromhex(book.corpus.read(path).decode())


def explain_trustee_claims(book: Book, claims: Claims) -> None:
    path = f"{TRUSTEE}/hopperAttestationReport-claims.txt"
    config = book.corpus.json(path)["config"]
    for name in ("driver_version", "vbios_version", "chip_sku", "project", "project_sku"):
        assert name not in config or str(config[name]).upper() == claims.fields[name], name
    book.note(path, Outcome.EXPECTATION, "nvidia-gpu", f"of {TRUSTEE}/hopperAttestationReport.txt")


def explain_rims(book: Book) -> None:
    """RIMs that no report here needs are proven alone, or refused."""
    paths = (
        *book.corpus.glob(f"{ROOM}/rim/*"),
        *book.corpus.glob("evidence/negative/nvidia/rim/*"),
        "trustee/reference/test-rim.b64",
    )
    for path in paths:
        data = book.corpus.read(path)
        try:
            rim = prove_rim(base64.b64decode(data) if path.endswith(".b64") else data, ROOTS.rim)
        except BadEvidence as error:
            book.note(path, Outcome.REJECTED, "_nvidia.rim", error.reason)
        else:
            book.note(path, Outcome.ENDORSEMENT, "_nvidia.rim", f"proven alone, version {rim.version}")


def explain_chains(book: Book) -> None:
    """Chains of devices whose reports are broken or not here, and single certificates."""
    for path in book.corpus.glob("evidence/negative/nvidia/*.chain.pem"):
        prove_device(book.corpus.read(path), ROOTS.device)
        book.note(path, Outcome.ENDORSEMENT, "_nvidia.device", "proven alone")
    for path in book.corpus.glob("evidence/negative/nvidia/*.expect.json"):
        book.note(path, Outcome.EXPECTATION, "nvidia-switch", "of a report that is not here")
    for path, roots in (
        ("evidence/roots/nvidia/NVIDIA_Device_Identity_CA.pem", ROOTS.device),
        ("evidence/roots/nvidia/NVIDIA_CoRIM_signing_Root_CA.pem", ROOTS.rim),
        (f"{TRUSTEE}/hopper_signing_cert.pem", ROOTS.device),
        ("evidence/negative/nvidia/incorrect_rim_root.crt", ROOTS.rim),
    ):
        certificate = load_certificate(book.corpus.read(path))
        try:
            signed_path(certificate, (), roots)
        except BadEvidence as error:
            book.note(path, Outcome.REJECTED, "_nvidia.roots", error.reason)
        else:
            held = public_key(certificate).spki in roots
            book.note(path, Outcome.ENDORSEMENT, "_nvidia.roots", "the pinned key" if held else "under a pinned key")
