#!/usr/bin/env bash
# Runs a command on the Go packages of every module: the root's, or those that
# GOPKGS names, and then those of each nested module, except tools, which has none.
# After a failure, the command still runs in the other modules.
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

status=0
# $packages is a list of patterns.
# shellcheck disable=SC2086
for module in . $nested; do
	(cd "$module" && "$@" $packages) || status=1
done
exit "$status"
