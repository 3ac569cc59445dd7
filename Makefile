SHELL := bash
.DEFAULT_GOAL := help

# Packages of the root module. Naming fewer than all leaves the nested modules out.
GOPKGS ?= ./...
# The race detector looks at all but SQLite itself, which is C translated to Go and would
# take minutes.
GOTESTFLAGS ?= -race -gcflags=github.com/ncruces/...=-race=false -count=1 -timeout=30m
# A time for each target (30s) or a number of runs (100000x).
FUZZTIME ?= 30s
SOAK ?= 10m
# The targets install what they need and is not there, as root on Debian or Ubuntu.
INSTALL ?= 1
# A program with the race detector sleeps for a second before it ends, and tests start many.
GORACE ?= atexit_sleep_ms=0
export GOPKGS GOTESTFLAGS INSTALL GORACE

BIN := $(CURDIR)/.build/bin
GOFILES = $(shell find . -name node_modules -prune -o -name '.?*' -prune -o -name '*.go' -print)

.PHONY: help test check versions lint api fmt fuzz bench million thorough soak cover demo clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: ## short fuzzing, and all tests on real servers; with FULL=1 on each layout of each store
	scripts/fuzz.sh $(if $(FULL),15000x 120,3000x 60)
	scripts/with-servers.sh scripts/test.sh

versions: ## the tests that a Go release or a word size can break, on the newest Go and 32 bits
	scripts/with-servers.sh scripts/versions.sh

check: .build/tools ## formatting, go vet, the linters and CI's own files
	@unformatted=$$(gofmt -l $(GOFILES)) && [ -z "$$unformatted" ] || \
		{ printf 'not formatted (make fmt mends it):\n%s\n' "$$unformatted"; exit 1; }
	scripts/each-module.sh go vet
	scripts/each-module.sh $(BIN)/golangci-lint run
	$(BIN)/actionlint .github/workflows/*.yml

lint: check ## check, and the known vulnerabilities of what is linked
	scripts/vuln.sh $(BIN)/govulncheck

api: .build/tools ## the exported API, compared with that of the last release
	scripts/api.sh $(BIN)/gorelease

fmt: .build/tools ## format all Go files
	$(BIN)/gofumpt -w $(GOFILES)

fuzz: ## run each fuzz target in turn, FUZZTIME=30s each
	scripts/fuzz.sh $(FUZZTIME)

bench: ## samesid and its peers side by side, on a quiet machine: about 15 minutes (tests/bench/README.md)
	cd tests/bench && go build -buildvcs=false -o ../../.build/bench .
	scripts/with-servers.sh sh -c 'cd tests/bench && exec ../../.build/bench'

million: ## listing and clean-up of a million sessions in each store: minutes, 3 GB of memory and disk
	scripts/with-servers.sh env TEST_SESSIONS=1000000 go test -count=1 -timeout=30m -v -run '^TestManySessions$$' ./internal/proof

thorough: ## what make test runs in part, in full: all kinds of servers, many schedules
	scripts/with-servers.sh env THOROUGH=1 SCHEDULES=20000 MODEL_SCRIPTS=30000 go test -count=1 -timeout=0 ./adapter ./backends/... ./internal/proof
	scripts/with-servers.sh env TEST_SESSIONS=100000 go -C cmd/samesid test -count=1 -timeout=0 -run '^TestCopyWhileInUse$$' .
	scripts/with-servers.sh env THOROUGH=1 PARITY_HANDOVERS=1000 PARITY_CONFIGS=20 go test -count=1 -timeout=0 ./parity

soak: ## load of every kind on every store for SOAK=10m, and what it leaves behind
	scripts/with-servers.sh env SOAK=$(SOAK) go test -count=1 -timeout=0 -v -run '^TestSoak$$' ./internal/proof

cover: ## test coverage of the root module; HTML in .build/cover.html
	@mkdir -p .build
	scripts/with-servers.sh go test -coverpkg=./... -coverprofile=.build/cover.out $(GOPKGS)
	go tool cover -html=.build/cover.out -o .build/cover.html
	go tool cover -func=.build/cover.out | tail -n 1

demo: ## run the demo on http://127.0.0.1:8080
	go run ./demo

clean: ## remove what the other targets built
	rm -rf .build

.build/tools: tools/go.mod tools/go.sum
	cd tools && GOBIN=$(BIN) go install tool
	@touch $@
