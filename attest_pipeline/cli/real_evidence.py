"""Real Evidence for the demo: where it lies below a directory of vectors, what endorses it, and when it was good.

The files belong to other projects and are not part of this one; the directory is given or absent.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from attest_pipeline.model import Evidence, EvidenceCollection

_HUAWEI: Final = (
    "evidence/roots/huawei/Huawei_IT_Product_CA.pem",
    "evidence/roots/huawei/Huawei_Equipment_Root_CA.pem",
)


class Real(NamedTuple):
    """One piece of real Evidence: items and Endorsements by name, the time to judge it at, and the proof's outcome."""

    name: str
    tee: str
    items: Mapping[str, str]
    endorsements: Mapping[str, tuple[str, ...]]
    at: str
    outcome: str = "verified"

    def collection(self, vectors: Path) -> EvidenceCollection:
        """The Evidence with its own collateral at its own time."""
        return EvidenceCollection(
            evidence=(Evidence(self.tee, {name: (vectors / path).read_bytes() for name, path in self.items.items()}),),
            as_of=int(datetime.fromisoformat(self.at).timestamp()),
            endorsements={
                name: tuple((vectors / path).read_bytes() for path in paths)
                for name, paths in self.endorsements.items()
            },
        )


def _quote(tee: str, name: str, collateral: str, at: str) -> Real:
    documents = {"collateral": (f"evidence/dcap-collateral/{collateral}.json",)}
    return Real(name, tee, {"quote": f"evidence/{tee}/{name}.bin"}, documents, at)


def _report(name: str, leaf: str, issuer: str, product: str, at: str) -> Real:
    roots = {"ask": (f"evidence/roots/amd/{issuer}.pem",), "ark": (f"evidence/roots/amd/ARK-{product}.pem",)}
    items = {"report": f"evidence/snp/{name}.bin"}
    return Real(name, "snp", items, {"leaf": (f"evidence/snp/{name}.{leaf}.der",), **roots}, at)


def _token(name: str, outcome: str = "verified") -> Real:
    cpak = {"cpak": ("evidence/roots/arm-test/cpak_tfa_p384.jwk.json",)}
    return Real(name, "cca", {"token": f"evidence/cca/{name}.cbor"}, cpak, "2025-06-01T00:00:00Z", outcome)


REAL: Final = (
    _quote("tdx", "v4_gcp_cos113", "00806f050000_tdx_platform_tcb3_eval17_2025-02-13_561c", "2025-02-28T03:44:50Z"),
    _quote("tdx", "v4_gcp_cos113", "00806f050000_tdx_platform_tcb3_eval21_2026-06-12_00e9", "2026-06-27T22:27:15Z"),
    _quote(
        "tdx", "v5_tdx15_relaunch_seamldr5", "90c06f000000_tdx_platform_tcb3_eval18_2025-02-26_435d",
        "2025-03-10T11:04:29Z",
    ),
    _quote(
        "sgx", "v3_automata_00606a_a", "00606a000000_sgx_platform_tcb3_eval17_2025-08-15_8fdd",
        "2025-08-30T05:09:06Z",
    ),
    _report("v2_milan_vcek_automata", "vcek", "SEV-Milan", "Milan", "2024-12-19T03:09:16Z"),
    _report("v2_milan_vcek_debugpolicy_librats", "vcek", "SEV-Milan", "Milan", "2022-08-12T07:10:34Z"),
    _report("v3_milan_vlek_aws_vmpl1", "vlek", "SEV-VLEK-Milan", "Milan", "2025-01-09T22:14:21Z"),
    _report("v3_genoa_vcek_ms", "vcek", "SEV-Genoa", "Genoa", "2026-03-07T02:05:07Z"),
    _report("v5_turin_vcek_ms", "vcek", "SEV-Turin", "Turin", "2026-03-07T01:04:33Z"),
    _token("cca_legacy_01"),
    _token("cca_cmw907"),
    _token("cca_bug33_unbound", "rejected"),
    Real(
        "gta", "virtcca",
        {"token": "secgear/virtcca/gta_token.cbor", "dev_cert": "secgear/virtcca/gta_dev_cert.der"},
        {"ca": _HUAWEI}, "2025-09-01T00:00:00Z",
    ),
    Real(
        "cvm_only", "virtcca",
        {"token": "evidence/virtcca/virtcca_cvm_only.cbor", "dev_cert": "evidence/virtcca/virtcca_aik_cert.der"},
        {"ca": _HUAWEI}, "2025-06-01T00:00:00Z", "rejected",
    ),
)  # fmt: skip
