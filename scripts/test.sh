#!/usr/bin/env bash
# Runs the tests of every module; the last line is the count. Fails if a test fails
# or is skipped, if a package's tests did not run, or if the tests' output contains a
# secret, cookie, session id or password that a test has noted (internal/leaktest).
set -euo pipefail
cd "$(dirname "$0")/.."

# Holds the tests' output and the secrets that they have used.
export TEST_NOTED=$PWD/.build/noted
rm -rf "$TEST_NOTED"
mkdir -p "$TEST_NOTED"

# The tests' temporary files, and what one package leaves to the next. They are in memory if
# there are 2 GB for them: the many small files of databases are a fifth of the time that the
# kernel takes.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] && [ "$(df -kP /dev/shm | awk 'END {print $4}')" -ge $((2 << 20)) ]; then
	TMPDIR=/dev/shm
fi
TEST_RUN=$(mktemp -d "${TMPDIR:-/tmp}/samesid-XXXXXX")
export TEST_RUN TMPDIR=$TEST_RUN
trap 'rm -rf "$TEST_RUN"' EXIT
chmod 1777 "$TEST_RUN" # Postgres is another user's

# A selection of the tests notes fewer secrets than all of them.
whole=
narrowed=' --?(run|skip|short)'
if [ "${GOPKGS:-./...}" = ./... ] && ! [[ " ${GOTESTFLAGS:-}" =~ $narrowed ]]; then
	whole=-whole
fi

# These packages are tested without the race detector, which would take most of their time.
# Parity and the browser send requests to programs, and what these do in parallel is tested
# with it in the packages that they are made of. The broken stores of storetest are programs
# too; its calls in parallel run with the detector on each real store. The others start no
# goroutines.
plain='/(parity|tests/(alerts|browser|schema)|backends/storetest|internal/(archtest|testsummary))(/|$)'

# tests runs tests of each module. make check has vet.
tests() {
	# $GOTESTFLAGS is a list of flags.
	# shellcheck disable=SC2086
	scripts/each-module.sh go test -vet=off -json "$@" ${GOTESTFLAGS:-}
}

# One package after another, while the root module's use what these leave of the machine; in
# CI before them, as nobody waits for it.
beside() {
	local status=0
	ONLY=$plain GOTESTFLAGS=${flags/ -race / } tests -p=1 || status=1
	WITHOUT=$plain MODULES=nested tests -p=1 || status=1
	return $status
}

all() {
	local status=0 flags=" ${GOTESTFLAGS:-} "
	if [ -z "$whole" ] || ! [[ $flags = *' -race '* ]]; then
		tests
		return
	fi
	if [ "${FULL:-}" = 1 ]; then
		beside || status=1
		WITHOUT=$plain MODULES=root tests || status=1
		return $status
	fi
	# A pipeline, through which nothing goes: an interrupt ends both, and pipefail fails for both.
	beside >"$TEST_NOTED/beside.json" | WITHOUT=$plain MODULES=root tests </dev/null || status=1
	cat "$TEST_NOTED/beside.json"
	return $status
}

go build -buildvcs=false -o .build/testsummary ./internal/testsummary
# $whole is one argument or none.
# shellcheck disable=SC2086
all | tee "$TEST_NOTED/output.json" | .build/testsummary -noted "$TEST_NOTED" $whole
