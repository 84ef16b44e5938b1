#!/bin/sh
# The first process of the demonstration guest. Parameters on the kernel command line:
#   us.role=idle|db|web|check|write   what to be (idle)
#   us.ip=10.77.0.10/24               address of the first network card; the next card, or the only one without this,
#                                     gets us.access (10.0.2.15/24, QEMU's user network)
#   us.data=vda|SERIAL|LABEL|none     the data disk: device name, virtio serial or file-system label (vda)
#   us.format=auto|never              auto: make ext4 on a blank data disk (auto)
#   us.interval=50ms                  time between records (db) or writes (write)
#   us.db=10.77.0.10:7000             the database (web)
#   us.disk=vdb                       the raw disk that write overwrites
export PATH=/bin:/sbin HOME=/
# On the serial console and, where there is one, on the screen.
say() {
	echo "understudy-guest: $*"
	[ ! -c /dev/tty0 ] || echo "understudy-guest: $*" 2>/dev/null >/dev/tty0 || true
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
[ -c /dev/console ] && exec </dev/console >/dev/console 2>&1
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
role=idle ip= access=10.0.2.15/24 data=vda format=auto interval=50ms db=10.77.0.10:7000 disk=vdb
for word in $(cat /proc/cmdline); do
	case $word in
	us.role=*) role=${word#*=} ;;
	us.ip=*) ip=${word#*=} ;;
	us.access=*) access=${word#*=} ;;
	us.data=*) data=${word#*=} ;;
	us.format=*) format=${word#*=} ;;
	us.interval=*) interval=${word#*=} ;;
	us.db=*) db=${word#*=} ;;
	us.disk=*) disk=${word#*=} ;;
	esac
done
say "boot role=$role"
hostname "shop-$role"
while read -r module; do insmod "$module" || say "insmod $module failed"; done </lib/modules/order

ip link set lo up
set -- "$ip" "$access"
[ -n "$ip" ] || shift
for nic in eth0 eth1; do
	[ -e /sys/class/net/$nic ] && [ -n "$1" ] || continue
	ip addr add "$1" dev $nic && ip link set $nic up && say "net $nic=$1"
	shift
done

agent() {
	for name in /sys/class/virtio-ports/*/name; do
		[ "$(cat "$name" 2>/dev/null)" = org.qemu.guest_agent.0 ] || continue
		port=${name%/name}
		while :; do
			qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /run -l /run/qemu-ga.log
			sleep 1
		done
	done
}
agent &

fsck=
attach() {
	[ "$data" = none ] && return
	device=
	for block in /sys/block/vd*; do
		[ -e "$block" ] || continue
		[ "${block##*/}" = "$data" ] || [ "$(cat "$block/serial" 2>/dev/null)" = "$data" ] || continue
		device=/dev/${block##*/}
	done
	[ -n "$device" ] || device=$(findfs "LABEL=$data" 2>/dev/null)
	[ -n "$device" ] || { say "data disk $data not found"; return 1; }
	if [ "$format" = auto ] && cmp -s -n 65536 "$device" /dev/zero; then
		# By path: this shell prefers its own mke2fs, which makes no ext4.
		/sbin/mke2fs -q -t ext4 -L data -m 0 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$device" || return
		say "data $device formatted"
	fi
	# A recovered disk must be right, not only mountable: the kernel replays the journal, then everything is checked.
	# What the kernel does not mount is left as it is.
	mount -t ext4 "$device" /data || { say "data $device does not mount"; return 1; }
	umount /data
	if /sbin/e2fsck -f -n "$device" >/run/fsck.log 2>&1; then
		fsck=clean
	else
		cat /run/fsck.log
		/sbin/e2fsck -f -y "$device" >/dev/null 2>&1
		[ $? -le 1 ] && fsck=repaired || fsck=errors
	fi
	mount -t ext4 "$device" /data || { say "data $device does not mount"; return 1; }
	say "data $device fsck=$fsck"
}

attach
attached=$?
if [ $attached != 0 ] && [ "$role" != idle ]; then
	say "role=$role failed: no data disk"
	role=none
fi
case $role in
db) shop db -dir /data -listen :7000 -interval "$interval" -fsck "$fsck" & ;;
web) shop web -dir /data -listen :80 -db "$db" & ;;
write) shop scribble -disk "/dev/$disk" -interval "$interval" & ;;
check)
	shop check /data/records
	say "role=check done status=$? fsck=$fsck"
	;;
idle) say "role=idle ready" ;;
none) ;;
*) say "role=$role is not known" ;;
esac
echo $! >/run/role.pid
# What was installed on the data disk starts wherever that is, whether or not anybody there knows it.
if [ -e /data/metrics-agent/settings.json ]; then metrics-agent run >/dev/null 2>&1 & fi
acpid -d >/dev/null 2>&1 &

# The first process must not end, and it buries the dead.
while :; do
	wait
	sleep 3600
done
