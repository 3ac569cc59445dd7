//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/leaktest"
)

// binary is the built command.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "samesid")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "samesid")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

const secret = "a secret of at least thirty-two bytes"

// result is what a run of the command has left.
type result struct {
	out, err string
	code     int
}

func samesid(t *testing.T, in string, args ...string) (r result) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SAMESID_") }), "USER=olga", "SUDO_USER=")
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r = result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
	if strings.Contains(r.out+r.err, secret) {
		t.Errorf("%v has printed a secret", args)
	}
	fmt.Fprint(leaktest.Copy(&bytes.Buffer{}), r.out, r.err)
	return r
}

// want runs the command and checks its exit status, and parts of its output.
func want(t *testing.T, code int, in string, args []string, parts ...string) result {
	t.Helper()
	r := samesid(t, in, args...)
	if r.code != code {
		t.Errorf("samesid %q ended with %d, not %d\n%s%s", args, r.code, code, r.out, r.err)
	}
	for _, part := range parts {
		if !strings.Contains(r.out+r.err, part) {
			t.Errorf("samesid %q lacks %q:\n%s%s", args, part, r.out, r.err)
		}
	}
	return r
}

// open opens what a file configures.
func open(t *testing.T, file string) *adapter.Manager {
	t.Helper()
	m, store, err := config.Open(t.Context(), file, sqlite.Backend)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// signIn begins a session of a user, and returns its id.
func signIn(t *testing.T, m *adapter.Manager, user string, visits int) string {
	t.Helper()
	ctx, err := m.LoadID(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	m.Put(ctx, "visits", visits)
	m.Put(ctx, "card", "4111 1111 1111 1111")
	if err := adapter.Put(ctx, m, "user", map[string]any{"id": user}); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(ctx); err != nil {
		t.Fatal(err)
	}
	leaktest.Note(m.ID(ctx))
	return m.ID(ctx)
}

// visits returns what a session has, 0 if it is not there.
func visits(t *testing.T, m *adapter.Manager, id string) int {
	t.Helper()
	ctx, err := m.LoadID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return m.GetInt(ctx, "visits")
}

func settings() map[string]any {
	return map[string]any{"secret": secret, "userPath": "user.id", "cookie": map[string]any{"maxAge": "1h", "secure": "auto"}}
}

// Each command does what it says on each layout of each store.
func TestEachStore(t *testing.T) {
	t.Parallel()
	leaktest.Note(secret)
	eachstore.Run(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		place := k.Place(t)
		if k.HasTable() {
			// What ddl prints is what the store needs.
			bare := place.File(t, settings(), eachstore.Settings{"createTable": false})
			want(t, 1, "", []string{"check", "-c", bare}, "error", "does not exist")
			sql := want(t, 0, "", []string{"ddl", "-c", bare}).out
			if _, err := place.DB(t).Exec(sql); err != nil {
				t.Fatalf("%v:\n%s", err, sql)
			}
			want(t, 0, "", []string{"check", "-c", bare}, "ok       session")
		} else {
			want(t, 0, "", []string{"ddl", "-c", place.File(t, settings())}, "needs no tables")
		}
		file := place.File(t, settings())
		run := func(code int, in string, args []string, parts ...string) result {
			t.Helper()
			return want(t, code, in, append(args, "-c", file), parts...)
		}
		run(0, "", []string{"check"}, "ok       file", "ok       store", "ok       session")
		run(0, "", []string{"count"}, "0\n")

		m := open(t, file)
		ann, bob := signIn(t, m, "ann", 1), signIn(t, m, "bob", 2)
		for range 3 {
			signIn(t, m, "eve", 3)
		}
		run(0, "", []string{"count", "--json"}, `{"sessions":5}`)
		var rows []row
		for line := range strings.Lines(run(0, "", []string{"list", "--json"}).out) {
			var r row
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if time.Until(r.Expires) < 50*time.Minute || time.Since(r.LastUsed) > 10*time.Minute {
				t.Errorf("a session that was used last at %v ends at %v", r.LastUsed, r.Expires)
			}
			rows = append(rows, r)
		}
		users := map[string]int{}
		for _, r := range rows {
			users[r.User]++
		}
		if users["ann"] != 1 || users["bob"] != 1 || users["eve"] != 3 || len(rows) != 5 {
			t.Errorf("list has %v", users)
		}
		if lines := strings.Count(run(0, "", []string{"list", "--user", "eve"}).out, "eve\n"); lines != 3 {
			t.Errorf("list --user has %d lines", lines)
		}
		of := func(user string) row { return rows[slices.IndexFunc(rows, func(r row) bool { return r.User == user })] }

		// By the handle, and by the name in the log.
		for _, name := range []string{of("bob").Handle, of("bob").Session} {
			r := run(0, "", []string{"show", name}, `"visits"  number, 1 bytes`, `"card"  text, 21 bytes`, `"user"  object`, "bob")
			if strings.Contains(r.out, "4111") {
				t.Error("show has printed a value")
			}
			run(0, "", []string{"show", name, "--values", "--user", "bob"}, `"card"  "4111 1111 1111 1111"`, `"user"  {"id":"bob"}`)
			run(0, "", []string{"show", name, "--values", "--json"}, `"key":"visits","type":"number","bytes":1,"value":2`)
		}
		run(3, "", []string{"show", "none"}, "no live session")
		run(3, "", []string{"show", of("bob").Handle, "--user", "ann"})

		// Nothing ends unasked.
		run(1, "", []string{"end", "--user", "eve"}, "nothing was done")
		run(1, "n\n", []string{"end", "--handle", of("bob").Handle}, "of the user bob", "nothing was done")
		run(1, "", []string{"end", "--all"}, "End all 5 sessions")
		run(3, "y\n", []string{"end", "--handle", "none"})
		for _, flag := range []string{"--user", "--handle"} { // of a variable that is not set
			run(2, "", []string{"end", flag, "", "--yes"}, flag+" is empty")
		}
		run(2, "", []string{"end", "--all=false", "--yes"}, "--all=false ends nothing")
		run(2, "", []string{"list", "--user", ""}, "--user is empty")
		run(2, "", []string{"show", ""}, "argument is empty")
		run(0, "", []string{"count"}, "5\n")
		r := run(0, "y\n", []string{"end", "--user", "eve"}, "3 sessions were ended")
		if n := strings.Count(r.err, `"msg":"session_destroyed"`); n != 3 || !strings.Contains(r.err, `"operator":"olga"`) || !strings.Contains(r.err, `"user":"eve"`) {
			t.Errorf("the audit's log has %d of 3:\n%s", n, r.err)
		}
		run(0, "", []string{"end", "--handle", of("bob").Session, "--yes"}, "1 session was ended", "session_destroyed", of("bob").Session)
		if visits(t, m, ann) != 1 || visits(t, m, bob) != 0 {
			t.Error("another session was ended")
		}
		run(0, "", []string{"prune"}, "")
		run(0, "", []string{"end", "--all", "--yes", "--json"}, `{"ended":1}`)
		run(0, "", []string{"count"}, "0\n")
	}, eachstore.Kind.Lasts)
}

// A list of all says the same of a session as that of its user.
func TestListsAgree(t *testing.T) {
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		place := k.Place(t)
		for _, cookie := range []map[string]any{{"maxAge": nil, "secure": "auto"}, {"maxAge": "1h", "secure": "auto"}} {
			set := settings()
			set["cookie"], set["absoluteLifetime"] = cookie, "30h"
			file := place.File(t, set)
			m := open(t, file)
			signIn(t, m, "ann", 1)
			for _, soon := range []bool{false, true} {
				ctx, err := m.LoadID(t.Context(), signIn(t, m, "ann", 2))
				if err != nil {
					t.Fatal(err)
				}
				if soon {
					m.SetDeadline(ctx, time.Now().Add(10*time.Minute))
				} else {
					m.SetMaxAge(ctx, 3*time.Hour)
				}
				if err := m.Save(ctx); err != nil {
					t.Fatal(err)
				}
			}
			list := func(args ...string) map[string]row {
				rows := map[string]row{}
				for line := range strings.Lines(want(t, 0, "", append(args, "--json", "-c", file)).out) {
					var r row
					if err := json.Unmarshal([]byte(line), &r); err != nil {
						t.Fatal(err)
					}
					rows[r.Handle] = r
				}
				return rows
			}
			known, hers := 0, list("list", "--user", "ann")
			for handle, r := range list("list") {
				other := hers[handle]
				if r.LastUsed.IsZero() != other.LastUsed.IsZero() || r.Expires.IsZero() || r.Expires.Sub(other.Expires).Abs() > time.Minute {
					t.Errorf("of all, the list has\n%+v, and of Ann's\n%+v", r, other)
				} else if !r.LastUsed.IsZero() {
					known++
					if time.Since(r.LastUsed).Abs() > time.Minute || time.Since(other.LastUsed).Abs() > time.Minute {
						t.Errorf("last used %v, and %v", r.LastUsed, other.LastUsed)
					}
				}
			}
			if known != 2 || len(hers) != 3 {
				t.Errorf("of %d sessions, the last use of %d is known", len(hers), known)
			}
			want(t, 0, "", []string{"end", "--all", "--yes", "-c", file})
		}
	}, eachstore.Kind.Lasts)
}

