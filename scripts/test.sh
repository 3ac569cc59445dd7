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

# A selection of the tests notes fewer secrets than all of them.
whole=
narrowed=' --?(run|skip|short)'
if [ "${GOPKGS:-./...}" = ./... ] && ! [[ " ${GOTESTFLAGS:-}" =~ $narrowed ]]; then
	whole=-whole
fi

# Vet has looked at all of it before, in make check.
#
# Parity is tested without the race detector, which takes a quarter of its time: its
# servers are programs of their own, built without it, and its tests send them
# requests. What parity calls in its own process is tested with it in its own packages.
plain='/parity(/.*)?$'

all() {
	if [ -z "$whole" ] || ! [[ " ${GOTESTFLAGS:-} " = *' -race '* ]]; then
		# $GOTESTFLAGS is a list of flags.
		# shellcheck disable=SC2086
		scripts/each-module.sh go test -vet=off -json ${GOTESTFLAGS:-}
		return
	fi
	local status=0 flags=" $GOTESTFLAGS "
	# shellcheck disable=SC2086
	GOPKGS=$(go list ./... | grep -E "$plain") scripts/each-module.sh go test -vet=off -json ${flags/ -race / } || status=1
	# shellcheck disable=SC2086
	WITHOUT=$plain scripts/each-module.sh go test -vet=off -json $flags || status=1
	return $status
}

# A program with the race detector sleeps for a second before it ends, and tests start many.
export GORACE="atexit_sleep_ms=0${GORACE:+ $GORACE}"

go build -buildvcs=false -o .build/testsummary ./internal/testsummary
# $whole is one argument or none.
# shellcheck disable=SC2086
all | tee "$TEST_NOTED/output.json" | .build/testsummary -noted "$TEST_NOTED" $whole
