"""Claims of a proven iTrustee report under canonical names."""

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._huawei.quoter import IMA_LOG, Quoter
from attest_pipeline.verifiers._huawei.report import VERSION, Report


def make_claims(tee: str, report: Report, quoter: Quoter, bound: tuple[str, ...]) -> Claims:
    """Claims of the trusted application. Nothing in a report says whether the platform is in debug state."""
    digests = {"ta_img": report.ta_img, "ta_mem": report.ta_mem, **quoter.quoting}
    measurements = {name: value.hex() for name, value in digests.items()}
    return Claims(
        tee=tee,
        hardware_id=quoter.device.name,
        debug=None,
        tcb_status=None,
        measurements=measurements,
        signer=quoter.signer,
        challenge_verified="challenge" in bound,
        endorsements=dict(quoter.device.documents),
        fields={
            **measurements,
            "uuid": report.uuid,
            "scenario": report.scenario,
            "version": VERSION,
            "nonce": report.nonce.hex(),
            "timestamp": report.timestamp,
            "tcb": report.tcb,
            "ima-log": IMA_LOG in bound,
        },
        checks=(*quoter.device.checks, "ak-certificate", "report-signature", *bound),
    )
