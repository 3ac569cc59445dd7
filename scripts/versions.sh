#!/usr/bin/env bash
# Runs the tests that a Go release or a word size can break on the newest Go, and those
# of numbers and records on a 32-bit machine. The other Go release and 64 bits are those
# of scripts/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "${GOPKGS:-./...}" = ./... ] || exit 0

newest=go1.27.3
echo "versions: $newest"
GOTOOLCHAIN=$newest go vet ./...
GOTOOLCHAIN=$newest go test ./internal/wire ./internal/refusal ./adapter/... ./auth ./backends/contract ./backends/memory

# A kernel that runs no 32-bit programs needs qemu's help, which does not get along with
# several threads of Go's at once. The exhaustive tests would take it minutes.
exec386=
mkdir -p .build
GOARCH=386 go build -buildvcs=false -o .build/386 ./internal/testsummary
status=0
.build/386 -h >/dev/null 2>&1 || status=$?
if [ $status = 126 ]; then
	exec386="env GOMAXPROCS=1 GODEBUG=asyncpreemptoff=1 qemu-i386"
fi
echo "versions: GOARCH=386 ${exec386:+by qemu-i386}"
GOARCH=386 go vet ./...
GOARCH=386 go test -exec "$exec386" -skip '^(TestDecisions|TestInterleavings|TestSweepEndsWhatMoves)$' ./internal/wire ./adapter
