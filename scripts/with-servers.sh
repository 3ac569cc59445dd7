#!/usr/bin/env bash
# Runs a command with what the tests need at hand, and REQUIRE_SERVERS=1, so that a
# test that finds something missing fails and is not skipped.
#
# The Redis and Postgres that tests share: TEST_REDIS_URL and TEST_POSTGRES_URL; else
# docker-compose.test.yml, when a docker daemon answers; else local programs, which
# the tests start themselves. Those they need in any case, for servers that a test
# stops and kills. The browser: CHROME or CHROMIUM (a path), else one in PATH. Node's
# packages: wherever there is a package-lock.json. What is missing is installed with
# apt, as root on Debian or Ubuntu.
#
#   scripts/with-servers.sh go test ./...
set -euo pipefail
cd "$(dirname "$0")/.."

export REQUIRE_SERVERS=1

have() { command -v "$1" >/dev/null; }
say() { echo "setup: $*" >&2; }

compose=(docker compose -f docker-compose.test.yml)
compose_down() { "${compose[@]}" down --volumes >&2 || true; }

start_containers() {
	local services=()
	[ -n "${TEST_REDIS_URL:-}" ] || services+=(redis)
	[ -n "${TEST_POSTGRES_URL:-}" ] || services+=(postgres)
	if [ ${#services[@]} = 0 ] || ! docker info >/dev/null 2>&1 || ! docker compose version >/dev/null 2>&1; then
		return 0
	fi

	trap compose_down EXIT
	if ! "${compose[@]}" up -d --wait "${services[@]}" >&2; then
		say "the containers did not start, trying local programs"
		return 0
	fi
	# The addresses are those of the file.
	: "${TEST_REDIS_URL:=redis://127.0.0.1:16379}"
	: "${TEST_POSTGRES_URL:=postgres://postgres:samesid@127.0.0.1:15432/postgres?sslmode=disable}"
	export TEST_REDIS_URL TEST_POSTGRES_URL
}

have_redis() { have redis-server || have valkey-server; }
have_postgres() { have postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

needs_chrome() { [ -e demo/browsertest/go.mod ]; }
find_chrome() {
	local name
	CHROME=${CHROME:-${CHROMIUM:-}}
	for name in chromium chromium-browser google-chrome google-chrome-stable; do
		[ -n "$CHROME" ] || CHROME=$(command -v "$name" || true)
	done
	export CHROME
	[ -n "$CHROME" ]
}

node_dirs=$(find . \( -name node_modules -o -name '.?*' -o -name testdata \) -prune -o -name package-lock.json -exec dirname {} \;)
needs_node() { [ -n "$node_dirs" ]; }
have_node() { have npm && have node && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'; }

apt_install() {
	if [ "$(id -u)" != 0 ] || ! have apt-get; then
		say "not installed here: $* (a browser can be given as CHROME)"
		exit 1
	fi
	say "installing $*"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >&2
	apt-get install -qy --no-install-recommends "$@" >&2
}

install_missing() {
	local packages=()
	have_redis || packages+=(redis-server)
	have_postgres || packages+=(postgresql)
	! needs_chrome || find_chrome || packages+=(chromium)
	! needs_node || have node || packages+=(nodejs)
	[ ${#packages[@]} = 0 ] || apt_install "${packages[@]}"
	# Debian has npm apart; other packages of Node bring it along.
	! needs_node || have npm || apt_install npm
}

start_containers
install_missing
if needs_chrome && ! find_chrome; then
	say "no Chromium or Chrome found: set CHROME to its path"
	exit 1
fi
if needs_node && ! have_node; then
	# Debian 12 has Node 18; npm has the programs too.
	say "Node.js 20 or newer is needed, installing one in .cache/node"
	npm install --silent --no-save --prefix .cache/node node@22 >&2
	PATH=$PWD/.cache/node/node_modules/.bin:$PATH
fi
for dir in $node_dirs; do
	[ "$dir/node_modules/.package-lock.json" -nt "$dir/package-lock.json" ] || npm ci --silent --no-audit --no-fund --prefix "$dir" >&2
done

"$@"
