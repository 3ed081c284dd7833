"""What several Linux machines, or several paths, do with one disk.

Source: fence_scsi(8), fence_mpath(8), mpathpersist(8), sg_persist(8), multipath.conf(5), multipathd(8); SPC-4
§5.13 behind them.
Knows how clusters use a target.  Does not know how the daemon is started: as in scenarios.py.

``shared`` is a target with one disk for everybody, for as long as the daemon lives; one that outlives the
daemon is rented.  A scenario with ``beside`` has two machines, a and b, that share nothing but the target and
the folder they meet in."""

from tests.guest.scenarios import RECORD, Scenario

# One block at a time, past the page cache: what the medium says, not what Linux remembers.
BLOCKS = """
# put BLOCK TEXT / got BLOCK      put ends with another code than 0 when the disk refuses
size=512
put() {
    printf "%-${size}s" "$2" |
        dd of="$D" bs=$size seek="$1" count=1 oflag=direct conv=notrunc 2>put.said
}
got() { dd if="$D" bs=$size skip="$1" count=1 iflag=direct 2>/dev/null | tr -d ' '; }
# refused BLOCK TEXT      for a reservation, and at once: tried again it would take minutes, but an
#                         emulated machine beside others takes seconds to start dd
at_once=20
refused() {
    started=$(date +%s)
    if put "$@"; then fail "a write was taken"; fi
    grep -q 'Invalid exchange' put.said || fail "refused, but not for a reservation: $(cat put.said)"
    took=$(($(date +%s) - started))
    [ $took -le $at_once ] || fail "a write was refused after $took s"
}
"""

TWO_NODES = (
    RECORD
    + BLOCKS
    + """
record shared
"""
)

# rent MIB...      a target of one's own, with a disk of each size
RENT = (
    RECORD
    + BLOCKS
    + """
rent() {
    host rent "$@" >/root/rented
    of_rented
}
of_rented() {
    read -r name user secret </root/rented
    record "${name#"$PREFIX"}"
    set_of node.session.auth.authmethod CHAP
    set_of node.session.auth.username "$user"
    set_of node.session.auth.password "$secret"
}
"""
)

RESERVATIONS = Scenario(
    "reservations",
    "two machines: write exclusive lets the other read and refuses its writes, until it is released",
    TWO_NODES
    + """
# Nothing goes unasked: the parameter list of PERSISTENT RESERVE OUT comes by R2T.
set_of node.session.iscsi.ImmediateData No
set_of node.session.iscsi.InitialR2T Yes
login
D=$(disk "$target")
put 0 from-a
sg_persist -n --out --register --param-sark=0xa1 "$D"
sg_persist -n --out --reserve --param-rk=0xa1 --prout-type=1 "$D"
sg_persist -n --in --read-reservation "$D" | tee reservation
grep -q 'Write Exclusive' reservation
say reserved
await tried
[ "$(got 0)" = from-a ] || fail "block 0 holds $(got 0)"
put 0 again-from-a
sg_persist -n --out --release --param-rk=0xa1 --prout-type=1 "$D"
say released
await written
[ "$(got 0)" = from-b ] || fail "block 0 holds $(got 0)"
sg_persist -n --out --clear --param-rk=0xa1 "$D"
logout
""",
    beside=TWO_NODES
    + """
login
D=$(disk "$target")
await reserved
[ "$(got 0)" = from-a ] || fail "block 0 holds $(got 0)"
refused 0 from-b
sg_persist -n --in --read-keys "$D" | grep -q 0xa1 || fail "the key of the other is not to be seen"
expect 24 sg_persist -n --out --release --param-rk=0xa1 --prout-type=1 "$D"
say tried
await released
put 0 from-b
say written
logout
""",
    short=True,
    cluster=True,
)

FENCE = """
login
D=$(disk "$target")
fence() {
    action=$1 key=$2
    shift 2
    fence_scsi -o "$action" -k "$key" -d "$D" "$@"
}
"""

