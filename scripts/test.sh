#!/usr/bin/env bash
# Runs the tests of every module; the last line is the count. Fails when a test
# fails, is skipped, or when a package's tests did not run.
set -euo pipefail
cd "$(dirname "$0")/.."

go build -buildvcs=false -o .build/testsummary ./internal/testsummary
# $GOTESTFLAGS is a list of flags.
# shellcheck disable=SC2086
scripts/each-module.sh go test -json ${GOTESTFLAGS:-} | .build/testsummary
