"""Every bound and every default in one place, each with its reason.

Knows nobody.  ``docs/limits.md`` is checked against this class.  Sizes are bytes, times are seconds.
A limit is changed with ``[limits]`` in the configuration file, under the field's own name."""

import attrs

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB


@attrs.frozen(kw_only=True)
class Limits:
    """What a stranger may cost us.  One instance per process, handed in, never global."""

    # -- accepting ---------------------------------------------------------------------------------------
    listen_backlog: int = 256
    new_connections_per_second: float = 500.0  # all sources together
    new_connections_burst: int = 1000
    source_connections_per_second: float = 20.0  # per /32 or /64; a Pi fleet boots behind one NAT
    source_connections_burst: int = 200
    unauthenticated_start: int = 1000  # random early drop begins here ...
    unauthenticated_percent: int = 30  # ... with this chance ...
    unauthenticated_full: int = 4000  # ... and is certain here
    unauthenticated_per_source: int = 64
    sessions_per_source: int = 256  # anonymous ones
    penalty_malformed: float = 10.0  # how long a source that sent garbage is refused
    penalty_crash: float = 90.0  # ... that crashed a session of ours
    penalty_entries: int = 65536  # LRU; beyond it the oldest is forgiven

    # -- login -------------------------------------------------------------------------------------------
    login_seconds: float = 15.0  # absolute, from accept; traffic does not reset it
    login_pdus: int = 20
    login_pdu_bytes: int = 8 * KiB
    login_text_bytes: int = 64 * KiB
    login_keys: int = 64  # RFC 7143 defines fewer than 40, the rest is room for X- keys
    tls_handshake_seconds: float = 10.0

    # -- discovery ---------------------------------------------------------------------------------------
    discovery_seconds: float = 30.0
    discovery_pdus: int = 32
    discovery_reply_bytes: int = 256 * KiB

    # -- full feature phase ------------------------------------------------------------------------------
    command_window: int = 32  # MaxCmdSN - ExpCmdSN + 1 when idle
    immediate_commands: int = 8  # outstanding; one more is rejected with 0x06
    max_recv_data_segment: int = 256 * KiB  # what we declare
    first_burst: int = 256 * KiB
    max_burst: int = 16 * MiB - KiB  # what we agree to; open-iscsi asks for exactly this
    r2t_bytes: int = 1 * MiB  # the largest single R2T or read burst we make
    session_write_bytes: int = 8 * MiB  # write data held for one session before R2Ts wait
    session_output_bytes: int = 1 * MiB  # unsent answers before reading from the disk waits
    output_backpressure_bytes: int = 4 * MiB  # unsent answers before we stop reading the socket
    r2t_seconds: float = 60.0  # a solicited burst must have arrived by then
    transmit_stall_seconds: float = 60.0  # the peer reads nothing for so long: drop
    nop_silence_seconds: float = 30.0  # then we ping, but only who has answered or pinged before
    nop_answer_seconds: float = 30.0
    reinstatements_per_minute: int = 3

    # -- a turn ------------------------------------------------------------------------------------------
    turn_pdus: int = 64
    turn_seconds: float = 0.004
    spin_seconds: float = 0.00006  # a wake-up costs more than this much polling

    # -- disks -------------------------------------------------------------------------------------------
    blank_bytes: int = 64 * MiB
    overlay_budget_bytes: int = 1 * GiB  # what one anonymous disk may allocate
    grace_seconds: float = 30.0  # how long a disposable disk waits for its initiator to come back
    unit_threads: int = 4  # blocking disk calls at once, per logical unit
    worker_threads: int = 16  # ... per worker
    pool_reserve_bytes: int = 2 * GiB  # free space below which new disposable disks are refused
    max_transfer_bytes: int = 32 * MiB  # MAXIMUM TRANSFER LENGTH; the acceptance suite uses all of it

    # -- housekeeping ------------------------------------------------------------------------------------
    janitor_seconds: float = 600.0
    orphan_age_seconds: float = 3600.0  # an overlay nobody knows is left alone until this old
    unknown_target_seconds: float = 300.0  # one warning per (address, name) in this time
    unknown_target_entries: int = 10_000  # LRU
    log_lines_per_second: float = 50.0

    # -- processes ---------------------------------------------------------------------------------------
    heartbeat_seconds: float = 1.0
    heartbeat_misses: int = 5  # a worker silent for this many beats is killed
    drain_seconds: float = 3.0  # SIGTERM to SIGKILL


DEFAULT = Limits()
