"""appraise: judges Claims and Match by policy. Holds no secret; Rego runs in a child that can be killed."""

from attest_pipeline import subjects
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.pipeline import Appraise
from attest_pipeline.ports import PolicyEngine
from workers._process import Process
from workers._stage import Handoff, Versioned, forward, serve, transform


def stage(configs: ConfigStore, engine: PolicyEngine, handoff: Handoff) -> Handoff:
    """The appraise stage as a function of frames."""
    return transform("appraise", Versioned(configs, lambda loaded: Appraise(loaded.config, engine)), handoff)


async def run(process: Process) -> None:
    """Run the appraise stage between match and sign."""
    engine = RegoEngine()
    try:
        handle = stage(process.configs, engine, forward(process.bus, subjects.STAGE_APPRAISAL))
        await serve(process.bus, subjects.STAGE_MATCH, "appraise", handle)
        await process.stopping.wait()
        await process.bus.stop()
    finally:
        engine.close()
