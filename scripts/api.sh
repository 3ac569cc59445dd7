#!/usr/bin/env bash
# Compares the exported API with that of the last release.
set -euo pipefail
cd "$(dirname "$0")/.."

last=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)
if [ -z "$last" ]; then
	echo "api: there is no release yet, so there is nothing to compare with"
	exit 0
fi
echo "api: since $last"
exec "$1" -base="$last"
