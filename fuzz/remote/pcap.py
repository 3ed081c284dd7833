"""A conversation as a pcap file: Ethernet, IP, TCP, with checksums, from what a ``Link`` has traced.

Written by hand: the format is 24 bytes and 16 per packet, and capturing for real would need root.  The
target's side is always port 3260, so that tshark and Wireshark know it for iSCSI by themselves.
Source: https://www.tcpdump.org/manpages/pcap-savefile.5.html, RFC 791, RFC 8200, RFC 9293."""

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path

from fuzz.remote.link import Link

MAGIC = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1)
MSS = 1448
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
TARGET_PORT = 3260


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(
    source: tuple[str, int], to: tuple[str, int], seq: int, ack: int, flags: int, data: bytes = b""
) -> bytes:
    """One Ethernet frame."""
    here, there = ipaddress.ip_address(source[0]).packed, ipaddress.ip_address(to[0]).packed
    tcp = struct.pack(
        ">HHIIBBHHH", source[1], to[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 65535, 0, 0
    )
    size = len(tcp) + len(data)
    if len(here) == 4:
        pseudo = here + there + struct.pack(">BBH", 0, 6, size)
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, 6, 0) + here + there
        head = head[:10] + checksum(head).to_bytes(2) + head[12:]
        kind = 0x0800
    else:
        pseudo = here + there + struct.pack(">I3xB", size, 6)
        head = struct.pack(">IHBB", 6 << 28, size, 6, 64) + here + there
        kind = 0x86DD
    tcp = tcp[:16] + checksum(pseudo + tcp + data).to_bytes(2) + tcp[18:]
    return struct.pack(">6s6sH", b"\x02\0\0\0\0\2", b"\x02\0\0\0\0\1", kind) + head + tcp + data


def packets(link: Link, number: int) -> Iterator[tuple[float, bytes]]:
    """The connection from SYN to its end.  ``number`` keeps connections of one file apart."""
    ours, theirs = (link.here[0], 40000 + number), (link.there[0], TARGET_PORT)
    seq, ack = 1000, 2000
    yield link.began, frame(ours, theirs, seq, 0, SYN)
    yield link.began, frame(theirs, ours, ack, seq + 1, SYN | ACK)
    seq, ack = seq + 1, ack + 1
    yield link.began, frame(ours, theirs, seq, ack, ACK)
    last = link.began
    for segment in link.trace:
        last = segment.when
        for at in range(0, len(segment.data), MSS):
            piece = segment.data[at : at + MSS]
            if segment.ours:
                yield last, frame(ours, theirs, seq, ack, PSH | ACK, piece)
                seq += len(piece)
            else:
                yield last, frame(theirs, ours, ack, seq, PSH | ACK, piece)
                ack += len(piece)
    if link.closed == "end of stream":
        yield last, frame(theirs, ours, ack, seq, FIN | ACK)
    elif link.closed not in ("", "by us"):
        yield last, frame(theirs, ours, ack, seq, RST | ACK)
    else:
        yield last, frame(ours, theirs, seq, ack, FIN | ACK)


def write(path: Path, links: list[Link]) -> None:
    """All connections of a case, in the order of time."""
    everything = [packet for number, link in enumerate(links) for packet in packets(link, number)]
    everything.sort(key=lambda packet: packet[0])
    with path.open("wb") as file:
        file.write(MAGIC)
        for when, data in everything:
            file.write(struct.pack("<IIII", int(when), int(when % 1 * 1e6), len(data), len(data)) + data)
