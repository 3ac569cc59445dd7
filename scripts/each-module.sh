#!/usr/bin/env bash
# Runs a command on the Go packages of every module: the root's, or those that
# GOPKGS names, and then those of each nested module, except tools, which has none.
# After a failure, the command still runs in the other modules. WITHOUT is a regular
# expression of import paths to leave out of all packages of the root module.
#
#   scripts/each-module.sh go vet
set -euo pipefail
cd "$(dirname "$0")/.."

packages=${GOPKGS:-./...}
nested=
if [ "$packages" = ./... ]; then
	nested=$(find . \( -name node_modules -o -name '.?*' -o -name testdata -o -path ./tools \) -prune \
		-o -name go.mod -not -path ./go.mod -exec dirname {} \; | sort)
fi
root=$packages
if [ -n "$nested" ] && [ -n "${WITHOUT:-}" ]; then
	root=$(go list ./... | grep -vE "$WITHOUT")
fi

status=0
# $root and $packages are lists of patterns.
# shellcheck disable=SC2086
"$@" $root || status=1
for module in $nested; do
	# shellcheck disable=SC2086
	(cd "$module" && "$@" $packages) || status=1
done
exit "$status"
