"""Carries out the script on real files, and says on standard output how far it is.

    python -m tests.crash.workload DIRECTORY [--seed N] [--go-on] [--mistake NAME]

With ``--go-on`` a call that fails is told and the next is made, as clients do; what is done to a disk that
failed (looking at it, opening it again) is done too."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from scsipub.storage.base import Base
from scsipub.storage.disk import Disk
from scsipub.storage.durable import create_durable
from scsipub.storage.files import forget_failure, remove_files
from scsipub.storage.folder import sync_directory
from scsipub.storage.grow import grow_durable
from scsipub.storage.layout import OverlayId, OverlayPaths
from tests.crash.mistakes import made
from tests.crash.script import BASE, OPEN, SHORT, STEPS, Step, contents, random_steps

SHA = "5c" * 32  # what the record of the image says
BOOTS = (b"first boot".ljust(16), b"second boot".ljust(16))
ID = OverlayId("t", "tenant1", 0)


def paths_in(folder: Path, boot: bytes = BOOTS[0]) -> OverlayPaths:
    return OverlayPaths(str(folder / "overlays"), ID, boot=boot)


def lay_out(folder: Path) -> None:
    """An image, and a place for overlays."""
    (folder / "overlays").mkdir(mode=0o700, parents=True)
    (folder / "image").write_bytes(BASE)
    (folder / "image").chmod(0o444)


class Client:
    """Does one step after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = Base.open(folder / "image", SHA)
        self.disk: Disk | None = None
        self.sectors = SHORT

    def do(self, number: int, step: Step) -> None:
        paths = paths_in(self.folder, BOOTS[step.boot])
        if step.what == "create":
            create_durable(paths, SHORT, self.base.identity)
        elif step.what == "open":
            self.disk = Disk.open_durable(self.base, paths, sectors=self.sectors)
        elif step.what == "grow":
            self.sectors = step.count
            grow_durable(paths, step.count, self.base.identity)
        elif step.what == "destroy":
            remove_files(paths)
            sync_directory(paths.directory)
        elif self.disk is None:
            raise OSError(5, "there is no disk")
        elif step.what == "stretch":
            self.disk.grow(step.count, self.base)
            self.disk.grown(step.count, self.base)
            self.sectors = step.count
        elif step.first + step.count > self.disk.sectors:
            raise OSError(5, "the disk is shorter: it could not be made longer")
        elif step.what == "flush":
            self.disk.flush()
        elif step.what == "close":
            self.disk.close()
            self.disk = None
        elif step.what == "unmap":
            self.disk.unmap(step.first, step.count)
        elif step.what == "same":
            self.disk.write_same(step.first, step.count, contents(number, step)[0])
        else:
            data = memoryview(b"".join(contents(number, step)))
            if step.what != "now" or not self.disk.write_now(step.first, data):
                self.disk.write(step.first, data, step.what == "fua")


def steps_of(seed: int | None) -> tuple[Step, ...]:
    return STEPS if seed is None else random_steps(seed, 60)


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def run(client: Client, steps: tuple[Step, ...], go_on: bool, tell: Callable[..., None] = tell) -> None:
    for number, step in enumerate(steps):
        tell("begun", number)
        latched = client.disk is not None and client.disk.statistics().failed
        try:
            client.do(number, step)
        except OSError as error:
            tell("failed", number, error.errno, error)
            if not go_on:
                raise
            if not latched and not _mended(client, number, step, tell):
                return
        else:
            tell("done", number)


def _mended(client: Client, number: int, step: Step, tell: Callable[..., None]) -> bool:
    """What the daemon, or its operator, does about a failure.  The fault is over by then."""
    paths = paths_in(client.folder, BOOTS[step.boot])
    if step.what == "create":
        remove_files(paths)  # nobody was told of it
    elif step.what in ("open", "grow"):
        forget_failure(paths)  # an operator has looked
    elif step.what == "stretch":
        return _resumed(client, number, step, tell)
    elif step.what != "destroy":
        return True  # it is the client's to go on
    tell("begun", number)
    client.do(number, step)
    tell("done", number)
    return True


def _resumed(client: Client, number: int, step: Step, tell: Callable[..., None]) -> bool:
    """A growth in use failed, and the target went offline: it is finished when an operator resumes that."""
    if client.disk is not None:
        client.disk.close()
    forget_failure(paths_in(client.folder))
    tell("begun", number)
    client.do(number, Step("grow", count=step.count))
    client.do(number, OPEN)
    tell("done", number)
    return True


def main(folder: str, *options: str) -> None:
    seed = int(options[options.index("--seed") + 1]) if "--seed" in options else None
    mistake = options[options.index("--mistake") + 1] if "--mistake" in options else None
    with made(mistake):
        run(Client(Path(folder)), steps_of(seed), "--go-on" in options)


if __name__ == "__main__":
    main(*sys.argv[1:])