// answer is a person who says yes, after something has happened.
type answer func()

func (before answer) Read(b []byte) (int, error) {
	before()
	return copy(b, "y\n"), nil
}

// A session that gets a new id while the question waits is not ended under the old one, and the
// command does not say that it was. With all of its user's, it is.
func TestRenewedMeanwhile(t *testing.T) {
	k := eachstore.All()[slices.IndexFunc(eachstore.All(), func(k eachstore.Kind) bool { return k.Backend.Type == "sqlite" })]
	file := k.Place(t).File(t, settings())
	m := open(t, file)
	ctx, err := m.LoadID(t.Context(), signIn(t, m, "ann", 1))
	if err != nil {
		t.Fatal(err)
	}
	renew := answer(func() {
		if err := errors.Join(m.RenewToken(ctx), m.Save(ctx)); err != nil {
			t.Error(err)
		}
		leaktest.Note(m.ID(ctx))
	})
	var errs bytes.Buffer
	a := &app{in: renew, out: io.Discard, err: &errs}
	if code := a.run(t.Context(), []string{"end", "-c", file, "--handle", m.Info(ctx).Handle}); code != notFound || !strings.Contains(errs.String(), "another id") {
		t.Errorf("it ended with %d\n%s", code, &errs)
	}
	a = &app{in: renew, out: io.Discard, err: io.Discard}
	if code := a.run(t.Context(), []string{"end", "-c", file, "--user", "ann"}); code != 0 || visits(t, m, m.ID(ctx)) != 0 {
		t.Errorf("it ended with %d, and the session has %d visits", code, visits(t, m, m.ID(ctx)))
	}
}

