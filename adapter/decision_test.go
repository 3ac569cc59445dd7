package adapter_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/wire"
)

// decision is one row of the table: what comes in, and the options.
type decision struct {
	cookie  string
	handler string
	resave, saveUninitialized, rolling,
	unsetDestroy, maxAge bool
}

const (
	cookieAge  = time.Hour        // cookie.maxAge, where set
	storeTTL   = 3 * time.Hour    // Options.TTL, where it is not
	handlerAge = 30 * time.Minute // what the handler's SetMaxAge sets
)

// outcome is what express-session does, with the differences on purpose.
type outcome struct {
	calls  string        // on a store with every optional method
	plain  string        // on one with none
	cookie string        // "", "set", "cleared"
	age    time.Duration // of the cookie that is set; 0: no expiry
	data   map[string]any
	ttl    time.Duration // of the record afterwards
	newID  bool          // the record is under an id other than the cookie's
}

// express is express-session's end of a request (index.js, res.end), for a
// session that holds {"a": 1} if it is found.
func express(d decision) outcome {
	var o outcome
	calls := func(full, plain string) {
		o.calls = strings.TrimSpace(o.calls + " " + full)
		o.plain = strings.TrimSpace(o.plain + " " + plain)
	}
	found := d.cookie == "valid"
	if d.cookie == "valid" || d.cookie == "expired" || d.cookie == "unknown" {
		if d.resave {
			calls("find", "find")
		} else {
			calls("findtouch", "find")
		}
	}

	age, ttl := time.Duration(0), storeTTL
	if d.maxAge {
		age, ttl = cookieAge, cookieAge
	}
	data := map[string]any{}
	o.ttl = ttl
	if found {
		data["a"] = 1
	}
	o.data = map[string]any{}
	if found {
		o.data["a"] = 1
	}

	clear := func() {
		if d.cookie != "none" {
			o.cookie = "cleared"
		}
		if found {
			calls("delete", "delete")
		}
		o.data = nil
	}
	isNew, modified, saved := !found, false, found && !d.resave
	everSaved := saved
	switch d.handler {
	case "put":
		data["b"], modified, saved = 2, true, false
	case "same put":
		data["a"] = 1
		modified = !found
		saved = saved && found
	case "delete":
		delete(data, "a")
		modified = found
		saved = saved && !found
	case "regenerate":
		data, isNew, modified, saved = map[string]any{}, true, true, false
		o.newID = true
	case "save":
		if isNew {
			calls("create", "find commit")
		} else {
			calls("replace", "find commit")
		}
		o.data, saved, everSaved = data, true, true
	case "setMaxAge":
		age = handlerAge
	case "destroy":
		clear()
		return o
	case "unset":
		if d.unsetDestroy {
			clear()
		} else if !found {
			o.data = nil
		} else if d.resave {
			o.ttl = -1 // read without sliding, and left alone
		}
		return o
	}

	save := !saved
	if isNew && !d.saveUninitialized && !everSaved {
		save = modified
	}
	keepsAge := d.handler == "setMaxAge" && found
	switch {
	case save && isNew && found: // under a new id
		calls("move", "find find commit delete")
		o.data = data
	case save && isNew:
		calls("create", "find commit")
		o.data = data
	case save || keepsAge:
		calls("replace", "find commit")
		o.data = data
	case !isNew && d.handler != "save":
		calls("", "find commit") // the touch; FindTouch has done it on a full store
	}
	if age > 0 {
		o.ttl = age
	}
	if isNew && !save && !everSaved {
		o.data = nil
	}
	if isNew {
		o.newID = true
		if d.saveUninitialized || modified {
			o.cookie = "set"
		}
	} else if d.rolling || age > 0 && modified {
		o.cookie = "set"
	}
	o.age = age
	return o
}

func TestDecisions(t *testing.T) {
	for _, cookie := range []string{"none", "valid", "forged", "expired", "unknown"} {
		for _, handler := range []string{"nothing", "put", "same put", "delete", "regenerate", "destroy", "unset", "save", "setMaxAge"} {
			// A subtest for each of the 5,760 would take longer than what it tests.
			t.Run(fmt.Sprintf("cookie=%s/handler=%s", cookie, handler), func(t *testing.T) {
				for bits := range 1 << 7 {
					is := func(bit int) bool { return bits>>bit&1 == 1 }
					d := decision{cookie, handler, is(0), is(1), is(2), is(3), is(4)}
					full, json := is(5), is(6)
					checkDecision(t, d, express(d), full, json)
					if t.Failed() {
						t.Fatalf("%+v, full=%t, json=%t", d, full, json)
					}
				}
			})
		}
	}
}

