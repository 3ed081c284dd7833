"""A machine whose root lies on the target: what docs/netboot.md tells people to type, typed.

Source: iscsistart(8), which is what Debian's initramfs (and so a Raspberry Pi's) calls before the root is
mounted, and Linux's names for its parameters.
Knows open-iscsi and busybox.  The first stage of the boot, iPXE's, has a test of its own in tests/wire."""

from tests.guest.scenarios import RECORD, SECRET, USER, Scenario

# What the installer does, and then what the initramfs does, with the daemon that manages sessions gone: at
# that point of a boot there is none.
ROOT = (
    RECORD
    + """
address=${PORTAL%:*} port=${PORTAL##*:}
fill() {        # a root of the smallest kind: one static program, and what it is to do first
    mkfs.ext4 -q -L netroot "$1"
    mount "$1" /mnt
    mkdir -p /mnt/bin /mnt/proc /mnt/etc
    cp /usr/bin/busybox /mnt/bin
    echo "$2" >/mnt/etc/motd
    cat >/mnt/start <<'END'
#!/bin/busybox sh
/bin/busybox cat /etc/motd
/bin/busybox date >/etc/booted || exit 3
/bin/busybox sync
END
    chmod +x /mnt/start
    umount /mnt
}
boot() {        # from the disk of this target, as the initramfs would, and back
    D=$(disk "$1")
    mount "$D" /mnt
    said=$(chroot /mnt /bin/busybox sh /start)
    [ -s /mnt/etc/booted ]
    umount /mnt
    echo "booted: $said"
    [ "$said" = "$2" ] || fail "the root said '$said'"
}
"""
)

NETBOOT = Scenario(
    "netboot",
    "a root file system on the target, reached with iscsistart as an initramfs does, plain and with CHAP",
    ROOT
    + f"""
record blank
login
fill "$(disk "$target")" "hello from a disk far away"
logout
record chap
set_of node.session.auth.authmethod CHAP
set_of node.session.auth.username {USER}
set_of node.session.auth.password {SECRET}
login
fill "$(disk "$target")" "hello from a disk with a lock"
logout
iscsiadm -k 0

name=$(sed -n 's/^InitiatorName=//p' /etc/iscsi/initiatorname.iscsi)
iscsistart -i "$name" -t "${{PREFIX}}blank" -g 1 -a "$address" -p "$port"
boot "${{PREFIX}}blank" "hello from a disk far away"
iscsistart -i "$name" -t "${{PREFIX}}chap" -g 1 -a "$address" -p "$port" -u {USER} -w {SECRET}
boot "${{PREFIX}}chap" "hello from a disk with a lock"
refuse_in_log 'I/O error|critical'
""",
)
