"""Proof of Azure's paravisor on SEV-SNP: AMD root → VCEK → hardware report → run-time data, the AK among them."""

from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._amd import abi
from attest_pipeline.verifiers._amd.abi import Report
from attest_pipeline.verifiers._amd.proof import Chain, Endorsed, check_report, prove_leaf
from attest_pipeline.verifiers._azure.hcl import SNP, Hcl, check_binding, parse_hcl

_VMPL: Final = 0


class Paravisor(NamedTuple):
    """An HCL report proven to be of a paravisor on AMD hardware, all but the time of its chain."""

    hcl: Hcl
    report: Report
    endorsed: Endorsed


def prove_paravisor(hcl_report: bytes, chain: Chain, anchors: frozenset[bytes]) -> Paravisor:
    """HCL report whose hardware report is signed by that VCEK; time is not judged here. Raises BadEvidence.

    At a lower privilege than the paravisor's the guest itself could have asked for a report over any data.
    """
    hcl = parse_hcl(hcl_report, SNP)
    report = abi.parse(hcl.hardware)
    endorsed = prove_leaf(chain, anchors)
    check_report(hcl.hardware, report, endorsed)
    if report.guest.vmpl != _VMPL:
        raise BadEvidence(
            Reason.UNBOUND, f"hardware report was asked for at VMPL {report.guest.vmpl}, not by the paravisor"
        )
    check_binding(hcl, report.report_data)
    return Paravisor(hcl, report, endorsed)
