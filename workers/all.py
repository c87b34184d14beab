"""all: the four stages in one process with in-memory hand-off, same handlers; one such process for each core."""

from attest_pipeline.adapters.rego import RegoEngine
from workers import appraise, match, parse, sign
from workers._process import Process


async def run(process: Process) -> None:
    """Run parse, match, appraise and sign as one."""
    engine = RegoEngine()
    leaving = sign.outlet(process)
    try:
        judged = appraise.stage(process.configs, engine, leaving)
        await parse.run(process, match.stage(process.configs, judged))
        await leaving.drain()
    finally:
        engine.close()
