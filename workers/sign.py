"""sign: vouches for appraised Evidence. The only kind that reads the signing key, and the only one that acks."""

from attest_pipeline import subjects
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.pipeline import Sign
from workers._process import Process
from workers._stage import Outlet, Versioned, serve


def outlet(process: Process) -> Outlet:
    """The sign stage and its way out."""
    signer = FileSigner.load(process.settings.path("signing_key"))
    return Outlet(process.bus, Versioned(process.configs, lambda loaded: Sign(loaded.config, signer)))


async def run(process: Process) -> None:
    """Run the sign stage behind appraise."""
    leaving = outlet(process)
    await serve(process.bus, subjects.STAGE_APPRAISAL, "sign", leaving)
    await process.stopping.wait()
    await process.bus.stop()
    await leaving.drain()
