#!/bin/sh
# fetched.sh MODULE@VERSION ARGS: runs a checker that is fetched, not installed. When it, or what it needs from the network,
# cannot be reached, that is said plainly and noted in .cache/not-checked, which `make check` repeats at its end; with
# CHECK_STRICT=1 it fails. What the checker finds always fails.
set -u
tool=$1
shift
go=${GO:-go}
mkdir -p .cache
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

missing() {
	cat "$out" >&2
	echo "check: NOT CHECKED by $tool: $1" | tee -a .cache/not-checked >&2
	[ "${CHECK_STRICT:-}" != 1 ]
	exit
}

CGO_ENABLED=0 "$go" run "$tool" -version >"$out" 2>&1 || missing "it cannot be fetched or built"
echo "check: $tool"
CGO_ENABLED=0 "$go" run "$tool" "$@" >"$out" 2>&1 && exit 0
if grep -qE 'fetching vulnerabilities: .*(no such host|dial tcp|timeout|refused|Forbidden|EOF)' "$out"; then
	missing "its database cannot be reached"
fi
cat "$out" >&2
exit 1
