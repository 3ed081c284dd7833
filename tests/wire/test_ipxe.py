"""A machine without a disk boots from the daemon: Debian's iPXE in QEMU, and a boot sector of our own.

Source: iPXE's sanboot and SAN URIs (RFC 4173); Phoenix Enhanced Disk Drive 3.0 (INT 13h 42h and 43h).
Knows nothing of the daemon but its portal.

iPXE is the initiator with the fewest words: CHAP by MD5 only, no digests, InitialR2T=Yes, Data-Out of 512
bytes, no answer to a NOP-In, and a boot that ends at the first value "Reject"."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.initiator import Initiator

QEMU = "qemu-system-x86_64"
ROM = Path("/usr/lib/ipxe/qemu/pxe-e1000.rom")
BOOTABLE = shutil.which(QEMU) is not None and ROM.exists()
INITIATOR_NAME = "iqn.2010-04.org.ipxe:scsipub-test"
MARKER = "a sector of the disk speaks"
WRITTEN = "and the disk was written"
FAILED = "INT 13h failed"

SECTOR = 512
MARKER_AT, WRITE_AT, WRITE_COUNT = 2, 8, 64
# iPXE refuses to read a disk smaller than one cylinder of 255 heads and 63 sectors.
DISK_SECTORS = 2 * 255 * 63
# What the boot sector writes: words that count, 32 KiB of them, which iPXE sends as 64 Data-Outs.
PATTERN = struct.pack(f"<{WRITE_COUNT * SECTOR // 2}H", *range(WRITE_COUNT * SECTOR // 2))

# The BIOS loads this at 7C00h and enters it with the drive in DL.  Address, bytes, what they mean.
LISTING = """
00  31 c0     start:  xor  ax, ax
02  8e d0             mov  ss, ax
04  bc 00 7c          mov  sp, 7c00h
07  8e d8             mov  ds, ax
09  8e c0             mov  es, ax
0b  fc                cld
0c  be 80 7d          mov  si, 7d80h      ; read one sector to 8000h
0f  b4 42             mov  ah, 42h
11  cd 13             int  13h
13  72 28             jc   failed
15  be 00 80          mov  si, 8000h      ; and print it
18  e8 2f 00          call print
1b  b8 00 10          mov  ax, 1000h
1e  8e c0             mov  es, ax
20  31 ff             xor  di, di
22  31 c0             xor  ax, ax
24  ab        fill:   stosw               ; 0, 1, 2 ... to 10000h
25  40                inc  ax
26  3d 00 40          cmp  ax, 4000h
29  75 f9             jne  fill
2b  be 90 7d          mov  si, 7d90h      ; write it
2e  b8 00 43          mov  ax, 4300h
31  cd 13             int  13h
33  72 08             jc   failed
35  be a0 7d          mov  si, 7da0h
38  e8 0f 00          call print
3b  eb 06             jmp  off
3d  be c0 7d  failed: mov  si, 7dc0h
40  e8 07 00          call print
43  b0 fe     off:    mov  al, 0feh       ; reset by the keyboard controller; QEMU ends
45  e6 64             out  64h, al
47  f4        wait:   hlt
48  eb fd             jmp  wait
4a  52        print:  push dx             ; DL is the drive
4b  ac        next:   lodsb
4c  84 c0             test al, al
4e  74 12             jz   done
50  86 c4             xchg ah, al
52  ba fd 03          mov  dx, 3fdh       ; COM1: line status
55  ec        busy:   in   al, dx
56  a8 20             test al, 20h
58  74 fb             jz   busy
5a  86 c4             xchg ah, al
5c  ba f8 03          mov  dx, 3f8h
5f  ee                out  dx, al
60  eb e9             jmp  next
62  5a        done:   pop  dx
63  c3                ret
"""
CODE = bytes.fromhex("".join(line[4:13] for line in LISTING.splitlines()))


def disk_address_packet(count: int, segment: int, offset: int, lba: int) -> bytes:
    """EDD 3.0: size, reserved, blocks, buffer, first block."""
    return struct.pack("<BBHHHQ", 16, 0, count, offset, segment, lba)


def bootable_image() -> bytes:
    """A disk whose boot sector prints sector 2, writes PATTERN from sector 8 on, says so, and powers off."""
    boot = bytearray(SECTOR)
    boot[: len(CODE)] = CODE
    boot[0x180:0x190] = disk_address_packet(1, 0, 0x8000, MARKER_AT)
    boot[0x190:0x1A0] = disk_address_packet(WRITE_COUNT, 0x1000, 0, WRITE_AT)
    boot[0x1A0:0x1C0] = WRITTEN.encode().ljust(32, b"\x00")
    boot[0x1C0:0x1E0] = FAILED.encode().ljust(32, b"\x00")
    boot[0x1FE:] = b"\x55\xaa"
    image = bytearray(DISK_SECTORS * SECTOR)
    image[:SECTOR] = boot
    image[MARKER_AT * SECTOR : (MARKER_AT + 1) * SECTOR] = f"{MARKER}\r\n".encode().ljust(SECTOR, b"\x00")
    return bytes(image)


def sanboot(folder: Path, iscsi: str, target: str, seconds: float = 100) -> str:
    """Boot from the target's LUN 0; what came out of the serial port, iPXE's own words among it."""
    port = iscsi.rpartition(":")[2]
    (folder / "boot.ipxe").write_text(
        f"#!ipxe\nset initiator-iqn {INITIATOR_NAME}\nsanboot iscsi:10.0.2.2::{port}:0:{target}\npoweroff\n"
    )
    serial = folder / "serial.log"
    command = [
        *(QEMU, "-machine", "pc,accel=tcg,graphics=off", "-m", "64", "-display", "none", "-nodefaults"),
        *("-no-reboot", "-serial", f"file:{serial}"),
        *("-netdev", f"user,id=n0,tftp={folder},bootfile=boot.ipxe"),
        *("-device", f"e1000,netdev=n0,bootindex=0,romfile={ROM}"),
    ]
    try:
        subprocess.run(command, timeout=seconds, check=True, capture_output=True)
    except subprocess.TimeoutExpired:
        pytest.fail(f"nothing switched the machine off; its console:\n{serial.read_text(errors='replace')}")
    return serial.read_text(errors="replace")


@pytest.mark.wire
@pytest.mark.timeout(180)
@pytest.mark.skipif(not BOOTABLE, reason="qemu-system-x86 or ipxe-qemu is not here")
def test_ipxe_boots_a_disk_and_what_the_boot_sector_wrote_is_there_at_the_next_login(tmp_path: Path) -> None:
    """RFC 7143 §13.10-13.14 as iPXE negotiates it; the overlay outlives its connection."""
    image = tmp_path / "boot.img"
    image.write_bytes(bootable_image())
    with daemon(tmp_path / "state") as d:
        d.cli("image", "add", str(image), "--name", "boot")
        target = d.target("image.boot")

        serial = sanboot(tmp_path, d.iscsi, target)

        assert MARKER in serial, serial
        assert WRITTEN in serial, serial
        with Initiator(d.iscsi, name=INITIATOR_NAME).login(target).settle() as next_login:
            assert next_login.read(WRITE_AT, WRITE_COUNT) == PATTERN
            assert next_login.read(MARKER_AT, 1).startswith(MARKER.encode())
        with Initiator(d.iscsi, name="iqn.2010-04.org.ipxe:another").login(target).settle() as other:
            assert other.read(WRITE_AT, WRITE_COUNT) == bytes(WRITE_COUNT * SECTOR)
