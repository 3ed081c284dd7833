"""What a real Linux does with a target, one scenario per guest.

Source: iscsiadm(8) with its exit codes, the answers of RFC 7143 §11.13.5 that lead to them, blkdiscard(8),
fio(1).
Knows open-iscsi's ways.  Does not know how the daemon is started: the scenarios see a portal and a prefix,
and ask the host for deeds.

Scripts run under ``sh -eu`` with guest.sh; PORTAL and PREFIX are set."""

import attrs

# The accounts of the configuration that __main__.py writes; 16 characters suit every initiator.
USER, SECRET = "guest", "guest-secret-016"
TARGET_USER, TARGET_SECRET = "target", "target-secret-16"


@attrs.frozen
class Scenario:
    """A script that must end with code 0, and what it needs of the side that runs it."""

    name: str
    shows: str
    script: str
    beside: str = ""  # what a second machine does meanwhile
    short: bool = False  # part of the short form, which every change runs
    cluster: bool = False
    deeds: frozenset[str] = frozenset()
    seconds: int = 300  # many times what it takes: beside others on two cores everything does


# Log in statically: no discovery, so nothing depends on the address that SendTargets gives.
RECORD = """
record() {
    target=$PREFIX$1
    iscsiadm -m node -o new -T "$target" -p "$PORTAL" >/dev/null
    set_of() { iscsiadm -m node -T "$target" -p "$PORTAL" -o update -n "$1" -v "$2"; }
    login() { iscsiadm -m node -T "$target" -p "$PORTAL" --login; }
    logout() { iscsiadm -m node -T "$target" -p "$PORTAL" --logout; }
}
# at_once COMMAND...      it must end before a retry of the login would (open-iscsi waits 15 s for each)
at_once() {
    started=$(date +%s)
    "$@" || return $?
    [ $(($(date +%s) - started)) -le 5 ] || fail "'$*' took $(($(date +%s) - started)) s: it was tried again"
}
"""

CHAP = f"""
record chap
set_of node.session.auth.authmethod CHAP
set_of node.session.auth.username {USER}
set_of node.session.auth.password {SECRET}
"""

FILE_SYSTEM = Scenario(
    "file-system",
    "discovery, login, mkfs.ext4, a tree, logout, login within the grace, fsck clean, hashes equal",
    """
iscsiadm -m discovery -t sendtargets -p "$PORTAL" | tee found
grep -q "^$PORTAL,[0-9]* ${PREFIX}blank$" found || fail "discovery did not give $PORTAL for ${PREFIX}blank"
target=${PREFIX}blank
iscsiadm -m node -T "$target" --login
D=$(disk "$target")
mkfs.ext4 -q "$D"
mount "$D" /mnt
mkdir -p /mnt/tree/of/folders
cp -a /usr/sbin /mnt/tree/of
for size in 0 1 511 512 513 4096 65537 1000000 9000000; do
    head -c $size /dev/urandom >/mnt/tree/of/folders/$size
done
ln -s folders/512 /mnt/tree/of/link
hashes() {
    cd /mnt/tree
    find . -type f -exec sha256sum {} + | sort
    find . -type l -exec readlink {} \\;
    cd
}
hashes >before
sync
umount /mnt
iscsiadm -m node -T "$target" --logout
iscsiadm -m node -T "$target" --login
D=$(disk "$target")
e2fsck -f -n "$D"
mount -o ro "$D" /mnt
hashes >after
umount /mnt
iscsiadm -m node -T "$target" --logout
[ "$(wc -l <before)" -gt 10 ]
cmp before after
""",
    short=True,
)

STATIC = Scenario(
    "static-login",
    "a record made by hand (-o new), authmethod None",
    RECORD
    + """
record blank
set_of node.session.auth.authmethod None
login
D=$(disk "$target")
echo hello | dd of="$D" bs=512 conv=sync,fsync 2>/dev/null
sg_readcap "$D"
sg_luns "$D"
sg_turs "$D"
logout
""",
)

CHAP_LOGIN = Scenario(
    "chap",
    "CHAP with each algorithm, mutual CHAP; a wrong password fails at once with 24",
    RECORD
    + CHAP
    + f"""
for algorithm in MD5 SHA1 SHA256 SHA3-256; do
    set_of node.session.auth.chap_algs $algorithm
    login
    disk "$target" >/dev/null
    logout
    echo "CHAP with $algorithm"
done
set_of node.session.auth.chap_algs SHA3-256,SHA256,SHA1,MD5
set_of node.session.auth.username_in {TARGET_USER}
set_of node.session.auth.password_in {TARGET_SECRET}
login
disk "$target" >/dev/null
logout
echo "mutual CHAP"

# Here it is the initiator that refuses: the target's proof does not fit.
set_of node.session.auth.password_in wrong-secret-016
expect 19 at_once login
set_of node.session.auth.password_in {TARGET_SECRET}
set_of node.session.auth.password wrong-secret-016
expect 24 at_once login
set_of node.session.auth.authmethod None
expect 24 at_once login
[ -z "$(disks "$target")" ]
""",
)