// What users have put into a session moves no cursor and hides nothing on a terminal, and is
// the same to a program.
func TestOddText(t *testing.T) {
	k := eachstore.All()[slices.IndexFunc(eachstore.All(), func(k eachstore.Kind) bool { return k.Backend.Type == "sqlite" })]
	file := k.Place(t).File(t, settings())
	m := open(t, file)
	const user, key, text = "eve\u202enna 👩\u200d🚀", "key\u009b31m\x1b[2J\n", "\u009b31m\x7f\u2028\U000e0001 ü \"quoted\""
	ctx, err := m.LoadID(t.Context(), signIn(t, m, user, 1))
	if err != nil {
		t.Fatal(err)
	}
	m.Put(ctx, key, text)
	if err := m.Save(ctx); err != nil {
		t.Fatal(err)
	}
	handle := m.Info(ctx).Handle
	for _, args := range [][]string{
		{"list"},
		{"list", "--json"},
		{"show", handle, "--values"},
		{"show", handle, "--values", "--json"},
		{"end", "--handle", handle},
		{"end", "--user", user},
		{"count", "-c", "no\x1b[2Jfile"},
		{"end", "--user", user, "--yes"},
	} {
		if !slices.Contains(args, "-c") {
			args = append(args, "-c", file)
		}
		r := samesid(t, "", args...)
		for _, c := range r.out + r.err {
			if !unicode.IsPrint(c) && c != '\n' {
				t.Errorf("%q has printed %q", args, c)
			}
		}
		if slices.Contains(args, "--json") && args[0] == "show" {
			var got struct {
				User string
				Keys []struct{ Key, Value any }
			}
			if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.User != user || !slices.Contains(got.Keys, struct{ Key, Value any }{key, text}) {
				t.Errorf("a program reads %+v, %v", got, err)
			}
		}
	}
}

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// What can't be written is a failure.
func TestFullDisk(t *testing.T) {
	k := eachstore.All()[slices.IndexFunc(eachstore.All(), func(k eachstore.Kind) bool { return k.Backend.Type == "sqlite" })]
	file := k.Place(t).File(t, settings())
	m := open(t, file)
	signIn(t, m, "ann", 1)
	var handle string
	if err := m.Iterate(t.Context(), func(ctx context.Context) error { handle = m.Info(ctx).Handle; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"show", handle}, {"list"}, {"count"}, {"check"}, {"ddl"}, {"secret"}, {"prune"}, {"help", "list"}, {"copy", "--to", k.Place(t).File(t, settings())},
	} {
		var errs bytes.Buffer
		a := &app{in: strings.NewReader(""), out: full{}, err: &errs}
		if code := a.run(t.Context(), append(args, "-c", file)); code != 1 || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("%q on a full disk ended with %d\n%s", args, code, &errs)
		}
	}
}

