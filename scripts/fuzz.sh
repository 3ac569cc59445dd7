#!/usr/bin/env bash
# Runs each fuzz target of the root module, or of the packages in GOPKGS, in turn.
#
#   scripts/fuzz.sh fuzztime [seconds]
#
# With seconds, no further target is begun after that many; go test runs the
# seeds of all of them in any case. A fuzztime in runs (100000x) is the one to use
# where a false alarm hurts: until Go 1.27 a fuzztime in seconds can end in a bare
# "context deadline exceeded" with nothing found (go.dev/issue/75804).
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=$1
budget=${2:-0}

# Only what may have a target is built to be asked for its list.
# shellcheck disable=SC2086
packages=$(go list -f '{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}' ${GOPKGS:-./...} |
	while read -r package file; do
		if [ -n "$file" ] && grep -q '^func Fuzz' "$file"; then echo "$package"; fi
	done | sort -u)

count=0
SECONDS=0
for package in $packages; do
	names=$(go test -list '^Fuzz' "$package" | sed -n '/^Fuzz/p')
	for name in $names; do
		if [ "$budget" -gt 0 ] && [ "$SECONDS" -ge "$budget" ]; then
			echo "fuzz: ${budget}s are over, not run: $name"
			continue
		fi
		echo "fuzz: $name"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$fuzztime" -fuzzminimizetime 1000x "$package"
		count=$((count + 1))
	done
done
echo "fuzz: $count targets run"
