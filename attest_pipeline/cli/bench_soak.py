"""A long run that looks at the memory of the workers, to see whether anything grows with their work."""

from collections.abc import Callable
from statistics import linear_regression
from typing import Final

from msgspec import Struct

from attest_pipeline.cli.bench_run import Run, Setting, bench

_SLOPE_OVER: Final = 100_000


class Sample(Struct, frozen=True):
    """MiB in memory of each worker after so many attestations."""

    attestations: int
    rss_mb: dict[str, float]


class Soak(Struct, frozen=True):
    """What memory did. `slope` is MiB per 100,000 attestations of each worker: least squares over the second half.

    The first half lets caches and the allocator fill.
    """

    tee: str
    processes: int
    samples: tuple[Sample, ...]
    slope: dict[str, float]


async def soak(setting: Setting, total: int, heard: Callable[[Run], None]) -> Soak:
    """Run `setting.count` attestations again and again up to `total`, every verdict checked. Raises as `measure`."""
    async with bench(setting) as running_bench:
        samples = [Sample(0, running_bench.resident())]
        while (done := samples[-1].attestations) < total:
            run = await running_bench.run(f"soak{done}")
            heard(run)
            samples.append(Sample(done + setting.count, run.rss_mb))
    later = samples[-max(2, len(samples) // 2) :]
    slope = {name: _slope(later, name) for name in samples[0].rss_mb}
    return Soak(setting.tee, setting.processes, tuple(samples), slope)


def _slope(samples: list[Sample], worker: str) -> float:
    counts = [float(sample.attestations) for sample in samples]
    fitted = linear_regression(counts, [sample.rss_mb[worker] for sample in samples])
    return round(fitted.slope * _SLOPE_OVER, 3)
