"""Every bound and every default in one place, each with its reason.

Knows nobody.  ``docs/limits.md`` is written from this class (``make docs``), and a test holds the two equal.
Sizes are bytes, times are seconds.  The operator changes a limit in the configuration file, by its name under
``[limits]``; ``least`` and ``most`` say how far."""

from typing import Any

import attrs

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB


def limit(default: float, reason: str, *, least: float | None = None, most: float | None = None) -> Any:
    """One bound: what it is, why, and how far an operator may move it.

    A count must be at least 1 and a time at least 0 unless ``least`` says otherwise."""
    if least is None:
        least = 0 if isinstance(default, float) else 1
    return attrs.field(default=default, metadata={"reason": reason, "least": least, "most": most})


@attrs.frozen(kw_only=True)
class Limits:
    """What a stranger may cost us.  One instance per process, handed in, never global."""

    # -- accepting ---------------------------------------------------------------------------------------
    listen_backlog: int = limit(1024, "connections the kernel keeps; beyond it a flood costs others a second")
    new_connections_per_second: float = limit(500.0, "all sources together")
    new_connections_burst: int = limit(1000, "all sources together, at once: a rack that boots")
    source_connections_per_second: float = limit(20.0, "per IPv4 /32 or IPv6 /64: a classroom behind one NAT")
    source_connections_burst: int = limit(200, "per /32 or /64, at once: a Pi fleet boots behind one NAT")
    unauthenticated_start: int = limit(1000, "random early drop of connections without login begins here ...")
    unauthenticated_percent: int = limit(30, "... with this chance ...", least=0, most=100)
    unauthenticated_full: int = limit(4000, "... and is certain here")
    unauthenticated_per_source: int = limit(64, "connections of one source that have not logged in yet")
    sessions_per_source: int = limit(256, "anonymous sessions of one source: one NAT is not one person")
    penalty_malformed: float = limit(10.0, "how long a source that sent garbage is refused")
    penalty_crash: float = limit(90.0, "how long a source that crashed a session of ours is refused")
    tunnels: int = limit(1000, "WebSocket tunnels at once: one process carries them all", most=1900)
    poison_deaths: int = limit(3, "workers that crash over one disk before it is shut away ...", least=2)
    poison_seconds: float = limit(600.0, "... counted over this time, and shut away for as long", least=1)
    penalty_entries: int = limit(65536, "sources remembered; beyond it the oldest is forgiven")

    # -- login -------------------------------------------------------------------------------------------
    login_seconds: float = limit(15.0, "absolute, from accept; traffic does not reset it", least=1)
    login_pdus: int = limit(20, "a CHAP login with keys in pieces takes 6")
    login_pdu_bytes: int = limit(8 * KiB, "RFC 7143 §13.12: 8192 until something else is declared", least=KiB)
    login_text_bytes: int = limit(64 * KiB, "keys of one login, all PDUs together", least=KiB)
    login_keys: int = limit(64, "RFC 7143 defines fewer than 40, the rest is room for X- keys", least=32)
    tls_handshake_seconds: float = limit(10.0, "absolute, and part of login_seconds", least=1)
    tls_reload_seconds: float = limit(
        60.0, "how long handshakes ask nothing about the certificate's files", least=1
    )

    # -- discovery ---------------------------------------------------------------------------------------
    discovery_seconds: float = limit(30.0, "a discovery session asks once and leaves", least=1)
    discovery_pdus: int = limit(32, "SendTargets in many pieces, a few pings, logout", least=4)
    discovery_reply_bytes: int = limit(256 * KiB, "about 3,000 targets; more belong to nobody", least=KiB)

    # -- full feature phase ------------------------------------------------------------------------------
    command_window: int = limit(32, "MaxCmdSN - ExpCmdSN + 1 when idle: open-iscsi's queue depth", most=4096)
    immediate_commands: int = limit(8, "outstanding at once; one more is rejected with 0x06")
    max_recv_data_segment: int = limit(
        256 * KiB, "what we declare: open-iscsi's own default", least=512, most=2**24 - 1
    )
    first_burst: int = limit(
        256 * KiB, "what open-iscsi and QEMU ask for: small writes take one trip", least=512, most=2**24 - 1
    )
    max_burst: int = limit(16 * MiB - KiB, "open-iscsi asks for exactly this", least=512, most=2**24 - 1)
    r2t_bytes: int = limit(1 * MiB, "the largest single R2T or read burst we make", least=512)
    session_write_bytes: int = limit(
        8 * MiB, "write data held for one session, invited, or ahead of its turn", least=MiB
    )
    session_output_bytes: int = limit(
        1 * MiB, "unsent answers before reading from the disk waits", least=64 * KiB
    )
    output_backpressure_bytes: int = limit(
        4 * MiB, "unsent answers before we stop reading the socket", least=64 * KiB
    )
    worker_held_bytes: int = limit(
        512 * MiB,
        "both, for all sessions of a worker; beyond it the heaviest end",
        least=16 * MiB,
    )
    r2t_seconds: float = limit(60.0, "a solicited burst must have arrived by then", least=1)
    transmit_stall_seconds: float = limit(60.0, "a peer that reads nothing for so long is dropped", least=1)
    nop_silence_seconds: float = limit(
        30.0, "then we ping, but only who has answered or pinged before", least=1
    )
    nop_answer_seconds: float = limit(30.0, "an unanswered ping ends the connection", least=1)
    reinstatements_per_minute: int = limit(3, "a name and ISID that logs in over itself again and again")

    # -- a turn ------------------------------------------------------------------------------------------
    turn_pdus: int = limit(64, "one wake-up serves twice a full window, then the next session has its turn")
    turn_seconds: float = limit(0.001, "the longest a session may hold the event loop", least=0.0001)
    brief_turn_seconds: float = limit(0.00025, "... and the longest while others have turns", least=0.0001)
    brief_turn_bytes: int = limit(
        128 * KiB, "what such a turn takes from the socket, and what it answers", least=64 * KiB
    )
    spin_seconds: float = limit(0.00006, "a wake-up costs more than this much polling", most=0.001)

    # -- disks -------------------------------------------------------------------------------------------
    blank_bytes: int = limit(64 * MiB, "the size of the blank disk", least=MiB)
    overlay_budget_bytes: int = limit(1 * GiB, "what one anonymous disk may allocate", least=MiB)
    grace_seconds: float = limit(
        30.0, "how long a disposable disk waits for its initiator: iPXE hands over to the OS that way"
    )
    unit_threads: int = limit(4, "blocking disk calls at once, per logical unit")
    worker_threads: int = limit(16, "blocking disk calls at once, per worker")
    faulty_disks: int = limit(
        16, "disks per worker that may be faulty on demand: each has unit_threads of its own", least=0
    )
    pool_reserve_bytes: int = limit(
        2 * GiB, "free space below which new disposable disks are refused", least=0
    )
    max_transfer_bytes: int = limit(
        32 * MiB, "MAXIMUM TRANSFER LENGTH; the acceptance suite uses all of it", least=64 * KiB
    )

    # -- images ------------------------------------------------------------------------------------------
    image_bytes: int = limit(
        256 * GiB, "the largest image, and the largest file that one comes in", least=MiB
    )
    image_memory_bytes: int = limit(
        512 * MiB,
        "address space of the process that unpacks and converts: xz -9 and zstd fit",
        least=256 * MiB,
    )
    image_convert_seconds: int = limit(3600, "processor time for one image; it may wait as long again")
    uploads: int = limit(8, "images on their way in over HTTP, at once", most=1000)
    upload_idle_seconds: float = limit(86400.0, "how long an upload that has stopped is kept", least=60)
    fetch_seconds: float = limit(30.0, "a server that says nothing for so long is given up on", least=1)
    fetch_redirects: int = limit(5, "from one address to another", least=0, most=20)
    fetch_resumes: int = limit(5, "how often a download that broke off is taken up again", least=0)

    # -- housekeeping ------------------------------------------------------------------------------------
    janitor_seconds: float = limit(600.0, "between two sweeps", least=1)
    orphan_age_seconds: float = limit(3600.0, "an overlay nobody knows is left alone until this old")
    unknown_target_seconds: float = limit(300.0, "one warning per (address, name) in this time")
    unknown_target_entries: int = limit(10_000, "(address, name) pairs remembered; the oldest goes first")
    log_lines_per_second: float = limit(50.0, "strangers must not fill the disk with our own words", least=1)

    # -- processes ---------------------------------------------------------------------------------------
    heartbeat_seconds: float = limit(1.0, "how often a worker is asked whether it lives", least=0.1)
    heartbeat_misses: int = limit(5, "a worker silent for this many beats is killed")
    drain_seconds: float = limit(3.0, "from SIGTERM to SIGKILL")


DEFAULT = Limits()
