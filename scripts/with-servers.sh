#!/usr/bin/env bash
# Runs a command with everything that the tests need, and with REQUIRE_SERVERS=1, so
# that a test fails, rather than being skipped, if something is missing.
#
# The tests share the servers of TEST_REDIS_URL and TEST_POSTGRES_URL; without these,
# those of docker-compose.test.yml, if a docker daemon answers; otherwise they start
# local programs. They need the local programs in any case, for servers that a test
# stops and kills. The browser is that of CHROME or CHROMIUM (a path), or one in PATH.
# Node's packages are installed next to each package-lock.json. With INSTALL=1, which make
# sets, or in CI, missing programs are installed with apt, as root on Debian or Ubuntu.
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
	# The same addresses as in docker-compose.test.yml.
	: "${TEST_REDIS_URL:=redis://127.0.0.1:16379}"
	: "${TEST_POSTGRES_URL:=postgres://postgres:samesid@127.0.0.1:15432/postgres?sslmode=disable}"
	export TEST_REDIS_URL TEST_POSTGRES_URL
}

have_redis() { have redis-server || have valkey-server; }
have_postgres() { have postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }


needs_chrome() { [ -e tests/browser ]; }
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
	if [ "$(id -u)" != 0 ] || ! have apt-get || [ -z "${CI:-}${INSTALL:-}" ]; then
		say "not installed here: $* (a browser can be given as CHROME)"
		say "on Debian or Ubuntu: apt-get install --no-install-recommends $*, or INSTALL=1 as root"
		exit 1
	fi
	say "installing $*"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >&2
	apt-get install -qy --no-install-recommends "$@" >&2
}

# 32-bit programs need qemu where the kernel does not run them.
have_386() {
	have qemu-i386 && return
	mkdir -p .build
	GOARCH=386 go build -buildvcs=false -o .build/386 ./internal/testsummary
	.build/386 -h >/dev/null 2>&1 || [ $? != 126 ]
}

install_missing() {
	local packages=() name
	have_386 || packages+=(qemu-user)
	have_redis || packages+=(redis-server)
	have_postgres || packages+=(postgresql)
	for name in pgbouncer haproxy nginx; do have "$name" || [ -x "/usr/sbin/$name" ] || packages+=("$name"); done
	! needs_chrome || find_chrome || packages+=(chromium)
	! needs_node || have node || packages+=(nodejs)
	[ ${#packages[@]} = 0 ] || apt_install "${packages[@]}"
	# Debian packages npm separately; other packages of Node include it.
	! needs_node || have npm || apt_install npm
}

start_containers
install_missing
if needs_chrome && ! find_chrome; then
	say "no Chromium or Chrome found: set CHROME to its path"
	exit 1
fi
if needs_node && ! have_node; then
	# Debian 12 has Node 18; npm also distributes Node itself.
	say "Node.js 20 or newer is needed, installing one in .cache/node"
	npm install --silent --no-save --prefix .cache/node node@22 >&2
	PATH=$PWD/.cache/node/node_modules/.bin:$PATH
fi

# Two of the packages compile SQLite, for minutes, so what was installed is kept for the
# next checkout with the same lock file and Node.
install_node_modules() {
	local dir=$1 kept
	[ "$dir/node_modules/.package-lock.json" -nt "$dir/package-lock.json" ] && return
	kept=${XDG_CACHE_HOME:-$HOME/.cache}/samesid/$(node -p '
		const parts = [fs.readFileSync(process.argv[1]), process.version, process.platform, process.arch]
		crypto.createHash("sha256").update(parts.join()).digest("hex").slice(0, 20)' "$dir/package-lock.json")
	if [ -d "$kept" ]; then
		rm -rf "$dir/node_modules"
		cp -a "$kept" "$dir/node_modules"
	else
		npm ci --silent --no-audit --no-fund --prefix "$dir" >&2
		mkdir -p "$(dirname "$kept")"
		rm -rf "$kept.$$"
		cp -a "$dir/node_modules" "$kept.$$"
		[ -d "$kept" ] || mv "$kept.$$" "$kept"
		rm -rf "$kept.$$"
	fi
	touch "$dir/node_modules/.package-lock.json"
}
for dir in $node_dirs; do
	install_node_modules "$dir"
done

"$@"
