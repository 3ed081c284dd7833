"""Start a guest, hand it a script, get back what the script printed and how it ended.

Source: qemu(1); Linux Documentation/filesystems/9p.rst.
Knows QEMU's command line and the folder that host and guest share.  Does not know iSCSI.

    result = await Guest("iscsiadm -m discovery -t st -p 10.0.2.2:3260").run(timeout=120)

Emulated (TCG): no rights and no /dev/kvm are needed.  The host's loopback is 10.0.2.2 in the guest.
Host and guest speak through files of a 9p folder: the script and its files go in, output and code come out,
and ``host NAME`` in a script has the host run a deed (kill a worker, say) while the script waits."""

import math
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import trio

from tests.guest import initramfs

QEMU = "qemu-system-x86_64"
LOOPBACK_OF_HOST = "10.0.2.2"
FASTER = "mitigations=off random.trust_cpu=on"
LOOK_SECONDS = 0.1  # how often the host looks for output and asks in the shared folder

Deed = Callable[..., Awaitable[str]]


class GuestFailed(Exception):
    """The guest did not get to the end of its script: it hung, crashed, or never booted."""


@attrs.frozen
class Result:
    """What a script printed (both streams), its exit code, and the time from power on to power off."""

    output: str
    code: int
    seconds: float
    booted_after: float
    console: str = attrs.field(repr=False)


@attrs.frozen
class Guest:
    """A machine that runs one script.

    ``files`` are put at their paths before the script starts.  ``shared`` is a folder that several guests see
    as /shared (run_many gives them one).  ``watch`` hears every line of output as it comes."""

    script: str
    name: str = "guest"
    files: Mapping[str, str | bytes] = attrs.field(factory=dict)
    deeds: Mapping[str, Deed] = attrs.field(factory=dict)
    shared: Path | None = None
    watch: Callable[[str], None] | None = None
    memory_mib: int = 768

    async def run(self, timeout: float = 300) -> Result:
        """Boot, run, power off.  Raises GuestFailed after ``timeout`` seconds or without an exit code."""
        pieces = await trio.to_thread.run_sync(initramfs.prepare)
        own = Path(tempfile.mkdtemp(dir=initramfs.CACHE, prefix=f"run-{self.name}-"))
        try:
            self._fill(own, timeout)
            echo = _Echo(own / "output", self.watch)
            started = time.monotonic()
            with trio.move_on_after(timeout) as patience:
                async with trio.open_nursery() as nursery:
                    process = await nursery.start(
                        partial(
                            trio.run_process, self._command(pieces, own), capture_stderr=True, check=False
                        )
                    )
                    nursery.start_soon(self._attend, own, echo)
                    await process.wait()
                    nursery.cancel_scope.cancel()
            echo.look()
            return self._result(own, time.monotonic() - started, timed_out=patience.cancelled_caught)
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def _fill(self, own: Path, timeout: float) -> None:
        for folder in ("files", "asks", "answers"):
            (own / folder).mkdir()
        (own / "name").write_text(self.name)
        (own / "tags").write_text("shared\n" if self.shared is not None else "")
        # Should we be killed, nobody stops the guest: it stops itself.
        (own / "limit").write_text(str(math.ceil(timeout) + 30))
        (own / "script").write_text(self.script)
        for path, content in self.files.items():
            file = own / "files" / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)

    def _command(self, pieces: initramfs.Pieces, own: Path) -> list[str]:
        command = [
            *(QEMU, "-machine", "pc,accel=tcg", "-cpu", "max", "-m", str(self.memory_mib)),
            *("-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(pieces.kernel), "-initrd", str(pieces.initramfs)),
            # An emulator that gets no CPU for a moment fails the kernel's check of its timer: it would panic.
            *("-append", f"console=ttyS0 quiet panic=-1 oops=panic no_timer_check {FASTER}"),
            *("-serial", f"file:{own}/console"),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-virtfs", f"local,path={own},mount_tag=own,security_model=none"),
        ]
        if self.shared is not None:
            command += ["-virtfs", f"local,path={self.shared},mount_tag=shared,security_model=none"]
        return command

    async def _attend(self, own: Path, echo: "_Echo") -> None:
        """Pass on output and do the deeds the script asks for, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(LOOK_SECONDS)
                for ask in (own / "asks").glob("[!.]*"):
                    words = ask.read_text().split()
                    ask.unlink()
                    nursery.start_soon(self._answer, own / "answers", ask.name, words)
                echo.look()

    async def _answer(self, answers: Path, ask: str, words: Sequence[str]) -> None:
        try:
            code, text = 0, await self.deeds[words[0]](*words[1:])
        except Exception as error:
            code, text = 1, f"the host could not {' '.join(words)}: {error!r}"
        (answers / f".{ask}").write_text(f"{code}\n{text}" + ("\n" if text else ""))
        (answers / f".{ask}").rename(answers / ask)

    def _result(self, own: Path, seconds: float, *, timed_out: bool) -> Result:
        def read(name: str) -> str:
            return (own / name).read_text(errors="replace") if (own / name).exists() else ""

        output, console, code = read("output"), read("console"), read("code").strip()
        if timed_out or not code:
            what = f"was not done after {seconds:.0f} s" if timed_out else "ended without an exit code"
            raise GuestFailed(f"guest {self.name} {what}\n{_end('output', output)}{_end('console', console)}")
        return Result(output, int(code), seconds, float(read("booted") or "nan"), console)


@attrs.define
class _Echo:
    """Reads a growing file and hands its whole lines on."""

    path: Path
    watch: Callable[[str], None] | None
    heard: int = 0

    def look(self) -> None:
        if self.watch is None or not self.path.exists():
            return
        with self.path.open("rb") as output:
            output.seek(self.heard)
            fresh = output.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self.heard += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            self.watch(line)


def _end(title: str, text: str) -> str:
    return f"--- end of its {title}:\n{text[-3000:]}\n"


async def run_many(guests: Sequence[Guest], timeout: float = 300) -> list[Result]:
    """Run guests side by side, with one folder /shared among them in which they can wait for each other."""
    initramfs.CACHE.mkdir(parents=True, exist_ok=True)  # they may be the first to run here
    shared = Path(tempfile.mkdtemp(dir=initramfs.CACHE, prefix="shared-"))
    results: dict[int, Result] = {}

    async def run(index: int, guest: Guest) -> None:
        results[index] = await attrs.evolve(guest, shared=guest.shared or shared).run(timeout)

    try:
        await trio.to_thread.run_sync(initramfs.prepare)
        async with trio.open_nursery() as nursery:
            for index, guest in enumerate(guests):
                nursery.start_soon(run, index, guest)
    finally:
        shutil.rmtree(shared, ignore_errors=True)
    return [results[index] for index in range(len(guests))]
