//go:build unix

// Package testserver gives tests real Redis and Postgres servers.
//
// A server comes from TEST_REDIS_URL or TEST_POSTGRES_URL, or else from the
// binaries of this machine, started in a temporary folder on a free port. The
// shared servers, [Redis] and [Postgres], start at their first use, serve every
// test of one test binary and end with it, also when it is killed. Tests keep
// out of each other's way by key prefix ([Prefix]) and schema ([Schema]).
// [StartRedis] and [StartPostgres] give a test a server of its own, to be
// stopped, killed and started again.
//
// It is imported from _test.go files alone.
package testserver

import (
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
)

// errMissing marks a server that cannot be had on this machine, as opposed to
// one that is there and does not work.
var errMissing = errors.New("not on this machine")

// Missing skips the test because of what this machine lacks, or fails it when
// REQUIRE_SERVERS is 1, so that a run that must test everything cannot pass by
// skipping. why says what is missing, and what to install or set.
func Missing(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("REQUIRE_SERVERS") == "1" {
		tb.Fatalf("REQUIRE_SERVERS=1: %s", why)
	}
	tb.Skip(why)
}

// check ends the test if err is not nil: by Missing if there is no such server
// here, else as a failure.
func check(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, errMissing) {
		Missing(tb, err.Error())
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// unique names a prefix or schema: lower case, so that SQL needs no quotes.
func unique() string {
	return "t" + strings.ToLower(rand.Text()[:16])
}
