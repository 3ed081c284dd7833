"""A trace becomes a file that tcpdump reads, checksums included."""

import subprocess

import pytest

from fuzz.remote import pcap
from fuzz.remote.link import Segment


class Traced:
    """What ``pcap`` looks at of a ``Link``."""

    def __init__(self, here, there, closed):
        self.here, self.there, self.closed = (here, 50000), (there, 33333), closed
        self.began = 1700000000.25
        self.trace = [
            Segment(1700000000.5, True, b"\x43" + bytes(47)),
            Segment(1700000001.0, False, b"\x23" + bytes(4000)),
        ]


@pytest.mark.parametrize(("here", "there"), [("127.0.0.2", "127.0.0.1"), ("::1", "::1")])
@pytest.mark.parametrize(
    ("closed", "last"), [("by us", "[F.]"), ("end of stream", "[F.]"), ("reset", "[R.]")]
)
def test_tcpdump_reads_it_and_finds_no_wrong_checksum(tmp_path, here, there, closed, last):
    path = tmp_path / "it.pcap"

    pcap.write(path, [Traced(here, there, closed)])

    done = subprocess.run(["tcpdump", "-nvv", "-r", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.count("(correct)") == 8  # three to begin, one request, three of the answer, one to end
    assert "incorrect" not in done.stdout
    assert last in done.stdout.splitlines()[-1]
    assert ".3260" in done.stdout


def test_the_bytes_are_all_there(tmp_path):
    path = tmp_path / "it.pcap"
    pcap.write(path, [Traced("127.0.0.2", "127.0.0.1", "by us")])

    data = path.read_bytes()

    assert data[:4] == b"\xd4\xc3\xb2\xa1"
    assert data.count(b"\x43" + bytes(47)) == 1


def test_a_checksum_of_odd_length_is_padded():
    assert pcap.checksum(b"\x01\x02\x03") == pcap.checksum(b"\x01\x02\x03\x00")
