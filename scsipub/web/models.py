"""What the API says, record by record.  The OpenAPI document is made from these.

Values only."""

import attrs


@attrs.frozen(kw_only=True)
class Worker:
    """One process that serves disks, and what it has moved since it started.

    ``times``: how many commands took less than 1, 2, 4, 8 ... microseconds, and no less than half of it."""

    index: int
    state: str
    sessions: int
    restarts: int
    bytes_read: int
    bytes_written: int
    operations: int
    times: list[int] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class Counters:
    """Since the daemon started.  ``malformed`` counts what initiators did wrong, by kind."""

    connections: int
    refused: int
    logins: int
    login_failures: int
    crashes: int
    bytes_read: int
    bytes_written: int
    operations: int
    malformed: dict[str, int]


@attrs.frozen(kw_only=True)
class Status:
    """How the daemon is.  ``parked``: disposable disks that wait for their initiator to come back."""

    version: str
    uptime_seconds: float
    sessions: int
    parked: int
    images: int
    workers: list[Worker]
    counters: Counters


@attrs.frozen(kw_only=True)
class Image:
    """What disks can be copies of.  `format`: what it came as; it is served as raw `bytes`."""

    name: str
    format: str
    bytes: int
    sha256: str
    imported: str


@attrs.frozen(kw_only=True)
class Session:
    """One initiator at one target.  An empty ``target``: it only asks which there are."""

    id: str
    worker: int
    initiator: str
    target: str
    source: str
    since: str
    tls: bool
    tunnel: bool
    bytes_read: int
    bytes_written: int
    operations: int
    iops: float
    last_error: str


@attrs.frozen(kw_only=True)
class SessionPage:
    """Some of the sessions, by id.  ``next``: ask again with ``after`` set to it; null: that was all."""

    items: list[Session]
    total: int
    next: str | None = None


@attrs.frozen(kw_only=True)
class ImagePage:
    """Some of the images, by name.  ``next`` as for sessions."""

    items: list[Image]
    total: int
    next: str | None = None