// cart is a type that the app knows, and the command does not.
type cart struct{ Items []string }

// What the command can't read, the app may: it says so, and ends it with the rest.
func TestTypesOfTheApp(t *testing.T) {
	gob.Register(cart{})
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		place := k.Place(t)
		file := place.File(t, settings())
		m := open(t, file)
		sign := func(user string) (id string, info adapter.Info) {
			ctx, err := m.LoadID(t.Context(), signIn(t, m, user, 1))
			if err != nil {
				t.Fatal(err)
			}
			m.Put(ctx, "cart", cart{[]string{"tea"}})
			if err := m.Save(ctx); err != nil {
				t.Fatal(err)
			}
			return m.ID(ctx), m.Info(ctx)
		}
		run := func(code int, args []string, parts ...string) result {
			t.Helper()
			return want(t, code, "", append(args, "-c", file), parts...)
		}
		ann, info := sign("ann")
		sign("bob")
		signIn(t, m, "eve", 1)
		const left = " left out, as this command can't read it"
		run(1, []string{"list"}, "2 sessions were"+left, "eve")
		run(1, []string{"list", "--user", "ann"}, "1 session was"+left)
		run(1, []string{"show", info.Handle}, left)
		run(1, []string{"end", "--handle", info.Name, "--yes"}, left)
		if visits(t, m, ann) != 1 {
			t.Error("the session was ended")
		}
		run(0, []string{"end", "--user", "ann", "--yes"}, "1 session was ended", "session_destroyed", info.Name)
		run(0, []string{"end", "--all", "--yes"}, "2 sessions were ended")
		if n := 0; m.Iterate(t.Context(), func(context.Context) error { n++; return nil }) != nil || n > 0 {
			t.Errorf("%d sessions are alive", n)
		}
	}, func(k eachstore.Kind) bool { return k.Lasts() && !k.Layout.Express })
}

