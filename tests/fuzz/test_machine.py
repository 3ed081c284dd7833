"""The stateful machine, for a moment.  ``Initiator.TestCase`` with other settings runs for as long as one
likes."""

from hypothesis import HealthCheck, settings

from fuzz.machine import Initiator

TestInitiator = Initiator.TestCase
TestInitiator.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
