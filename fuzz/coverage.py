"""``python -m fuzz coverage``: runs ``fuzz.guided``, then makes its corpus as small as it can be."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

from scsipub.errors import OperatorError

BUILD = Path("build") / "fuzz"
KINDS = ("session", "login", "text", "pdus", "cdbs")
LENGTHS = {"session": 4096, "login": 8192, "text": 4096, "pdus": 256, "cdbs": 16}


def main(what: str, seconds: float, corpus: Path | None) -> int:
    """1 when something was found."""
    if what not in KINDS:
        raise OperatorError(f"{what!r} cannot be guided", f"choose one of {', '.join(KINDS)}")
    corpus = corpus or BUILD / f"corpus-{what}"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes = BUILD / f"crashes-{what}"
    crashes.mkdir(parents=True, exist_ok=True)
    common = [sys.executable, "-m", "fuzz.guided", what, f"-artifact_prefix={crashes}/", "-timeout=10"]
    length = [f"-max_len={LENGTHS[what]}", "-len_control=20", "-rss_limit_mb=2048"]
    if not any(corpus.iterdir()):
        for number in range(16):  # long enough to get through a login and further
            dice = random.Random(number)
            (corpus / f"seed-{number}").write_bytes(dice.randbytes(LENGTHS[what] // 2))
    began = len(list(corpus.iterdir()))
    done = subprocess.run([*common, *length, f"-max_total_time={seconds:.0f}", str(corpus)], check=False)
    small = corpus.with_name(corpus.name + "-smaller")
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir()
    # Keeps of inputs that reach the same code the smallest.
    merged = subprocess.run([*common, "-merge=1", str(small), str(corpus)], capture_output=True, check=False)
    grown = len(list(corpus.iterdir()))
    if merged.returncode == 0 and any(small.iterdir()):
        shutil.rmtree(corpus)
        small.rename(corpus)
    else:
        shutil.rmtree(small)
    left = len(list(corpus.iterdir()))
    print(f"{what}: {began} inputs became {grown}, of which {left} are needed; {corpus}")
    if done.returncode:
        print(f"something was found: see {crashes} and fuzz/finds/")
    return 1 if done.returncode else 0