func checkDecision(t *testing.T, d decision, want outcome, full, json bool) {
	store := newMapStore()
	o := adapter.Options{
		Secrets: []string{secret}, Store: plainStore{store}, TTL: storeTTL,
		Resave: d.resave, SaveUninitialized: d.saveUninitialized, Rolling: d.rolling,
		Codec: scs.GobCodec{},
	}
	if full {
		o.Store = fullStore{store}
	}
	if json {
		o.Codec = adapter.JSONCodec{}
	}
	if d.unsetDestroy {
		o.Unset = adapter.UnsetDestroy
	}
	if d.maxAge {
		o.Cookie.MaxAge = cookieAge
	}
	synctest.Test(t, func(t *testing.T) { checkRequest(t, d, want, newManager(t, o), store, full) })
}

func checkRequest(t *testing.T, d decision, want outcome, m *adapter.Manager, store *mapStore, full bool) {
	id := begin(t, m, map[string]any{"a": 1})
	const elapsed = time.Minute
	time.Sleep(elapsed)
	cookie := cookieFor(id)
	switch d.cookie {
	case "none":
		cookie = ""
	case "forged":
		cookie = strings.Replace(cookie, "connect.sid=s%3A", "connect.sid=s%3AX", 1)
	case "expired":
		store.records[id] = mapRecord{store.records[id].data, time.Now()}
	case "unknown":
		delete(store.records, id)
	}
	others := map[string]bool{}
	if d.cookie == "none" || d.cookie == "forged" {
		others[id] = true // a session that this request has nothing to do with
	}
	store.takeCalls()

	var current string
	w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		var err error
		switch d.handler {
		case "put":
			m.Put(ctx, "b", 2)
		case "same put":
			m.Put(ctx, "a", 1)
		case "delete":
			m.Remove(ctx, "a")
		case "regenerate":
			err = m.Regenerate(ctx)
		case "destroy":
			err = m.Destroy(ctx)
		case "unset":
			m.Unset(ctx)
		case "save":
			err = m.Save(ctx)
		case "setMaxAge":
			m.SetMaxAge(ctx, handlerAge)
		}
		if err != nil {
			t.Errorf("%s: %v", d.handler, err)
		}
		current = m.ID(ctx)
	})
	if w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}

	calls := want.plain
	if full {
		calls = want.calls
	}
	// To save what has not changed is a Swap of equal bytes.
	if got := strings.ReplaceAll(store.takeCalls(), " touch", " replace"); got != calls {
		t.Errorf("store calls %q, want %q", got, calls)
	}
	checkCookie(t, w, want, current)
	if (current != id) != (want.newID || d.handler == "destroy" || d.cookie != "valid") {
		t.Errorf("the id changed: %t", current != id)
	}

	// The record.
	if want.data == nil {
		for key := range store.records {
			if _, live := store.live(key); live && !others[key] {
				t.Errorf("a record is left, and none is wanted")
			}
		}
		return
	}
	record, ok := store.records[current]
	if !ok {
		t.Fatal("no record")
	}
	if got := read(t, m, current); !reflect.DeepEqual(got, want.data) {
		t.Errorf("record %v, want %v", got, want.data)
	}
	ttl := want.ttl
	if ttl < 0 || d.handler == "unset" && !full {
		ttl = storeTTL - elapsed // as it was
		if d.maxAge {
			ttl = cookieAge - elapsed
		}
	}
	if got := time.Until(record.expiry); got != ttl {
		t.Errorf("the record ends in %v, want %v", got, ttl)
	}
}

func checkCookie(t *testing.T, w *httptest.ResponseRecorder, want outcome, id string) {
	t.Helper()
	header := w.Header()["Set-Cookie"]
	var expected []string
	switch want.cookie {
	case "set":
		c := wire.SetCookie{
			Name: "connect.sid", Value: wire.NewSigner([]string{secret}).Sign(id), Path: "/", HTTPOnly: true,
		}
		if want.age > 0 {
			seconds := int64(want.age / time.Second)
			c.MaxAge, c.Expires = &seconds, time.Now().Add(want.age)
		}
		expected = []string{c.String()}
	case "cleared":
		expected = []string{"connect.sid=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:01 GMT; HttpOnly"}
	}
	if !reflect.DeepEqual(header, expected) {
		t.Errorf("Set-Cookie %q, want %q", header, expected)
	}
}