# Before each step of fence_scsi: the process that owns the disk dies, the initiator finds its successor.
KILL_BEFORE_EACH_STEP = """
cat >/root/back <<'END'
back() {
    for session in /sys/class/iscsi_session/session*; do
        tries=0
        while [ "$(cat $session/state)" = LOGGED_IN ] && [ $tries -lt 30 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done
        while [ "$(cat $session/state)" != LOGGED_IN ]; do sleep 0.1; done
    done
}
END
. /root/back
cat >/root/turs <<'END'
#!/bin/sh
. /guest/guest.sh
. /root/back
host $KILL >&2
back
until sg_turs "$@"; do sleep 0.1; done
END
chmod +x /root/turs
# A write may find nobody to refuse it, and waits for the next owner.
at_once=100
"""

NODE_A = """
fence on a1 $STEPS
say a-on
await b-writes
until [ "$(got 1)" -ge 3 ]; do sleep 0.1; done
fence off b2 $STEPS
frozen=$(got 1)
say fenced
expect 2 fence status b2
fence status a1
put 2 after-fence
await b-tried
$AFTER
say once-more
await b-refused
[ "$(got 1)" = "$frozen" ] || fail "b wrote $frozen and, once fenced, $(got 1)"
[ "$(got 2)" = after-fence ] || fail "block 2 holds $(got 2)"
say go-on
await b-back
[ "$(got 1)" = back ] || fail "b is not back: $(got 1)"
sg_persist -n --out --clear --param-rk=0xa1 "$D"
logout
"""

NODE_B = """
await a-on
fence on b2 $STEPS
number=1
put 1 $number
say b-writes
# In one process, so that it is many a second.
while put 1 $number; do number=$((number + 1)); done
echo "b wrote $((number - 1)) times, then: $(cat put.said)"
grep -q 'Invalid exchange' put.said || fail "refused, but not for a reservation: $(cat put.said)"
await fenced
refused 1 $number
say b-tried
until [ -e /shared/once-more ]; do
    if put 1 $number; then fail "a write was taken"; fi
    grep -q 'Invalid exchange' put.said || fail "refused, but not for a reservation: $(cat put.said)"
done
at_once=20
refused 1 $number
say b-refused
await go-on
fence on b2
put 1 back
say b-back
logout
"""

FENCING = Scenario(
    "fencing",
    "fence_scsi on, status and off between two machines: the fenced one's writes fail at once",
    TWO_NODES + FENCE + NODE_A.replace("$STEPS", "").replace("$AFTER", ""),
    beside=TWO_NODES + FENCE + NODE_B.replace("$STEPS", ""),
    cluster=True,
)


def _killing(script: str, deed: str) -> str:
    after = f'host {deed}\nback\nuntil sg_turs "$D"; do sleep 0.1; done'
    script = script.replace("$STEPS", "--sg_turs-path=/root/turs --power-timeout=300")
    return FENCE + KILL_BEFORE_EACH_STEP.replace("$KILL", deed) + script.replace("$AFTER", after)


FENCING_WORKER_KILLED = Scenario(
    "fencing-worker-killed",
    "the same, while the worker that owns the disk dies before every step: never can both write",
    TWO_NODES + _killing(NODE_A, "kill-worker"),
    beside=TWO_NODES + _killing(NODE_B, "kill-worker"),
    deeds=frozenset({"kill-worker"}),
    seconds=1500,
    cluster=True,
)

FENCING_DAEMON_KILLED = Scenario(
    "fencing-daemon-killed",
    "the same on a rented target, while the whole daemon dies before every step",
    RENT + "rent 64\ncp rented /shared/whose\nsay whose-is-there\n" + _killing(NODE_A, "kill-daemon"),
    beside=RENT
    + "await whose-is-there\ncp /shared/whose /root/rented\nof_rented\n"
    + _killing(NODE_B, "kill-daemon"),
    deeds=frozenset({"kill-daemon", "rent"}),
    seconds=1800,
    cluster=True,
)

