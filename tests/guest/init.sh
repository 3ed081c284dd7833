#!/bin/sh
# The first process of a guest: load modules, mount what the host shares, run the script, power off.
export PATH=/usr/sbin:/usr/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /dev/pts /var
ln -s /run/lock /var/lock
ln -s /run /var/run
while read -r module; do insmod "$module" || echo "init: $module does not load"; done </guest/modules
options=trans=virtio,version=9p2000.L,msize=131072
mount -t 9p -o $options own /own
[ ! -s /own/tags ] || mount -t 9p -o $options shared /shared
# Should the host's side be killed, nobody is left to stop us.
(sleep "$(cat /own/limit)"; poweroff -f) &
cp -a /own/files/. / 2>/dev/null
hostname "$(cat /own/name)"
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
[ -e /etc/iscsi/initiatorname.iscsi ] ||
    echo "InitiatorName=iqn.1993-08.org.debian:guest.$(hostname)" >/etc/iscsi/initiatorname.iscsi
iscsid
cut -d' ' -f1 /proc/uptime >/own/booted
cd /root || exit
# The code is written by the script's own shell at its end, so output that lags behind is complete when it is there.
sh -eu -c '. /guest/guest.sh; . /own/script' >/own/output 2>&1 </dev/null
echo $? >/own/code.part
sync
mv /own/code.part /own/code
poweroff -f
