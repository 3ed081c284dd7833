"""supervisor/pool_spec.py: what a pool is told when nobody tells it otherwise."""

import sys

from supervisor.pool_spec import PoolSpec


def test_a_workers_stderr_goes_to_ours(capsys):
    PoolSpec(argv=lambda index, fd: []).on_stderr(0, b"said \xff")
    assert capsys.readouterr().err == "said \N{REPLACEMENT CHARACTER}\n"


def test_that_nobody_reads_our_stderr_is_not_the_workers_fault(monkeypatch):
    class Broken:
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    PoolSpec(argv=lambda index, fd: []).on_stderr(0, b"said")


async def test_the_defaults_are_hooks_that_do_nothing():
    spec = PoolSpec(argv=lambda index, fd: [])
    assert await spec.on_up(None) is None
    assert await spec.on_down(None, None) is None
    assert spec.handlers(None) == {}
