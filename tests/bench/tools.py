"""The three clients, each run as its own process: ours, iscsi-perf of libiscsi, qemu-img bench.

Each measures one URL for some seconds and says how many operations that were."""

import json
import re
import subprocess
import sys
from collections.abc import Callable

import attrs

from tests.bench.rows import Row
from tests.support.daemon import REPOSITORY

PRIME = 7919  # qemu-img goes in strides: one that is prime visits the blocks in no useful order
PROBE = 4000  # commands to find out how many make a run of the wanted length


@attrs.frozen
class Outcome:
    """Operations a second, all operations the server worked for, latencies when the client knows them."""

    iops: float
    operations: float
    latency: dict[str, int] = attrs.Factory(dict)
    client_cpu: float = 0.0  # µs an operation


class ClientFailed(Exception):
    """A client ended badly; carries what it said."""


def _run(words: list[str], seconds: float) -> str:
    try:
        done = subprocess.run(
            words, cwd=REPOSITORY, capture_output=True, text=True, timeout=seconds * 5 + 30, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise ClientFailed(f"{' '.join(words)}: still running after {late.timeout:.0f} s") from late
    if done.returncode:
        raise ClientFailed(
            f"{' '.join(words)}: {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-500:]}"
        )
    return done.stdout


def ours(url: str, row: Row, seconds: float) -> Outcome:
    words = [sys.executable, "-m", "scsipub.bench", url, "--json", f"--seconds={seconds}"]
    words += [f"--depth={row.depth}", f"--block-size={row.block_size}", f"--read={0 if row.write else 100}"]
    words += ["--digests=unchecked"] if row.digests else []  # the server is what is measured
    said = json.loads(_run(words + (["--sequential"] if row.sequential else []), seconds))
    return Outcome(
        said["iops"], said["operations_total"], said["latency_us"], said["client_cpu_us_per_operation"]
    )


def iscsi_perf(url: str, row: Row, seconds: float) -> Outcome | None:
    """It can only read, without digests, and counts whole seconds."""
    if row.write or row.digests:
        return None
    whole = max(1, round(seconds))
    words = ["iscsi-perf", "-m", str(row.depth), "-b", str(row.block_size // 512), "-t", str(whole)]
    said = _run(words + ([] if row.sequential else ["-r"]) + [url], whole)
    averages = re.findall(r"iops average (\d+)", said)
    if not averages:
        raise ClientFailed(f"iscsi-perf said no average: {said[-300:]}")
    return Outcome(float(averages[-1]), float(averages[-1]) * whole)


_rates: dict[tuple[str, str], float] = {}


def qemu_img(url: str, row: Row, seconds: float) -> Outcome | None:
    """It makes a number of requests, without digests; a probe finds out how many fill the time."""
    if row.digests:
        return None
    probed = 0
    if (url, row.key) not in _rates:
        probed = PROBE if row.depth > 1 else PROBE // 4
        _rates[url, row.key] = _qemu_img(url, row, probed, 10)
    count = max(PROBE, int(_rates[url, row.key] * seconds))
    rate = _qemu_img(url, row, count, seconds)
    return Outcome(rate, count + probed)


def _qemu_img(url: str, row: Row, count: int, seconds: float) -> float:
    words = ["qemu-img", "bench", "-f", "raw", "-t", "none", "-c", str(count), "-d", str(row.depth)]
    words += ["-s", str(row.block_size)] + (["-w", "--pattern=90"] if row.write else [])
    words += ["-S", str(row.block_size * (1 if row.sequential else PRIME))]
    found = re.search(r"Run completed in ([\d.]+) seconds", said := _run([*words, url], seconds))
    if not found:
        raise ClientFailed(f"qemu-img bench said no time: {said[-300:]}")
    return count / max(float(found[1]), 0.001)


CLIENTS: dict[str, Callable[[str, Row, float], Outcome | None]] = {
    "scsipub.bench": ours,
    "iscsi-perf": iscsi_perf,
    "qemu-img bench": qemu_img,
}
NEEDED = {"tgtd": "tgt", "tgtadm": "tgt", "iscsi-perf": "libiscsi-bin", "qemu-img": "qemu-utils"}