// prune deletes what has expired.
func TestPrune(t *testing.T) {
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		place := k.Place(t)
		store := place.Open(t, eachstore.Settings{"cleanupInterval": time.Duration(-1)})
		record := []byte(`{"cookie":{}}`)
		for i := range 3 {
			if err := store.CommitCtx(t.Context(), fmt.Sprint("old", i), record, time.Now().Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.CommitCtx(t.Context(), "new", record, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		want(t, 0, "", []string{"prune", "-c", place.File(t, settings())}, "3 records were deleted")
		want(t, 0, "", []string{"prune", "-c", place.File(t, settings()), "--json"}, `{"deleted":0}`)
		if n, err := store.Len(t.Context()); n != 1 || err != nil {
			t.Errorf("%d sessions are left, %v", n, err)
		}
	}, eachstore.Kind.HasTable)
}

// From each layout to the next one, and from the last one to the first: the same sessions.
func TestCopyBetweenLayouts(t *testing.T) {
	t.Parallel()
	var places []*eachstore.Place
	for _, k := range eachstore.All() {
		if k.Lasts() {
			places = append(places, k.Place(t))
		}
	}
	first := open(t, places[0].File(t, settings()))
	ann, bob := signIn(t, first, "ann", 1), signIn(t, first, "bob", 2)
	for i, from := range places {
		to := places[(i+1)%len(places)]
		t.Run(fmt.Sprint(from.Kind, " to ", to.Kind), func(t *testing.T) {
			source, target := from.File(t, settings()), to.File(t, settings())
			last := i == len(places)-1
			if last { // the first store is another one by now
				a := open(t, target)
				ctx, err := a.LoadID(t.Context(), bob)
				if err != nil {
					t.Fatal(err)
				}
				a.Put(ctx, "visits", 99)
				if err := a.Save(ctx); err != nil {
					t.Fatal(err)
				}
				signIn(t, a, "eve", 7)
				want(t, 1, "", []string{"copy", "-c", source, "--to", target}, "The other store has 3 sessions", "nothing was done")
			}
			args := []string{"copy", "-c", source, "--to", target}
			if last {
				args = append(args, "--yes")
			}
			want(t, 0, "", args, "both stores have the same sessions")
			want(t, 0, "", append(args, "--json", "--yes"), `"sessions":2,"written":0,"moved":0,"ended":0,"refused":0,"passes":1,"equal":true`)
			m := open(t, target)
			if a, b := visits(t, m, ann), visits(t, m, bob); a != 1 || b != 2 {
				t.Errorf("the copy has %d and %d visits", a, b)
			}
			n := 0
			if err := m.IterateUser(t.Context(), "ann", func(context.Context) error { n++; return nil }); n != 1 || err != nil {
				t.Errorf("the copy has %d sessions of Ann's, %v", n, err)
			}
			want(t, 0, "", []string{"count", "-c", target}, "2\n")
		})
	}
}

// Sessions whose cookies the next file does not accept are copied for nobody, so copy says it.
func TestCopyToOtherCookies(t *testing.T) {
	k := eachstore.All()[slices.IndexFunc(eachstore.All(), func(k eachstore.Kind) bool { return k.Backend.Type == "sqlite" })]
	const other = "another secret of thirty-two bytes or more"
	leaktest.Note(other)
	for _, c := range []struct {
		from, to map[string]any
		says     string
	}{
		{nil, nil, ""},
		{nil, map[string]any{"secret": []string{other, secret}}, ""},
		{map[string]any{"secret": []string{other, secret}}, nil, "the first secret"},
		{nil, map[string]any{"name": "sid"}, "the cookie's name"},
		{nil, map[string]any{"name": "connect.sid"}, ""},
		{nil, map[string]any{"signature": "none"}, "signature"},
		{nil, map[string]any{"signature": "migrating"}, ""},
		{map[string]any{"signature": "none"}, map[string]any{"signature": "migrating"}, ""},
		{map[string]any{"signature": "none"}, nil, "signature"},
	} {
		from, to := settings(), settings()
		maps.Copy(from, c.from)
		maps.Copy(to, c.to)
		for _, set := range []map[string]any{from, to} {
			if set["signature"] == "none" {
				delete(set, "secret")
			}
		}
		r := want(t, 0, "", []string{"copy", "-c", k.Place(t).File(t, from), "--to", k.Place(t).File(t, to)}, c.says)
		if c.says == "" && r.err != "" || strings.Contains(r.err, other) {
			t.Errorf("%v to %v: %s", c.from, c.to, r.err)
		}
	}
}

func TestCopyRefuses(t *testing.T) {
	k := eachstore.All()[slices.IndexFunc(eachstore.All(), func(k eachstore.Kind) bool { return k.Backend.Type == "sqlite" })]
	place := k.Place(t)
	file, same := place.File(t, settings()), place.File(t, settings())
	signIn(t, open(t, file), "ann", 1)
	want(t, 1, "", []string{"copy", "-c", file, "--to", same, "--yes"}, "both Managers have the same store")
	want(t, 2, "", []string{"copy", "-c", file}, `required flag(s) "to" not set`)
	want(t, 1, "", []string{"copy", "-c", file, "--to", "none.yaml"}, "none.yaml")
	hashed := settings()
	hashed["storeKey"] = "hash"
	hashes := k.Place(t).File(t, hashed)
	want(t, 0, "", []string{"copy", "-c", file, "--to", hashes}, "both stores")
	want(t, 1, "", []string{"copy", "-c", hashes, "--to", k.Place(t).File(t, settings())}, "which can't be undone")
	damaged := k.Place(t)
	store := damaged.Open(t)
	if err := store.CommitCtx(t.Context(), "damaged", []byte("neither JSON nor gob"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	inJSON := settings()
	inJSON["codec"] = "json"
	args := []string{"copy", "-c", damaged.File(t, settings()), "--to", k.Place(t).File(t, inJSON)}
	want(t, 1, "", args, "1 session, 0 written, 0 moved, 0 ended, 1 refused", "1 session was not copied")
	want(t, 1, "", append(args, "--json"), `"sessions":1,"written":0,"moved":0,"ended":0,"refused":1,"passes":1,"equal":false`, "1 session was not copied")
	cmd := exec.Command(binary, "copy", "-c", file, "--to", same)
	cmd.Env = append(os.Environ(), "SAMESID_STORE_URL="+place.URL)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "counts for both files") {
		t.Errorf("%v: %s", err, out)
	}
}

// Of two stores on one Redis, neither may have the other's sessions among its own.
func TestCopyBetweenPrefixes(t *testing.T) {
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		place := k.Place(t)
		at := func(prefix string) string { return place.File(t, settings(), eachstore.Settings{"prefix": prefix}) }
		base := "nested-" + strings.ToLower(rand.Text()) + ":"
		short, long, other := at(base), at(base+"new:"), at("other-"+base)
		for _, file := range []string{short, long} {
			m := open(t, file)
			ann := signIn(t, m, "ann", 3)
			for _, args := range [][]string{{"-c", short, "--to", long}, {"-c", long, "--to", short}} {
				want(t, 1, "", append([]string{"copy", "--yes"}, args...), "give the store that is copied to another prefix")
			}
			if visits(t, m, ann) != 3 {
				t.Error("a copy that was refused has ended a session")
			}
			if _, err := m.DestroyUser(t.Context(), "ann"); err != nil {
				t.Error(err)
			}
		}
		signIn(t, open(t, long), "ann", 1)
		want(t, 0, "", []string{"copy", "-c", long, "--to", other, "--yes"}, "both stores have the same sessions")
	}, eachstore.IsOf("redis"))
}

