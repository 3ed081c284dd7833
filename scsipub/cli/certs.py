"""``scsipub certs sync``: brings the certificates that Caddy obtains to where the daemon reads them.

Caddy keeps its pairs in a directory of its own, readable by itself alone, one folder for each issuer and
name.  This finds the pair that is good the longest, checks it as the daemon would, and copies it, each file
replaced at once and readable by the daemon's group.  The kernel tells when something changes there; now and
then it looks without being told, because a file system of another machine tells nothing.

Runs beside Caddy, with the right to read its files; the daemon never gets that right."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from scsipub.certificates import Files, Pair, Unusable, check, read_pair
from scsipub.cli.inotify import Watch
from scsipub.cli.options import failures_in_plain_words
from scsipub.cli.show import harmless
from scsipub.errors import OperatorError

CADDY = Path("/var/lib/caddy/.local/share/caddy/certificates")
CERTIFICATE, KEY = "cert.pem", "key.pem"
# Between the first of several changes and the look.
SETTLE_SECONDS = 0.2
# Between two looks when the kernel cannot watch all there is.
BLIND_SECONDS = 10.0


@click.group()
def certs() -> None:
    """Certificates that another program obtains."""


@certs.command()
@click.argument("host")
@click.option("--caddy", type=click.Path(path_type=Path), default=CADDY, show_default=True, metavar="DIR")
@click.option(
    "--to", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where to put them."
)
@click.option("--group", metavar="NAME", help="Who may read them: the daemon's group.")
@click.option("--seconds", default=300.0, show_default=True, help="Look at least so often, told or not.")
@click.option("--once", is_flag=True, help="Look once; exit code 1 when there is nothing to bring.")
def sync(host: str, caddy: Path, to: Path, group: str | None, seconds: float, once: bool) -> None:
    """Keep HOST's certificate and key in DIR as cert.pem and key.pem.

    Give the daemon these two as tls_cert and tls_key; it follows them by itself.
    """
    with failures_in_plain_words(False), contextlib.suppress(KeyboardInterrupt):
        if once:
            try:
                words = bring(host, caddy, to, group, datetime.now(UTC))
            except Unusable as why:
                raise OperatorError(f"Nothing to bring for {host}: {why}.", "Has Caddy got one?") from None
            if words:
                click.echo(harmless(words), err=True)
            return
        with contextlib.closing(Watch()) as watch:
            keep_brought(host, caddy, to, group, seconds, watch)


def keep_brought(host: str, caddy: Path, to: Path, group: str | None, seconds: float, watch: Watch) -> None:
    """Until interrupted: look, then wait until the kernel says that something has changed."""
    said = ""
    while True:
        # Watched before it is looked at, so that nothing is missed in between.
        told = watch.add(places(host, caddy))
        try:
            words = bring(host, caddy, to, group, datetime.now(UTC))
        except Unusable as why:
            words = f"nothing to bring for {host}: {why}"
        if words and words != said:
            click.echo(harmless(words), err=True)
        said = words or said
        if watch.wait(seconds if told else min(seconds, BLIND_SECONDS)):
            time.sleep(SETTLE_SECONDS)  # a pair is two files


def places(host: str, caddy: Path) -> Iterator[Path]:
    """Where a pair for ``host`` may appear: what is there of it, down to the folders that it would be in."""
    above = caddy
    while not above.is_dir() and above != above.parent:
        above = above.parent
    yield above
    with contextlib.suppress(OSError):
        for issuer in caddy.iterdir():
            yield issuer
            yield from (issuer / name for name in _names(host))


def bring(host: str, caddy: Path, to: Path, group: str | None, now: datetime) -> str:
    """Copy the best pair unless it is there.  Says what it did, "" for nothing; raises Unusable."""
    pair, ends = best(host, caddy, now)
    with contextlib.suppress(OSError):
        if (to / CERTIFICATE).read_bytes() == pair.certificate and (to / KEY).read_bytes() == pair.key:
            return ""
    to.mkdir(mode=0o750, parents=True, exist_ok=True)
    # The key first: who reads between the two sees a mismatch and keeps what it has.
    put(to / KEY, pair.key, group)
    put(to / CERTIFICATE, pair.certificate, group)
    return f"brought a certificate for {host}, good until {ends:%Y-%m-%d %H:%M} UTC"


def best(host: str, caddy: Path, now: datetime) -> tuple[Pair, datetime]:
    """Of all pairs for ``host``, from whatever issuer, the one that is good the longest."""
    found: list[tuple[datetime, Pair]] = []
    why = f"no folder of that name in {caddy}"
    for certificate in candidates(host, caddy):
        try:
            pair = read_pair(Files(certificate, certificate.with_suffix(".key")))
            found.append((check(pair, [host], now), pair))
        except Unusable as unusable:
            why = str(unusable)
    if not found:
        raise Unusable(why)
    ends, pair = max(found, key=lambda one: one[0])
    return pair, ends


def candidates(host: str, caddy: Path) -> Iterator[Path]:
    """``ISSUER/NAME/NAME.crt`` for the name and for the wildcard above it."""
    names = _names(host)
    if "/" in host or host.startswith("."):
        raise OperatorError(f"{host!r} is no host name.")
    try:
        issuers = sorted(caddy.iterdir())
    except OSError as error:
        raise Unusable(f"{caddy}: {error.strerror}") from None
    for issuer in issuers:
        for name in names:
            path = issuer / name / f"{name}.crt"
            if path.exists():
                yield path


def _names(host: str) -> tuple[str, str]:
    """What Caddy calls the folder of a name, and that of the wildcard above it."""
    return host, f"wildcard_.{host.partition('.')[2]}"


def put(path: Path, data: bytes, group: str | None) -> None:
    """The whole file or the old one, never readable by more than its owner and ``group``."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        if group is not None:
            try:
                shutil.chown(temporary, group=group)
            except LookupError:
                raise OperatorError(f"There is no group {group!r}.") from None
            os.fchmod(file.fileno(), 0o640)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
