"""Supervision for Trio, after Erlang/OTP: children that may crash, and somebody who knows what to do then.

The specification is ``docs/supervisor.md``.  Half of this package is arithmetic that knows no clock and
no event loop (``spec exits budget plan telemetry wire``); the other half carries it out on Trio
(``tree actor registry`` within a process, ``channel pool child`` between processes).

It depends on trio and attrs and on nothing else.
"""
