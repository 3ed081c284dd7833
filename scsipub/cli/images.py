"""``scsipub image``: what disks are made of.

The command takes images in itself, so that a daemon is not needed and never touches what it was not told of;
a running daemon is then asked to offer the new one."""

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

import attrs
import click
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from scsipub.cli.daemon import DaemonAbsent, ask
from scsipub.cli.options import reading
from scsipub.cli.show import error_console, show_json, show_table, size
from scsipub.cli.sources import file_name, opened
from scsipub.cli.taking_in import Declaration, Report, take_in
from scsipub.config import Config
from scsipub.errors import OperatorError
from scsipub.storage.decompress import COMPRESSIONS
from scsipub.storage.formats import FORMATS, Declared, declared_by
from scsipub.storage.images import ImageStore


@click.group()
def image() -> None:
    """The images that disks are made of."""


@image.command()
@click.argument("source")
@click.option("--name", help="What to call it; from the file's name unless told.")
@click.option(
    "--format", "format_", type=click.Choice(tuple(FORMATS)), help="From the file's name unless told."
)
@click.option("--compression", type=click.Choice(COMPRESSIONS), help="From the file's name unless told.")
@click.option("--sha256", help="What the source must hash to, as its publisher says; else nothing is kept.")
@reading
def add(config: Config, as_json: bool, source: str, **declared: str | None) -> None:
    """Take in an image: raw, ISO, qcow2 or vmdk, also packed with gz, xz, bz2 or zst.

    SOURCE is a file, an http:// or https:// address, or - for standard input.  What format it is, is said by
    --format, or by the name's suffix, or where that says nothing by its first bytes; then never again.
    """
    expected = _expected_sha256(declared["sha256"])
    said = declared_in_words(source, declared["name"], declared["format_"], declared["compression"])
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    declaration = Declaration(
        said, "standard input" if source == "-" else source, expected, config.limits, _now()
    )
    with opened(source, config.limits) as stream, _bar(said.name, quiet=as_json) as progress:
        added = take_in(ImageStore(config.images_dir), stream, declaration, progress)
    target = f"{config.iqn_prefix}:image.{added.name}"
    offered = _told_the_daemon(config, added.name)
    if as_json:
        show_json(attrs.asdict(added) | {"target": target, "offered": offered})
        return
    click.echo(f"{added.name}: {size(added.bytes)}, from {added.format}, sha256 {added.sha256}")
    click.echo(f"Offered as {target}" if offered else f"The next `scsipub serve` offers it as {target}")


def declared_in_words(
    source: str, name: str | None, format_: str | None, compression: str | None
) -> Declared:
    """What the source is, from the options and, where they are silent, from its name."""
    said_by_name = Declared("", None, "none")
    if source != "-":
        try:
            said_by_name = declared_by(file_name(source))
        except OperatorError:
            if format_ is None:
                raise
    if not (name or said_by_name.name):
        raise OperatorError("This image has no name.", "Give it one with --name.")
    return Declared(
        name or said_by_name.name, format_ or said_by_name.format, compression or said_by_name.compression
    )


def _expected_sha256(said: str | None) -> str | None:
    if said is not None and (len(said) != 64 or set(said.lower()) - set("0123456789abcdef")):
        raise OperatorError("That is no SHA-256.", "It has 64 hexadecimal digits.")
    return said.lower() if said else None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def _bar(name: str, quiet: bool) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # On stderr, and only for eyes: a pipe gets the result and nothing else.
    out = error_console()
    with Progress(*columns, console=out, disable=quiet or not out.is_terminal, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(doing: str, done: int, total: int | None) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(f"{name}: {doing}", total=total)
            bars.update(tasks[doing], completed=done, total=total)

        yield report


def _told_the_daemon(config: Config, name: str) -> bool:
    try:
        ask(config, "image.adopt", {"name": name})
    except DaemonAbsent:
        return False
    return True


image.add_command(add, "import")


@image.command("list")
@reading
def list_images(config: Config, as_json: bool) -> None:
    """Every image, its size and what it came from."""
    images: list[dict[str, Any]]
    try:
        images = ask(config, "image.list")
    except DaemonAbsent:
        images = [attrs.asdict(each) for each in ImageStore(config.images_dir).images()]
    if as_json:
        show_json(images)
        return
    show_table(
        "Images",
        ("name", "size#", "format", "imported", "from", "sha256"),
        [_row(each) for each in images],
        empty="No images.  `scsipub image add FILE` takes one in.",
    )


def _row(said: dict[str, Any]) -> list[object]:
    digest = str(said.get("sha256", "-"))[:16]
    words = [said.get(key, "-") for key in ("format", "imported", "source")]
    return [said.get("name", "-"), size(said.get("bytes")), *words, digest]


@image.command()
@click.argument("name")
@reading
def remove(config: Config, as_json: bool, name: str) -> None:
    """Remove an image.  Sessions that use it keep it until they end."""
    try:
        answer = ask(config, "image.remove", {"name": name})
    except DaemonAbsent:
        answer = attrs.asdict(ImageStore(config.images_dir).remove(name))
    if as_json:
        show_json(answer)
    else:
        click.echo(f"{name} was removed.")
