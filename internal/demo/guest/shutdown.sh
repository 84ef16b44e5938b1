#!/bin/sh
# Ends the guest cleanly: called for the power button and by the guest agent, whatever the arguments, and for reboot under that name.
export PATH=/bin:/sbin
{
	echo "understudy-guest: shutdown"
	kill "$(cat /run/role.pid)"
	sync
	umount /data || { sleep 1; umount -r /data; }
} >/dev/console 2>&1
case "$0 $*" in
*reboot* | *" -r"*) exec busybox reboot -f ;;
esac
exec busybox poweroff -f