# fio in a file system, so that Linux has something to remount.  Tells how long an operation waited at most.
LOAD = """
# load SECONDS / loaded       start fio on a file in /mnt; wait for it, and for what it found
load() {
    fio --name=load --filename=/mnt/load --size=24M --rw=randrw --rwmixread=20 --bs=4k --iodepth=8 \\
        --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --time_based \\
        --runtime="$1" --output=fio.txt --output-format=normal,terse >fio.said 2>&1 &
    fio=$!
}
loaded() {
    ended=0
    wait $fio || ended=$?
    [ $ended = 0 ] || { cat fio.said fio.txt; fail "fio ended with $ended"; }
    refuse_in_log 'I/O error|critical|offline|remount|aborting journal'
    grep -q ' /mnt [a-z0-9]* rw' /proc/mounts || fail "/mnt was remounted: $(grep /mnt /proc/mounts)"
    # terse output, version 3: the greatest latency of reads and writes, in microseconds
    grep 'lat.*max=' fio.txt
    longest=$(grep '^3;' fio.txt | awk -F';' '{ printf "%.1f s", ($39 > $80 ? $39 : $80) / 1e6 }')
    tell "longest stall: $longest"
}
"""

KILLED = Scenario(
    "killed-under-load",
    "fio with crc32c verify in ext4 through kill -9 of the owner, then of the daemon, then a rolling restart",
    RENT
    + LOAD
    + """
rent 96
login
D=$(disk "$target")
mkfs.ext4 -q "$D"
mount "$D" /mnt
cp -a /usr/sbin /mnt
sync
load 50
sleep 5
host kill-worker
sleep 10
host kill-daemon
sleep 12
host restart-workers
loaded
echo 3 >/proc/sys/vm/drop_caches
for file in /usr/sbin/*; do
    [ -L "$file" ] || cmp "$file" "/mnt/sbin/${file##*/}"
done
umount /mnt
e2fsck -f -n "$D"
logout
""",
    deeds=frozenset({"kill-worker", "kill-daemon", "restart-workers", "rent"}),
    seconds=600,
    cluster=True,
)

# One disk over two portals.
PATHS = """
# multipaths TARGET [LINE]      log in through both portals; LINE goes to the defaults of multipath.conf
multipaths() {
    target=$1
    cat >/etc/multipath.conf <<END
defaults {
    find_multipaths no
    polling_interval 2
    ${2:-}
}
devices {
    device {
        vendor "SCSIPUB"
        product ".*"
        path_grouping_policy group_by_prio
        prio alua
        hardware_handler "1 alua"
        path_checker tur
        failback immediate
        no_path_retry queue
    }
}
END
    /usr/lib/systemd/systemd-udevd --daemon
    udevadm trigger
    for portal in "$PORTAL" "$SECOND"; do
        iscsiadm -m node -o new -T "$target" -p "$portal" >/dev/null
        iscsiadm -m node -T "$target" -p "$portal" --login
    done
    first=$(disk "$target") second=$(disk "$target" 1)
    udevadm settle
    multipathd
    tries=0
    until multipath -ll | tee paths | grep -c 'active ready running' | grep -qx 2; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "not two paths: $(cat paths; multipath -v3 -ll 2>&1 | tail -30)"
        sleep 0.2
    done
    cat paths
    D=/dev/mapper/$(head -n 1 paths | cut -d' ' -f1)
    udevadm settle
}
apart() {
    multipath -f "${D##*/}"
    for portal in "$PORTAL" "$SECOND"; do iscsiadm -m node -T "$target" -p "$portal" --logout; done
}
"""

MULTIPATH = Scenario(
    "multipath",
    "dm-multipath over two portals: the sessions end one after the other, and I/O goes on",
    RECORD
    + LOAD
    + PATHS
    + """
multipaths "${PREFIX}shared"
sg_rtpg -d "$first" | tee groups
[ "$(grep -c 'active/optimized' groups)" = 2 ] || fail "not one group for each portal"
group_of() { sg_vpd -p di_port "$1" | grep -i 'target port group'; }
[ "$(group_of "$first")" != "$(group_of "$second")" ] || fail "both paths lead to $(group_of "$first")"
mkfs.ext4 -q "$D"
mount "$D" /mnt
load 30
sleep 5
host kick 0
sleep 8
multipath -ll
host kick 1
sleep 6
iscsiadm -m node -T "$target" -p "$SECOND" --logout
loaded
multipath -ll
umount /mnt
e2fsck -f -n "$D"
multipath -f "${D##*/}"
iscsiadm -m node -T "$target" -p "$PORTAL" --logout
""",
    deeds=frozenset({"kick"}),
    cluster=True,
)