// An interrupt ends the wait for what is typed.
func TestInterrupt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "session.yaml")
	if err := os.WriteFile(file, []byte("secret: "+secret), 0o600); err != nil {
		t.Fatal(err)
	}
	in, typed := io.Pipe() // nothing is
	defer typed.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &app{in: in, out: io.Discard, err: io.Discard}
	if code := a.run(ctx, []string{"decode-cookie", "-c", file}); code != 1 {
		t.Errorf("decode-cookie ended with %d", code)
	}
	if err := a.confirm(ctx, false, "End?"); err == nil {
		t.Error("an interrupt was taken for yes")
	}
}

// Mistakes on the command line, and in the file.
func TestMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	memory := write("memory.yaml", "secret: "+secret)
	wrong := write("wrong.yaml", "secret: "+secret+"\nstor: redis\n")
	for _, c := range []struct {
		code  int
		args  string
		parts []string
	}{
		{2, "nothing", []string{`unknown command "nothing"`}},
		{2, "count --nothing", []string{"unknown flag"}},
		{2, "count more", []string{"unknown command"}},
		{2, "show", []string{"accepts 1 arg(s)"}},
		{2, "end", []string{"at least one of the flags"}},
		{2, "end --all --user ann", []string{"none of the others can be"}},
		{1, "count -c " + dir + "/none.yaml", []string{"none.yaml", "--config names"}},
		{1, "count -c " + wrong, []string{"stor", "store"}},
		{1, "check -c " + wrong, []string{"error    file", "stor"}},
		{1, "count -c " + memory, []string{"in the memory of the app's own process"}},
		{0, "check -c " + memory, []string{"warning  config       the sessions are in memory, in production", "cookie.secure is false", "ok       session"}},
		{0, "--help", []string{"decode-cookie", "Exit status"}},
		{0, "completion bash", []string{"complete"}},
		{0, "secret", []string{"Put the new one last"}},
	} {
		want(t, c.code, "", strings.Fields(c.args), c.parts...)
	}
	// It is not the configuration file that is missing.
	if r := want(t, 1, "", []string{"count", "-c", write("files.yaml", "secretFile: none.txt\n")}, "secretFile"); strings.Contains(r.err, "--config") {
		t.Errorf("without a file of secretFile: %s", r.err)
	}
	// What was found, for programs.
	var f finding
	if err := json.Unmarshal([]byte(samesid(t, "", "check", "--json", "-c", wrong).out), &f); err != nil || f.Level != "error" || f.Of != "file" {
		t.Errorf("%+v, %v", f, err)
	}
	one, other := samesid(t, "", "secret").out, samesid(t, "", "secret").out
	if len(one) != 44 || one == other {
		t.Error("secrets are not 32 random bytes")
	}
}

