"""supervisor/descriptors.py: SCM_RIGHTS."""

import os
import socket

from supervisor.descriptors import ANCILLARY, attached, close_all, received


def test_descriptors_arrive_in_order_and_mean_the_same_files():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right, open("/dev/null") as null, open("/dev/zero") as zero:
        left.sendmsg([b"x"], attached([null.fileno(), zero.fileno()]))
        data, ancillary, _, _ = right.recvmsg(10, ANCILLARY)

        came = received(ancillary)
        assert data == b"x"
        assert [os.fstat(fd).st_rdev for fd in came] == [
            os.fstat(null.fileno()).st_rdev,
            os.fstat(zero.fileno()).st_rdev,
        ]
        close_all(came)


def test_ancillary_data_of_another_kind_is_no_descriptor():
    assert received([(socket.SOL_SOCKET, 99, b"\0\0\0\0")]) == []


def test_closing_twice_is_no_error():
    fd = os.open("/dev/null", os.O_RDONLY)
    close_all([fd, fd])
