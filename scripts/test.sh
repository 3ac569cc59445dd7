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

go build -buildvcs=false -o .build/testsummary ./internal/testsummary
# $GOTESTFLAGS is a list of flags, and $whole one or none.
# shellcheck disable=SC2086
scripts/each-module.sh go test -json ${GOTESTFLAGS:-} | tee "$TEST_NOTED/output.json" | .build/testsummary -noted "$TEST_NOTED" $whole
