# What a guest's script may use.  The script runs under `sh -eu`; its output and exit code go back to the host.

# expect CODE COMMAND...     the command must end with this code (0 when all is well); says so when it does not
expect() {
    expected=$1
    shift
    code=0
    "$@" || code=$?
    [ "$code" -eq "$expected" ] || { echo "FAILED: '$*' ended with $code, not $expected"; exit 1; }
}

fail() { echo "FAILED: $*"; exit 1; }

# tell WORDS              shown beside the result
tell() { echo "told: $*"; }

# refuse_in_log PATTERN   the kernel must not have said this
refuse_in_log() { if dmesg | grep -iE "$1"; then fail "the kernel said so"; fi; }

# host DEED               ask the host to do something (kill a worker, change a file); waits; its answer is printed
host() {
    ask=$(mktemp -u XXXXXX)
    echo "$*" >/own/asks/.$ask
    mv /own/asks/.$ask /own/asks/$ask
    while [ ! -e /own/answers/$ask ]; do sleep 0.1; done
    tail -n +2 /own/answers/$ask
    return "$(head -n 1 /own/answers/$ask)"
}

# say NAME [TEXT] / await NAME [SECONDS]      guests that run side by side meet through these
say() { name=$1; shift; echo "$*" >/shared/.$name.$$; mv /shared/.$name.$$ /shared/$name; }
await() {
    until=$(($(date +%s) + ${2:-300}))
    while [ ! -e "/shared/$1" ]; do
        [ "$(date +%s)" -lt "$until" ] || fail "nobody said $1"
        sleep 0.1
    done
    cat "/shared/$1"
}

# disks IQN               the block devices of all sessions with this target, by LUN: sda sdb
disks() {
    for session in /sys/class/iscsi_session/session*; do
        [ -e "$session/targetname" ] && [ "$(cat "$session/targetname")" = "$1" ] || continue
        for block in "$session"/device/target*/*/block/*; do
            [ -e "$block" ] && echo "${block%/block/*} ${block##*/}"
        done
    done | sort | cut -d' ' -f2
}

# disk IQN [LUN-index]    the first (or given) disk's device file, waiting until the kernel has it
disk() {
    tries=0
    while :; do
        name=$(disks "$1" | sed -n "$((${2:-0} + 1))p")
        [ -z "$name" ] || break
        tries=$((tries + 1))
        [ $tries -lt 150 ] || { echo "FAILED: no disk of $1 appeared" >&2; exit 1; }
        sleep 0.1
    done
    echo "/dev/$name"
}
