"""match: compares Claims with Reference Values."""

from attest_pipeline import subjects
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.pipeline import Match
from workers._process import Process
from workers._stage import Handoff, Versioned, forward, serve, transform


def stage(configs: ConfigStore, handoff: Handoff) -> Handoff:
    """The match stage as a function of frames."""
    return transform("match", Versioned(configs, lambda loaded: Match(loaded.config)), handoff)


async def run(process: Process) -> None:
    """Run the match stage between parse and appraise."""
    handle = stage(process.configs, forward(process.bus, subjects.STAGE_MATCH))
    await serve(process.bus, subjects.STAGE_CLAIMS, "match", handle)
    await process.stopping.wait()