// check does not wait for a server for ever.
func TestCheckEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "session.yaml")
	if err := os.WriteFile(file, []byte("secret: "+secret+"\nstore: {url: redis://127.0.0.1:1/0, layout: connect-redis}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"NODE_ENV", "APP_ENV"} {
		t.Setenv(name, "") // check sets them
	}
	// On a busy machine, a short time can be over before it has tried.
	for limit := 300 * time.Millisecond; ; limit *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		var out bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: io.Discard}
		code := a.run(ctx, []string{"check", "-c", file})
		if code == 1 && strings.Contains(out.String(), "error    store") && strings.Contains(out.String(), "refused") {
			return
		}
		if limit > 5*time.Second {
			t.Fatalf("check ended with %d:\n%s", code, &out)
		}
	}
}

// check names the right that is missing.
func TestCheckRights(t *testing.T) {
	eachstore.Run(t, func(t *testing.T, k eachstore.Kind) {
		place := k.Place(t)
		const password = "a password of the reader's"
		leaktest.Note(password)
		place.Redis(t, "ACL", "SETUSER", "samesid-reader", "reset", "on", ">"+password, "~*", "&*", "+@all", "-@write", "-@scripting")
		t.Cleanup(func() { place.Redis(t, "ACL", "DELUSER", "samesid-reader") })
		u, err := url.Parse(place.URL)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword("samesid-reader", password)
		place.URL = u.String()
		r := want(t, 1, "", []string{"check", "-c", place.File(t, settings())}, "error", "NOPERM")
		if strings.Contains(r.out+r.err, password) {
			t.Error("check has printed the password")
		}
	}, eachstore.IsOf("redis"))
}
