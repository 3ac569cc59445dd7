#!/usr/bin/env bash
# Runs the tests of every module; the last line is the count. Fails when a test
# fails, is skipped, or when a package's tests did not run; and when a secret, cookie,
# session id or password that a test has noted (internal/leaktest) is in what the
# tests have written.
set -euo pipefail
cd "$(dirname "$0")/.."

# What the tests have written, and the secrets that they have used.
export TEST_NOTED=$PWD/.build/noted
rm -rf "$TEST_NOTED"
mkdir -p "$TEST_NOTED"

# Some of the tests alone note less than all of them do.
whole=
narrowed=' --?(run|skip|short)'
if [ "${GOPKGS:-./...}" = ./... ] && ! [[ " ${GOTESTFLAGS:-}" =~ $narrowed ]]; then
	whole=-whole
fi

go build -buildvcs=false -o .build/testsummary ./internal/testsummary
# $GOTESTFLAGS is a list of flags, and $whole one or none.
# shellcheck disable=SC2086
scripts/each-module.sh go test -json ${GOTESTFLAGS:-} | tee "$TEST_NOTED/output.json" | .build/testsummary -noted "$TEST_NOTED" $whole
