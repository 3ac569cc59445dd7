//go:build unix

package redis_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/backends/storetest"
	"github.com/samesid/samesid/internal/testserver"
)

// The contract holds on a Redis that Sentinels have named: all of it if testserver.Full.
func TestStoreOnSentinel(t *testing.T) {
	t.Parallel()
	const password = "of-the-Sentinels"
	sentinels := testserver.StartSentinels(t, password)
	opts := redis.Options{Mode: "sentinel", Addresses: sentinels.Addrs, MasterName: "mymaster", SentinelPassword: password}
	var n atomic.Int64
	prefixes := make(map[scs.CtxStore]string)
	harness := storetest.Harness{
		New: func(t *testing.T) scs.CtxStore {
			opts := opts
			opts.Prefix = fmt.Sprint("sess", n.Add(1), ":")
			s := open(t, "redis://", opts)
			prefixes[s] = opts.Prefix
			return s
		},
		Reopen: func(t *testing.T, s scs.CtxStore) scs.CtxStore {
			return open(t, "redis-sentinel://"+sentinels.Addrs[2]+"/0#mymaster", redis.Options{Prefix: prefixes[s], SentinelPassword: password})
		},
		Advance: func(t *testing.T, d time.Duration) {
			if _, err := redigo.DoWithTimeout(dial(t, sentinels.Master.URL), 0, "BLPOP", "none", d.Seconds()); err != nil {
				t.Fatal(err)
			}
		},
	}
	if testserver.Full() {
		storetest.Run(t, harness)
	} else {
		s := harness.New(t)
		if err := s.Commit("id", []byte("data"), time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		if data, _, err := harness.Reopen(t, s).Find("id"); string(data) != "data" || err != nil {
			t.Errorf("by another Sentinel: %q, %v", data, err)
		}
	}
	opts.SentinelPassword = "wrong"
	if _, err := redis.Open(t.Context(), "", opts); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("with another password for the Sentinels: %v", err)
	}
}

// The master dies, or hangs, under load, and the Sentinels promote the replica. What it had
// confirmed is not lost: a session that was ended stays so.
func TestSentinelFailover(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprint("hangs=", hangs), func(t *testing.T) {
			t.Parallel()
			sentinels := testserver.StartSentinels(t, "")
			s := open(t, "redis-sentinel://"+strings.Join(sentinels.Addrs, ",")+"/mymaster",
				redis.Options{WaitReplicas: 1, Timeout: 500 * time.Millisecond, ConnectTimeout: 500 * time.Millisecond})
			u := startUsers(t, s, "user", 8)
			u.await(1000)
			u.mayLose.Store(true)
			if hangs {
				sentinels.Master.Pause()
			} else {
				sentinels.Master.Kill()
			}
			sentinels.Promoted(sentinels.Other, "")
			// A deletion is done, and an error, until there is a replica again.
			if hangs {
				sentinels.Master.Resume()
			} else {
				sentinels.Master.Start()
			}
			u.await(200)
			u.lost()
		})
	}
}

// After a failover, the Sentinels do not all know of it at once.
func TestSentinelsDisagree(t *testing.T) {
	old, promoted := testserver.StartRedis(t), testserver.StartRedis(t)
	sentinel := func(server *testserver.Server, epoch int) string {
		host, port, _ := strings.Cut(server.Addr, ":")
		return newFake(t, func(command string) string {
			if strings.Contains(command, "GET-MASTER-ADDR") {
				return bulk(host, port)
			}
			return bulk("config-epoch", fmt.Sprint(epoch))
		}).addr
	}
	gone := testserver.StartRedis(t)
	gone.Stop()
	addrs := []string{sentinel(old, 7), gone.Addr, sentinel(promoted, 8), sentinel(old, 7)}
	for range addrs {
		addrs = append(addrs[1:], addrs[0])
		s := open(t, "", redis.Options{Mode: "sentinel", MasterName: "m", Addresses: addrs})
		if err := s.Commit("id", []byte("data"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for server, want := range map[*testserver.Server]int{old: 0, promoted: 1} {
		if n, err := redigo.Int(dial(t, server.URL).Do("DBSIZE")); n != want || err != nil {
			t.Errorf("%d sessions on a server that should have %d, %v", n, want, err)
		}
	}
}

// bulk is a reply that is an array of texts.
func bulk(texts ...string) string {
	reply := fmt.Sprintf("*%d\r\n", len(texts))
	for _, text := range texts {
		reply += fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)
	}
	return reply
}
