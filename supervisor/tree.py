"""Supervisors on Trio (this file grows; ``DynamicSupervisor`` lives in ``dynamic``)."""

from supervisor.dynamic import DynamicSupervisor as DynamicSupervisor