FENCE_MPATH_NODE = (
    RECORD
    + BLOCKS
    + PATHS
    + """
multipaths "${PREFIX}ports" "reservation_key 0x$KEY"
size=4096  # Linux writes less than a page of a map through its cache, and says GOOD before it has tried
fence() { fence_mpath -o "$1" -n "$2" -d "$D"; }
# registered KEY TIMES      so many paths are registered with it
registered() {
    mpathpersist -i -k -d "$D" | tee keys
    [ "$(grep -c "0x$1\\>" keys)" = "$2" ] || fail "not $2 registrations of $1"
}
"""
)

FENCE_MPATH = Scenario(
    "fence-mpath",
    "mpathpersist and fence_mpath: two machines with two paths each, every path registered; fenced on both",
    "KEY=a1\n"
    + FENCE_MPATH_NODE
    + """
fence on a1
registered a1 2
mpathpersist -i -r -d "$D" | tee reservation
grep -q 'Write Exclusive, registrants only' reservation
say a-on
await b-on
registered b2 2
mpathpersist -i -s -d "$D"
fence off b2
registered b2 0
expect 2 fence status b2
fence status a1
put 2 after-fence
say fenced
await b-tried
[ "$(got 1)" = from-b ] || fail "block 1 holds $(got 1)"
say go-on
await b-back
registered b2 2
[ "$(got 1)" = b-back ] || fail "block 1 holds $(got 1)"
mpathpersist -o --clear --param-rk=0xa1 -d "$D"
registered a1 0
apart
""",
    beside="KEY=b2\n"
    + FENCE_MPATH_NODE
    + """
await a-on
refused 1 too-early
fence on b2
put 1 from-b
say b-on
await fenced
refused 1 fenced
for path in "$first" "$second"; do (D=$path; refused 1 past-the-map); done
say b-tried
await go-on
fence on b2
put 1 b-back
say b-back
apart
""",
    seconds=600,
    cluster=True,
)

TWO_FILE_SYSTEMS = Scenario(
    "two-file-systems",
    "a rented target with two disks: ext4 and XFS, whole after logout, login and a restart of the daemon",
    RENT
    + """
rent 128 384
login
first=$(disk "$target") second=$(disk "$target" 1)
mkfs.ext4 -q "$first"
mkfs.xfs -q "$second"
mkdir /mnt/ext4 /mnt/xfs
mount_both() { mount -t ext4 "$first" /mnt/ext4; mount -t xfs "$second" /mnt/xfs; }
umount_both() { umount /mnt/ext4 /mnt/xfs; }
hashes() { for at in ext4 xfs; do (cd /mnt/$at; find . -type f -exec sha256sum {} + | sort -k 2); done; }
mount_both
for at in ext4 xfs; do
    cp -a /usr/sbin /mnt/$at
    head -c 20000000 /dev/urandom >/mnt/$at/noise
done
hashes >before
umount_both
logout
host restart-daemon
login
first=$(disk "$target") second=$(disk "$target" 1)
e2fsck -f -n "$first"
xfs_repair -n "$second" >repair.said 2>&1 || { cat repair.said; fail "xfs_repair found something"; }
mount_both
hashes >after
[ "$(wc -l <before)" -gt 20 ]
cmp before after
umount_both
logout
refuse_in_log 'I/O error|critical|corrupt'
""",
    deeds=frozenset({"restart-daemon", "rent"}),
    cluster=True,
)

CLUSTERS = (
    RESERVATIONS,
    FENCING,
    FENCING_WORKER_KILLED,
    FENCING_DAEMON_KILLED,
    KILLED,
    MULTIPATH,
    FENCE_MPATH,
    TWO_FILE_SYSTEMS,
)
