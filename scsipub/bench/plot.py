"""Pictures of measurements: how the rate moved, how latencies lie, where more depth stops helping.

Knows matplotlib, which comes with ``pip install scsipub[plot]``; everything else works without."""

from collections.abc import Sequence
from pathlib import Path

from scsipub.bench.job import Report
from scsipub.errors import OperatorError

PERCENTS = [*range(1, 100), 99.5, 99.9, 99.99, 100]


def draw(reports: Sequence[Report], title: str, file: Path) -> None:
    """One picture, in the format of the file's suffix (png, svg, pdf).

    Raises OperatorError without matplotlib, for a suffix it does not know, and where it cannot write."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise OperatorError("plots need matplotlib", "pip install 'scsipub[plot]'") from None

    figure, (over_time, latencies, scale) = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    figure.suptitle(title)
    for report in reports:
        name = f"depth {report.job.depth}"
        over_time.plot(*zip(*report.rates, strict=True), label=name) if report.rates else None
        latencies.plot(PERCENTS, [report.latency.percentile(percent) for percent in PERCENTS], label=name)
    over_time.set(xlabel="seconds", ylabel="operations a second")
    over_time.set_ylim(bottom=0)
    latencies.set(xlabel="percent of operations", ylabel="at most µs", yscale="log")
    latencies.legend(fontsize="small")
    depths = [report.job.depth * report.job.connections for report in reports]
    scale.plot(depths, [report.iops for report in reports], marker="o")
    scale.set(xlabel="commands in flight", ylabel="operations a second", xscale="log")
    scale.set_ylim(bottom=0)
    try:
        figure.savefig(file, dpi=120)
    except (OSError, ValueError) as error:
        raise OperatorError(f"{file}: {error}", "Choose a file ending in .png, .svg or .pdf.") from None
    finally:
        pyplot.close(figure)
