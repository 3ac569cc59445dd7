#!/usr/bin/env bash
# Runs a command on the Go packages of every module: the root's, or those that
# GOPKGS names, and then those of each nested module, except tools, which has none.
# After a failure, the command still runs in the other modules. WITHOUT and ONLY are regular
# expressions of import paths: those to leave out, and those to take, of all packages.
# MODULES=root and MODULES=nested leave out the other.
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

# chosen prints the packages of the module in the current folder, in reverse order: those of
# internal wait the most, and nothing runs beside the last ones.
chosen() {
	if [ "$packages" != ./... ] || [ -z "${WITHOUT:-}${ONLY:-}" ]; then
		echo "$packages"
	else
		local all
		all=$(go list ./... | sort -r) || return
		grep -vE "${WITHOUT:-^$}" <<<"$all" | grep -E "${ONLY:-.}" || true
	fi
}

status=0
case ${MODULES:-} in
root) modules=. ;;
nested) modules=$nested ;;
*) modules=". $nested" ;;
esac
for module in $modules; do
	cd "$module"
	of=$(chosen)
	# $of is a list of patterns.
	# shellcheck disable=SC2086
	[ -z "$of" ] || "$@" $of || status=1
	cd "$OLDPWD"
done
exit "$status"
