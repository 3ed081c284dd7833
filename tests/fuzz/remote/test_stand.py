"""What the witness may conclude, and what not."""

from fuzz.remote.address import Address
from fuzz.remote.plain import Ended
from fuzz.remote.stand import Stand

CONFLICT = 0x18


class Witness:
    """A session to a unit of 1024 blocks full of ones, some of which it is not let at."""

    def __init__(self, refused=()):
        self.refused = refused

    def settle(self, seconds=0.0):
        pass

    def command(self, cdb, *, read=0, write=b""):
        first = int.from_bytes(cdb[2:6])
        if cdb[0] == 0x28 and first in self.refused:
            return Ended(CONFLICT, b"", b"")
        return Ended(0, b"\x01" * read, b"")


def entered(witness):
    stand = Stand(Address("127.0.0.1", 1, "iqn.x"))
    stand.witness, stand.blocks = witness, 1024
    stand._enter()
    return stand.disk


def test_what_was_read_is_known():
    disk = entered(Witness())

    assert disk.content.known(0, 1024 - 64)
    assert disk.complaint(5, bytes(512))


def test_what_a_reservation_hides_is_not_known():
    """Zeros in the place of what nobody could read made every later read there look wrong."""
    disk = entered(Witness(refused=(128,)))

    assert disk.content.known(0, 128)
    assert not disk.content.known(128, 1)
    assert not disk.content.known(255, 1)
    assert disk.content.known(256, 512)
    assert disk.complaint(130, bytes(512)) == ""
