#!/bin/sh
# Installs what building, testing and the demonstration need from Debian, when it is missing. Run by `make setup`.
# Quick when everything is there; needs root, or sudo, only when something is not. The argument says what for:
# run (the demonstration), test, or all (also what `make bench` compares with).
set -eu
if ! command -v apt-get >/dev/null 2>&1; then
	echo "setup: this is not Debian. Install by hand: QEMU for x86-64 with qemu-img, libnbd's tools, e2fsprogs." >&2
	exit 1
fi
# The race detector needs a C compiler; the rest are judges of what we write.
tests="gcc libc6-dev libnbd-bin nbdkit fuse3 python3 python3-libnbd python3-winrm fio e2fsprogs fdisk cpio chromium fonts-noto-cjk"
bench="restic borgbackup"
packages="make git ca-certificates qemu-system-x86 qemu-utils xz-utils"
tests_wanted=
case ${1:-all} in
run) ;;
test) packages="$packages $tests" tests_wanted=1 ;;
all) packages="$packages $tests $bench" tests_wanted=1 ;;
*)
	echo "usage: setup-debian.sh [run|test|all]" >&2
	exit 2
	;;
esac

find_missing() {
	missing=
	for package in $packages ${tests_wanted:+nbdfuse}; do
		# nbdfuse is a package of its own since Debian 13, part of libnbd-bin before.
		if [ "$package" = nbdfuse ]; then
			command -v nbdfuse >/dev/null 2>&1 && continue
			apt-cache show nbdfuse >/dev/null 2>&1 || continue
		fi
		status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=
		[ "$status" = installed ] || missing="$missing $package"
	done
}

find_missing
# The guest's parts are downloaded by apt, which needs its package lists for that.
if [ -z "$missing" ] && apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1; then
	exit 0
fi

root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "setup: needs root once; as root, run:" >&2
		echo "  apt-get update && apt-get install -y --no-install-recommends${missing:- make}" >&2
		exit 1
	fi
	root=sudo
fi
echo "setup: apt-get update, then install:${missing:- nothing}"
$root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 update
find_missing # the new lists may offer more
if [ -n "$missing" ]; then
	# shellcheck disable=SC2086 # a list of words
	$root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends $missing </dev/null
fi