UNKNOWN = Scenario(
    "unknown-target",
    "a target that is not there fails at once with 19 and is not tried again",
    RECORD
    + """
record no-such-target
expect 19 at_once login
""",
)

DIGESTS = Scenario(
    "digests",
    "header and data digests in both directions",
    RECORD
    + """
record blank
set_of 'node.conn[0].iscsi.HeaderDigest' CRC32C
set_of 'node.conn[0].iscsi.DataDigest' CRC32C
login
iscsiadm -m session -P 2 | tee session
grep -q 'HeaderDigest: CRC32C' session
grep -q 'DataDigest: CRC32C' session
D=$(disk "$target")
head -c 8000000 /dev/urandom >data
dd if=data of="$D" bs=1M conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
head -c 8000000 "$D" | cmp - data
logout
refuse_in_log digest
""",
)

DISCARD = Scenario(
    "discard",
    "blkdiscard and blkdiscard -z leave zeros, and nothing else changes",
    RECORD
    + """
record blank
login
D=$(disk "$target")
[ "$(cat /sys/block/${D#/dev/}/queue/discard_max_bytes)" -gt 0 ] || fail "the disk takes no discards"
fill() { head -c 4194304 /dev/urandom | tr '\\0' x | dd of="$D" bs=1M conv=fsync 2>/dev/null; }
# others FIRST COUNT      how many bytes of these 4 KiB blocks are not zero
others() {
    echo 3 >/proc/sys/vm/drop_caches
    dd if="$D" bs=4096 skip="$1" count="$2" 2>/dev/null | tr -d '\\0' | wc -c
}
for how in '' -z; do
    fill
    [ "$(others 0 1024)" = 4194304 ]
    blkdiscard $how -o 1048576 -l 1048576 "$D"
    [ "$(others 256 256)" = 0 ] || fail "blkdiscard $how left $(others 256 256) bytes"
    [ "$(others 0 256)" = 1048576 ] || fail "blkdiscard $how touched what is before"
    [ "$(others 512 512)" = 2097152 ] || fail "blkdiscard $how touched what is after"
    blkdiscard $how "$D"
    [ "$(others 0 1024)" = 0 ] || fail "blkdiscard $how of the whole disk left $(others 0 1024) bytes"
    echo "blkdiscard $how"
done
logout
refuse_in_log 'I/O error|critical'
""",
)

TWO_UNITS = Scenario(
    "two-units",
    "a target with two logical units is two disks, each with its own content and its own name",
    RECORD
    + """
record multi
login
first=$(disk "$target") second=$(disk "$target" 1)
name() { cat "/sys/block/${1#/dev/}/device/wwid"; }
name "$first" | grep '^naa[.]6'
[ "$(name "$first")" != "$(name "$second")" ] || fail "both are called $(name "$first")"
for D in "$first" "$second"; do echo "$D" | dd of="$D" bs=512 conv=sync,fsync 2>/dev/null; done
echo 3 >/proc/sys/vm/drop_caches
[ "$(head -n 1 "$first")" = "$first" ]
[ "$(head -n 1 "$second")" = "$second" ]
logout
""",
)

KILL = Scenario(
    "kill-worker",
    "fio with crc32c verify for 20 s through a kill -9 of the worker: no error",
    RECORD
    + """
record blank
login
D=$(disk "$target")
# fio checks what it wrote a moment ago; this lies beyond its reach and must outlive the worker too.
head -c 4000000 /dev/urandom >still
dd if=still of="$D" bs=1M seek=50 conv=fsync 2>/dev/null
fio --name=verify --filename="$D" --size=48M --rw=randwrite --bs=4k --iodepth=16 --ioengine=libaio \\
    --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --time_based --runtime=20 >fio.txt &
fio=$!
sleep 7
host kill-worker
ended=0
wait $fio || ended=$?
cat fio.txt
[ $ended = 0 ] || fail "fio ended with $ended"
dmesg | grep -i 'detected conn error' || fail "the initiator noticed no broken connection"
refuse_in_log 'I/O error|critical|offline'
echo 3 >/proc/sys/vm/drop_caches
tail -c +$((50 * 1048576 + 1)) "$D" | head -c 4000000 | cmp - still
logout
""",
    deeds=frozenset({"kill-worker"}),
)

SCENARIOS = (FILE_SYSTEM, STATIC, CHAP_LOGIN, UNKNOWN, DIGESTS, TWO_UNITS, DISCARD, KILL)
