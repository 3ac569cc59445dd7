//go:build unix

// Package testserver gives tests real Redis and Postgres servers.
//
// TEST_REDIS_URL and TEST_POSTGRES_URL name the servers. Without them, the package
// starts this machine's binaries in a temporary folder on a free port. The shared
// servers, [Redis] and [Postgres], start at their first use, serve every test of one
// test binary and end with it, even when it is killed. Tests are isolated by key prefix
// ([Prefix]) and schema ([Schema]). [StartRedis] and [StartPostgres] give a test a
// server of its own, which it can stop, kill and restart.
//
// Only _test.go files and the benchmarks may import the package.
package testserver

import (
	"crypto/rand"
	"errors"
	"hash/fnv"
	"os"
	"strings"
	"testing"
)

// ErrMissing marks a server that is not installed on this machine, as opposed to one
// that does not work.
var ErrMissing = errors.New("not on this machine")

// Missing skips the test because this machine lacks something, or fails it if
// REQUIRE_SERVERS is 1, so that a run that must test everything can't pass by skipping.
// why says what is missing, and what to install or set.
func Missing(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("REQUIRE_SERVERS") == "1" {
		tb.Fatalf("REQUIRE_SERVERS=1: %s", why)
	}
	tb.Skip(why)
}

// Thorough reports whether a test is to run in full what it otherwise runs in part: make
// thorough sets THOROUGH=1.
func Thorough() bool { return os.Getenv("THOROUGH") == "1" }

// Full reports whether a test is to run on all of what it otherwise runs on some of:
// with FULL=1, as in CI, and if Thorough.
func Full() bool { return os.Getenv("FULL") == "1" || Thorough() }

// Sample returns one of the layouts of each kind of store, for a test of what does not
// depend on the layout. Which one depends on the test's name, so that each has its tests.
// If Full, it returns all, by kind.
func Sample[T any](tb testing.TB, layouts []T, kind func(T) string) (sample [][]T) {
	tb.Helper()
	at := make(map[string]int)
	for _, l := range layouts {
		i, ok := at[kind(l)]
		if !ok {
			i = len(sample)
			at[kind(l)] = i
			sample = append(sample, nil)
		}
		sample[i] = append(sample[i], l)
	}
	if Full() {
		return sample
	}
	for i, of := range sample {
		h := fnv.New32a()
		h.Write([]byte(tb.Name() + " " + kind(of[0])))
		one := int(h.Sum32() % uint32(len(of)))
		sample[i] = of[one : one+1]
	}
	return sample
}

// check ends the test if err is not nil: with Missing if the server is not installed,
// and otherwise as a failure.
func check(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, ErrMissing) {
		Missing(tb, err.Error())
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// unique returns a name for a prefix or schema. It is lower case, so that SQL needs no
// quotes.
func unique() string {
	return "t" + strings.ToLower(rand.Text()[:16])
}
