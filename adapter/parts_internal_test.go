package adapter

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

// The default store is ours, which has a bound and compare-and-set, and not scs's.
func TestDefaultStore(t *testing.T) {
	const secret = "a secret of at least thirty-two bytes"
	leaktest.Note(secret)
	m := MustNew(Options{Secrets: []string{secret}})
	if _, ok := m.cfg.Store.(*memory.Store); !ok || m.cfg.store.swapper == nil {
		t.Errorf("the default store is a %T; compare-and-set: %t", m.cfg.Store, m.cfg.store.swapper != nil)
	}
	ctx, err := m.Load(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	m.Put(ctx, "k", 1)
	id, _, err := m.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	leaktest.Note(id)
	n := 0
	if err := m.Iterate(t.Context(), func(ctx context.Context) error {
		if n++; m.ID(ctx) != id || m.GetInt(ctx, "k") != 1 {
			t.Error("another session is listed")
		}
		return nil
	}); err != nil || n != 1 {
		t.Errorf("%d sessions are listed, %v", n, err)
	}
}

func TestEndOf(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	age := func(d time.Duration) *time.Duration { return &d }
	for name, tt := range map[string]struct {
		maxAge   *time.Duration
		idle     time.Duration
		deadline time.Time
		want     time.Duration
	}{
		"maxAge":               {age(time.Hour), time.Minute, time.Time{}, time.Hour},
		"negative maxAge":      {age(-time.Hour), time.Minute, time.Time{}, -time.Hour},
		"idle":                 {nil, time.Minute, time.Time{}, time.Minute},
		"neither":              {nil, 0, time.Time{}, forever},
		"deadline":             {nil, 0, now.Add(time.Hour), time.Hour},
		"deadline first":       {age(2 * time.Hour), 0, now.Add(time.Hour), time.Hour},
		"deadline later":       {age(time.Hour), 0, now.Add(2 * time.Hour), time.Hour},
		"deadline in the past": {age(time.Hour), 0, now.Add(-time.Hour), -time.Hour},
		"beyond the last date": {age(1<<63 - 1), 0, time.Time{}, forever},
	} {
		if got := endOf(tt.maxAge, tt.idle, tt.deadline, now).Sub(now); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestTouchIsDue(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := now.Add(time.Hour)
	for name, tt := range map[string]struct {
		l     lifetime
		after time.Duration
		want  bool
	}{
		"touched by the read": {lifetime{touched: true}, 0, false},
		"not known":           {lifetime{}, time.Minute, true},
		"moved enough":        {lifetime{expiry: end.Add(-time.Minute)}, time.Minute, true},
		"moved too little":    {lifetime{expiry: end.Add(-time.Minute)}, 2 * time.Minute, false},
		"half is left":        {lifetime{expiry: end.Add(-31 * time.Minute)}, 50 * time.Minute, true},
		"the same":            {lifetime{expiry: end}, 0, false},
		"nearly the same":     {lifetime{expiry: end.Add(-time.Second)}, 0, false},
		"shorter now":         {lifetime{expiry: end.Add(time.Hour)}, 30 * time.Minute, true},
	} {
		if got := tt.l.due(end, now, tt.after); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestLifetimeKeepsWhatTheRequestChanged(t *testing.T) {
	minute, hour := time.Minute, time.Hour
	deadline := time.Now()
	r := record{cookie: wire.Cookie{OriginalMaxAge: &hour}, ownAge: true, deadline: deadline}
	l := lifetime{maxAge: &minute, changedAge: true}
	l.adopt(&r, nil)
	if *l.maxAge != minute || !l.deadline.Equal(deadline) {
		t.Errorf("%+v", l)
	}
	l = lifetime{deadline: deadline.Add(hour), changedDeadline: true}
	l.adopt(&r, nil)
	if *l.maxAge != hour || !l.own || !l.deadline.Equal(deadline.Add(hour)) {
		t.Errorf("%+v", l)
	}
	l.setDeadline(deadline.Add(hour))
	l.saved(deadline)
	if l.changedDeadline || !l.touched || !l.expiry.Equal(deadline) {
		t.Errorf("%+v", l)
	}
}

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		cookie, target string
		want           bool
	}{
		{"/", "/", true},
		{"/", "/a/b", true},
		{"/admin", "/admin", true},
		{"/admin", "/admin/x", true},
		{"/admin", "/admin?x", true},
		{"/admin", "/admin/x?/y", true},
		{"/admin", "/other", false},
		{"/admin", "/administrator", false},
		{"/admin/", "/admin/x", true},
		{"/admin/", "/admin/", true},
		{"/admin/", "/admin", false},
		{"/admin", "/", false},
		{"/admin", "/?/admin", false},
		{"/admin", "/x/admin", false},
		{"/a%20b", "/a%20b/c", true}, // as the client has sent it
		{"/a b", "/a%20b/c", false},
		{"/admin", "http://example.com/admin/x", true},
		{"/admin", "http://example.com/", false},
	} {
		if got := covers(tt.cookie, requestPath(httptest.NewRequest("GET", tt.target, nil))); got != tt.want {
			t.Errorf("%q, %q: %t", tt.cookie, tt.target, got)
		}
	}
	if covers("/admin", "") {
		t.Error("a cookie of a path is for no path")
	}
}

func TestIdentity(t *testing.T) {
	plain, hashed := &config{}, &config{hash: true}
	i := identity{id: "id"}
	if i.key(plain) != "id" || i.key(hashed) != hashID("id") || i.exists() || len(i.records(nil)) != 0 {
		t.Errorf("%+v", i)
	}
	i.at = "id"
	i.merged = []merged{{Record: contract.Record{Token: "other", Data: []byte("o")}}}
	want := []contract.Record{{Token: "id", Data: []byte("d")}, {Token: "other", Data: []byte("o")}}
	if got := i.records([]byte("d")); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if err := i.renew(plain, nil); err != nil || i.id == "id" || len(i.id) != 32 || !i.random || !i.renewed || i.at != "id" {
		t.Errorf("renewed: %+v, %v", i, err)
	}
	i.fixed = "fixed"
	if i.key(plain) != "fixed" || i.key(hashed) != "fixed" {
		t.Error("the key of a listed session is not its own")
	}
	own := &config{Options: Options{GenID: func(*http.Request) string { return "a b" }}}
	if err := i.renew(own, nil); err == nil || strings.Contains(err.Error(), "a b") {
		t.Errorf("a bad id: %v", err)
	}
}

func TestData(t *testing.T) {
	engine := engineOf(time.Hour)
	var d data
	deadline := time.Now().Add(time.Minute).UTC()
	if err := d.begin(&engine, deadline, map[string]any{"a": 1}); err != nil {
		t.Fatal(err)
	}
	ctx := d.ctx
	if d.status() != scs.Unmodified || engine.GetInt(ctx, "a") != 1 || !d.until().Equal(deadline) {
		t.Errorf("status %v, deadline %v", d.status(), d.until())
	}
	engine.Put(ctx, "b", 2)
	values, at := d.snapshot()
	engine.Put(ctx, "b", 3)
	if !reflect.DeepEqual(values, map[string]any{"a": 1, "b": 2}) || !at.Equal(deadline) || d.status() != scs.Modified {
		t.Errorf("%v, %v, status %v", values, at, d.status())
	}
	d.extend(time.Time{})
	if left := time.Until(d.until()); left < 59*time.Minute {
		t.Errorf("the deadline is %v away", left)
	}
	d.destroy()
	if values, _ := d.snapshot(); len(values) != 0 || d.status() != scs.Destroyed {
		t.Errorf("emptied: %v, status %v", values, d.status())
	}
	d.renew()
	if d.status() != scs.Modified {
		t.Errorf("renewed: status %v", d.status())
	}

	other := engineOf(0)
	var d2 data
	if err := d2.begin(&other, time.Time{}, map[string]any{"other": true}); err != nil || !d2.until().IsZero() {
		t.Errorf("no deadline: %v, %v", d2.until(), err)
	}
	own := newSessionManager()
	if key := keyOf(own); key == nil || key != keyOf(own) || key == keyOf(newSessionManager()) || key == keyOf(&engine) {
		t.Errorf("two managers have one key in the context: %v", key)
	}
}

func TestKeyedLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := keyedLocks{held: map[lockName]*keyedLock{}}
		name := lockName{"store", "token", false}
		release, err := l.acquire(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []lockName{{"store", "other", false}, {"other", "token", false}, {"store", "token", true}} {
			free, err := l.acquire(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			free()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.acquire(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("held by another: %v", err)
		}
		got := make(chan bool)
		go func() {
			free, err := l.acquire(t.Context(), name)
			got <- err == nil
			free()
		}()
		synctest.Wait()
		select {
		case <-got:
			t.Error("two hold the lock")
		default:
		}
		release()
		if !<-got {
			t.Error("the lock was not handed on")
		}
		synctest.Wait()
		if len(l.held) != 0 {
			t.Errorf("%d locks are left", len(l.held))
		}
	})
}
