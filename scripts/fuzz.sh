#!/usr/bin/env bash
# Runs each fuzz target of the root module, or of the packages in GOPKGS, in turn.
#
#   scripts/fuzz.sh fuzztime [seconds]
#
# With seconds, no further target is started after that time, and coverage does not guide
# the runs, which would take a build of all packages with counters in them: they are built
# as by scripts/test.sh. go test runs the seeds of all targets anyway. To avoid false alarms, give fuzztime as a number of
# runs (100000x): until Go 1.27, a fuzztime in seconds can fail with only
# "context deadline exceeded", although nothing was found (go.dev/issue/75804).
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=$1
budget=${2:-0}
guided=-fuzz=.
[ "$budget" = 0 ] || guided=${GOTESTFLAGS:-}

# Only packages that may have a target are built to list their targets.
# shellcheck disable=SC2086
packages=$(go list -f '{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}' ${GOPKGS:-./...} |
	while read -r package file; do
		if [ -n "$file" ] && grep -q '^func Fuzz' "$file"; then echo "$package"; fi
	done | sort -u)

# One test binary for all targets of a package: go test links one for each. Failures go to
# the package's testdata/fuzz, and what is found of interest to where go test keeps it.
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
cache=$(go env GOCACHE)/fuzz

count=0
SECONDS=0
for package in $packages; do
	# $guided is a list of flags.
	# shellcheck disable=SC2086
	go test -c -vet=off $guided -o "$bin/test" "$package"
	dir=$(go list -f '{{.Dir}}' "$package")
	names=$(cd "$dir" && "$bin/test" -test.list '^Fuzz')
	for name in $names; do
		if [ "$budget" -gt 0 ] && [ "$SECONDS" -ge "$budget" ]; then
			echo "fuzz: ${budget}s are over, not run: $name"
			continue
		fi
		echo "fuzz: $name"
		(cd "$dir" && "$bin/test" -test.paniconexit0 -test.run '^$' -test.fuzz "^$name\$" -test.fuzztime "$fuzztime" \
			-test.fuzzminimizetime 1000x -test.fuzzcachedir "$cache/$package")
		count=$((count + 1))
	done
done
echo "fuzz: $count targets run"
