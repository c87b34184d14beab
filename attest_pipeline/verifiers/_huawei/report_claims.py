"""Claims of a proven iTrustee report under canonical names."""

from functools import lru_cache

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._huawei.quoter import IMA_LOG, Quoter
from attest_pipeline.verifiers._huawei.report import VERSION, Application, Report
from attest_pipeline.verifiers._shared.recurring import renewed_claims


def make_claims(tee: str, report: Report, quoter: Quoter, bound: tuple[str, ...]) -> Claims:
    """Claims of the trusted application. Nothing in a report says whether the platform is in debug state."""
    lasting = _lasting(tee, report.application, quoter, bound)
    return renewed_claims(lasting, {"nonce": report.nonce.hex(), "timestamp": report.timestamp})


@lru_cache(maxsize=8192)
def _lasting(tee: str, application: Application, quoter: Quoter, bound: tuple[str, ...]) -> Claims:
    """Claims that an application makes time and again: all but nonce and timestamp."""
    digests = {"ta_img": application.ta_img, "ta_mem": application.ta_mem, **quoter.quoting}
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
            "uuid": application.uuid,
            "scenario": application.scenario,
            "version": VERSION,
            "tcb": application.tcb,
            "ima-log": IMA_LOG in bound,
        },
        checks=(*quoter.device.checks, "ak-certificate", "report-signature", *bound),
    )
