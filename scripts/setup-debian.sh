#!/bin/sh
# Installs what building, testing and the demonstration need from Debian, when it is missing. Run by `make setup`.
# Quick when everything is there; needs root, or sudo, only when something is not.
set -eu
packages="make git ca-certificates qemu-system-x86 qemu-utils libnbd-bin nbdkit nbdfuse fuse3 python3 python3-libnbd fio e2fsprogs cpio xz-utils restic borgbackup"

missing=
for package in $packages; do
	case $package in
	nbdfuse) # a package of its own since Debian 13, part of libnbd-bin before
		command -v nbdfuse >/dev/null 2>&1 && continue
		apt-cache show nbdfuse >/dev/null 2>&1 || continue
		;;
	esac
	status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=
	[ "$status" = installed ] || missing="$missing $package"
done

# The guest's parts are downloaded by apt, which needs its package lists for that.
if [ -z "$missing" ] && apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1; then
	exit 0
fi

root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "setup: needs root once; as root, run:" >&2
		echo "  apt-get update && apt-get install -y --no-install-recommends$missing" >&2
		exit 1
	fi
	root=sudo
fi
echo "setup: apt-get update, then install:${missing:- nothing}"
$root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 update
if [ -n "$missing" ]; then
	# shellcheck disable=SC2086 # a list of words
	$root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends $missing </dev/null
fi
