//go:build unix

package proof

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
	"github.com/samesid/samesid/internal/wire"
)

const foreignSecret = "a secret of the app that shares its store"

// foreignApp is an app on a store whose records the test also accesses directly, as another
// program would, with its log.
type foreignApp struct {
	*adapter.Manager
	place   *eachstore.Place
	store   backends.Store
	records *eachstore.Records
	log     leaktest.Log
}

func newForeignApp(t *testing.T, p *eachstore.Place, more ...eachstore.Settings) *foreignApp {
	t.Helper()
	leaktest.Note(foreignSecret)
	a := &foreignApp{place: p, store: p.Open(t, more...)}
	a.records = p.Records(t, a.store)
	var err error
	if a.Manager, err = adapter.New(adapter.Options{
		Secrets: []string{foreignSecret},
		Store:   a.store,
		Logger:  a.log.Logger(),
	}); err != nil {
		t.Fatal(err)
	}
	return a
}

// inEachLayout runs a test on an app in each layout of each store that meets all
// conditions.
func inEachLayout(t *testing.T, test func(*testing.T, *foreignApp), conditions ...func(eachstore.Kind) bool) {
	t.Parallel()
	eachstore.Run(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		test(t, newForeignApp(t, k.Place(t)))
	}, conditions...)
}

// lines returns what was logged since the last call, except the line, logged once, that
// a session was not found.
func (a *foreignApp) lines() []string {
	defer a.log.Reset()
	return slices.DeleteFunc(slices.Collect(strings.Lines(a.log.String())), func(line string) bool {
		return strings.Contains(line, "the store does not have its session (said once")
	})
}

// do sends a request with the cookie of a session. It returns the answer and the id in
// its cookie, or "" if it sets none.
func (a *foreignApp) do(t *testing.T, id string, handler func(context.Context) error) (*httptest.ResponseRecorder, string) {
	t.Helper()
	signer := wire.NewSigner([]string{foreignSecret})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Cookie", "connect.sid="+signer.Sign(id))
	w := httptest.NewRecorder()
	a.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := handler(r.Context()); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, r)
	cookies := w.Result().Cookies()
	if len(cookies) == 0 {
		return w, ""
	}
	value, _ := wire.CookieValue([]string{cookies[0].Name + "=" + cookies[0].Value}, cookies[0].Name)
	sent, ok := signer.Unsign(value)
	leaktest.Note(value)
	if cookies[0].Value != "" && !ok {
		t.Error("the answer's cookie is not signed")
	}
	return w, sent
}

// foreignNote has a type that only the program that wrote it knows.
type foreignNote struct{ Text string }

// foreignGob returns v encoded as gob.
func foreignGob(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unreadable returns records that can't be decoded as a session, by description.
func unreadable(t *testing.T) map[string][]byte {
	type scsRecord struct {
		Deadline time.Time
		Values   map[string]any
	}
	// The encoder knows this name; the one that replaces it below is unknown to the
	// decoder.
	gob.RegisterName("foreignNoteA", foreignNote{})
	session := foreignGob(t, scsRecord{time.Now().Add(time.Hour), map[string]any{"user": "grace"}})
	unregistered := foreignGob(t, scsRecord{time.Now().Add(time.Hour), map[string]any{"note": foreignNote{"x"}}})
	const good = `{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"},"user":"grace"}`
	return map[string][]byte{
		"junk":                        {0xff, 0x00, 0x9c, 'x', 0x80, 0x01},
		"text":                        []byte("a text of another program"),
		"nothing":                     {},
		"truncated JSON":              []byte(good[:len(good)-9]),
		"JSON and more":               []byte(good + "{}"),
		"JSON array":                  []byte(`[` + good + `]`),
		"JSON string":                 []byte(`"grace"`),
		"JSON number":                 []byte(`7`),
		"JSON null":                   []byte(`null`),
		"JSON without cookie":         []byte(`{"user":"grace"}`),
		"JSON cookie is null":         []byte(`{"cookie":null,"user":"grace"}`),
		"JSON cookie is a text":       []byte(`{"cookie":"s:abc","user":"grace"}`),
		"JSON cookie is an array":     []byte(`{"cookie":[],"user":"grace"}`),
		"JSON maxAge is a text":       []byte(strings.Replace(good, `"originalMaxAge":null`, `"originalMaxAge":"1h"`, 1)),
		"JSON path is an object":      []byte(strings.Replace(good, `"path":"/"`, `"path":{}`, 1)),
		"JSON path ends the header":   []byte(strings.Replace(good, `"path":"/"`, `"path":"/\r\nX: y"`, 1)),
		"JSON deadline is a text":     []byte(`{"cookie":{},"user":"grace","__deadline":"tomorrow"}`),
		"JSON of scs":                 []byte(`{"Deadline":"2099-01-01T00:00:00Z","Values":{"user":"grace"}}`),
		"truncated gob":               session[:len(session)-3],
		"gob of a text":               foreignGob(t, "grace"),
		"gob of another struct":       foreignGob(t, foreignNote{"x"}),
		"gob of other types":          foreignGob(t, struct{ Deadline, Values string }{"never", "none"}),
		"gob with an unknown type":    bytes.Replace(unregistered, []byte("foreignNoteA"), []byte("foreignNoteB"), 1),
		"gob that says it is endless": {0xf8, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
	}
}

// If the record under a session's key can't be decoded, the request has a new session,
// and the log has a line. The record remains unchanged, whatever the request does, and
// affects nobody else.
func TestForeignRecords(t *testing.T) {
	inEachLayout(t, func(t *testing.T, a *foreignApp) {
		var held []string
		for name, data := range unreadable(t) {
			if !a.records.Takes(data) {
				continue
			}
			id := "foreign-" + strings.ReplaceAll(name, " ", "-")
			leaktest.Note(id)
			held = append(held, id)
			t.Run(name, func(t *testing.T) { foreignRecord(t, a, id, data) })
		}
		if len(held) < 10 {
			t.Fatalf("%d records are too few", len(held))
		}

		// The sessions that the requests above have begun.
		want, err := a.store.Len(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want -= len(held)
		before, got := a.Stats().UnreadableRecords, 0
		err = a.Iterate(t.Context(), func(ctx context.Context) error {
			got++
			if slices.Contains(held, a.ID(ctx)) || a.GetString(ctx, "user") == "grace" {
				t.Error("a listing has a record that can't be read")
			}
			return nil
		})
		if got != want || want < len(held) || err != nil {
			t.Errorf("a listing has %d sessions, want %d, %v", got, want, err)
		}
		if n := a.Stats().UnreadableRecords - before; n != uint64(len(held)) {
			t.Errorf("%d records are counted as unreadable, want %d", n, len(held))
		}
		if n := len(a.lines()); n != len(held) {
			t.Errorf("the listing has logged %d lines, want one for each of the %d records", n, len(held))
		}
	})
}

func foreignRecord(t *testing.T, a *foreignApp, id string, data []byte) {
	a.records.Put(t, id, data)
	for _, step := range []struct {
		name  string
		do    func(context.Context) error
		saved bool // the request begins a session
	}{
		{"read", func(context.Context) error { return nil }, false},
		{"put", func(ctx context.Context) error { a.Put(ctx, "user", "ada"); return nil }, true},
		{"save", func(ctx context.Context) error { a.Put(ctx, "user", "ada"); return a.Save(ctx) }, true},
		{"touch", a.Touch, false},
		{"renew", a.RenewToken, true},
		{"regenerate", a.Regenerate, true},
		{"destroy", a.Destroy, false},
		{"max age", func(ctx context.Context) error { a.SetMaxAge(ctx, -1); return nil }, false},
		{"unset", func(ctx context.Context) error { a.Unset(ctx); return nil }, false},
		{"reload", func(ctx context.Context) error {
			if err := a.Reload(ctx); !errors.Is(err, adapter.ErrGone) {
				return fmt.Errorf("Reload: %w, want ErrGone", err)
			}
			return nil
		}, false},
		{"merge", func(ctx context.Context) error {
			a.Put(ctx, "user", "ada")
			return a.MergeSession(ctx, id)
		}, true},
	} {
		before := a.Stats().UnreadableRecords
		w, sent := a.do(t, id, func(ctx context.Context) error {
			if keys := a.Keys(ctx); len(keys) != 0 || a.ID(ctx) == id {
				t.Errorf("%s: the session has the keys %q and is the record's: %t, want a new one", step.name, keys, a.ID(ctx) == id)
			}
			return step.do(ctx)
		})
		if w.Code != http.StatusOK || (sent != "") != step.saved || sent == id {
			t.Errorf("%s: a %d with the cookie of a session: %t, want a 200 and %t; the record's own: %t",
				step.name, w.Code, sent != "", step.saved, sent == id)
		}
		reads := 1
		if step.name == "merge" {
			reads = 2
		}
		if lines := a.lines(); len(lines) != reads || !strings.Contains(lines[0], "level=WARN") ||
			a.Stats().UnreadableRecords != before+uint64(reads) {
			t.Errorf("%s: %d unreadable, want %d, each with a warning: %q", step.name, a.Stats().UnreadableRecords-before, reads, lines)
		}
		if got := a.records.Get(t, id); got == nil || !bytes.Equal(got, data) {
			t.Fatalf("%s: the record is now %q", step.name, got)
		}
	}
}

// A change to a record keeps what a newer version has added to it. Unknown content of
// its cookie is accepted if Express accepts it too.
func TestForeignVersions(t *testing.T) {
	records := map[string]string{
		"unknown keys": `{"cookie":{"originalMaxAge":3600000,"expires":"2099-01-01T00:00:00.000Z","httpOnly":true,"path":"/","layer":{"a":1}},` +
			`"version":2.50,"user":"grace","more":{"of": ["this", 1e2, -0.0, 1e400, null]},"":0}`,
		"long ago":      `{"cookie":{"originalMaxAge":3600000,"expires":"2001-01-01T00:00:00.000Z"},"version":2.50,"user":"grace"}`,
		"the last date": `{"cookie":{"originalMaxAge":3600000,"expires":"+275760-09-13T00:00:00.000Z"},"version":2.50,"user":"grace"}`,
		"no date":       `{"cookie":{"expires":"when the cows come home"},"version":2.50,"user":"grace"}`,
		"a number":      `{"cookie":{"expires":1e400},"version":2.50,"user":"grace"}`,
		"an object":     `{"cookie":{"expires":{"$date":1}},"version":2.50,"user":"grace"}`,
		"endless":       `{"cookie":{"originalMaxAge":1e300,"expires":null},"version":2.50,"user":"grace"}`,
		"two cookies":   `{"cookie":null,"version":2.50,"user":"grace","cookie":{}}`,
	}
	inEachLayout(t, func(t *testing.T, a *foreignApp) {
		for name, record := range records {
			t.Run(name, func(t *testing.T) {
				id := "versions-" + strings.ReplaceAll(name, " ", "-")
				leaktest.Note(id)
				a.records.Put(t, id, []byte(record))
				for _, user := range []string{"grace", "ada"} {
					w, _ := a.do(t, id, func(ctx context.Context) error {
						if got := a.GetString(ctx, "user"); got != user || a.ID(ctx) != id {
							t.Errorf("the session is %q's, want %q's", got, user)
						}
						a.Put(ctx, "user", "ada")
						return nil
					})
					if w.Code != http.StatusOK {
						t.Errorf("a %d, want a 200", w.Code)
					}
				}
				var was, is map[string]json.RawMessage
				if err := errors.Join(json.Unmarshal([]byte(record), &was), json.Unmarshal(a.records.Get(t, id), &is)); err != nil {
					t.Fatal(err)
				}
				was["user"] = json.RawMessage(`"ada"`)
				for key, value := range was {
					if key != "cookie" && string(is[key]) != string(value) {
						t.Errorf("%q is now %s, want %s", key, is[key], value)
					}
				}
				if len(is) != len(was) {
					t.Errorf("the record has %d keys, want %d", len(is), len(was))
				}
			})
		}
		if lines := a.lines(); len(lines) != 0 {
			t.Errorf("logged: %q", lines)
		}
	}, func(k eachstore.Kind) bool { return k.Layout.Express })
}

// For a key of another type, Redis returns an error, which does not mean that there is
// no session: the answer is a 503, and the key stays.
func TestForeignTypes(t *testing.T) {
	inEachLayout(t, func(t *testing.T, a *foreignApp) {
		prefix := a.place.Settings["prefix"].(string)
		const id = "a-list-of-another-app"
		leaktest.Note(id)
		a.place.Redis(t, "RPUSH", prefix+id, "a", "b")

		w, sent := a.do(t, id, func(context.Context) error { return errors.New("the handler has run") })
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || sent != "" {
			t.Errorf("a %d with Retry-After %q, want a 503", w.Code, w.Header().Get("Retry-After"))
		}
		if lines := a.lines(); len(lines) != 1 || !strings.Contains(lines[0], "WRONGTYPE") || strings.Contains(lines[0], id) {
			t.Errorf("logged: %q, want one line that says why", lines)
		}

		_, own := a.do(t, "unknown", func(ctx context.Context) error { a.Put(ctx, "user", "ada"); return nil })
		var listed []string
		err := a.Iterate(t.Context(), func(ctx context.Context) error {
			listed = append(listed, a.ID(ctx))
			return nil
		})
		if !slices.Equal(listed, []string{own}) || own == "" || err != nil || len(a.lines()) != 0 {
			t.Errorf("a listing has %d sessions, %v; want the one, and nothing logged", len(listed), err)
		}
		if n, err := redigo.Int(a.place.Redis(t, "LLEN", prefix+id), nil); n != 2 || err != nil {
			t.Errorf("the list has %d elements, %v", n, err)
		}
	}, eachstore.IsOf("redis"))
}

// Only keys that begin with exactly the prefix belong to a store, even if the prefix
// contains characters of a pattern.
func TestForeignNeighbours(t *testing.T) {
	for name, tt := range map[string]struct {
		own    string
		others []string
	}{
		"plain":   {"sess:", []string{"sess", "sess2:x", "ses:x", "Sess:x", "x:sess:x", "sess;x"}},
		"star":    {"s*:", []string{"s:x", "sess:x", "s**:x", "s\\*:x"}},
		"mark":    {"s?:", []string{"sx:x", "s:x", "s??:x"}},
		"class":   {"s[a-z]:", []string{"sa:x", "sz:x", "s[:x", "s[a-z:x"}},
		"not":     {"s[^a]", []string{"sbx", "s[bx", "s^x"}},
		"escape":  {`s\:`, []string{"s:x", `s\x`, `s\\:x`}},
		"newline": {"s\n*\x00\xff:", []string{"s\nx\x00\xff:x", "s\n*:x"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachstore.Run(t, func(t *testing.T, k eachstore.Kind) {
				t.Parallel()
				p := k.Place(t)
				space := p.Settings["prefix"].(string)
				a := newForeignApp(t, p, eachstore.Settings{"prefix": space + tt.own})
				_, own := a.do(t, "unknown", func(ctx context.Context) error { a.Put(ctx, "user", "ada"); return nil })
				// Readable records that do not belong to the store.
				record := p.Redis(t, "GET", space+tt.own+own)
				for _, other := range tt.others {
					p.Redis(t, "SET", space+other, record)
				}
				p.Redis(t, "RPUSH", space+"list", "a")

				listed := 0
				err := a.Iterate(t.Context(), func(context.Context) error { listed++; return nil })
				n, lenErr := a.store.Len(t.Context())
				if listed != 1 || n != 1 || err != nil || lenErr != nil {
					t.Errorf("a listing has %d sessions, a count %d, want 1: %v, %v", listed, n, err, lenErr)
				}
				if err := a.store.Clear(t.Context()); err != nil {
					t.Fatal(err)
				}
				if p.Redis(t, "GET", space+tt.own+own) != nil {
					t.Error("clearing has left the session")
				}
				for _, other := range tt.others {
					if p.Redis(t, "GET", space+other) == nil || p.Redis(t, "PTTL", space+other) != int64(-1) {
						t.Errorf("the key %q is gone, or ends now", other)
					}
				}
				if lines := a.lines(); len(lines) != 0 {
					t.Errorf("logged: %q", lines)
				}
			}, eachstore.IsOf("redis"))
		})
	}
}

// Rows of another program in the table cause no failure, whatever they contain: neither a
// listing nor the clean-up stops at one. The clean-up deletes expired rows, as Express's
// does, and nothing else.
func TestForeignRows(t *testing.T) {
	eachstore.Run(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		a := newForeignApp(t, k.Place(t), eachstore.Settings{"cleanupInterval": time.Millisecond})
		_, own := a.do(t, "unknown", func(ctx context.Context) error { a.Put(ctx, "user", "ada"); return nil })

		put := func(id, expiry string) {
			t.Helper()
			table := a.records.Table
			_, err := table.Exec(fmt.Sprintf("INSERT INTO %s (%s, %s, %s%s) SELECT $1, $2, $3%[5]s FROM %[1]s WHERE %[2]s = $4",
				table.Name, table.ID, table.Data, table.Expiry, table.Others), id, `[null]`, expiry, own)
			if err != nil {
				t.Fatal(err)
			}
		}
		live := []string{"", " ", "a'b\"c", "\n\t", "ключ", "~", strings.Repeat("z", cmp.Or(k.Layout.MaxID, 255))}
		for i, id := range live {
			put(id, []string{"infinity", "9999-12-31", "40000-01-01"}[i%3])
		}
		expired := []string{"old", "older", "oldest"}
		for i, id := range expired {
			put(id, []string{"2001-01-01", "4000-01-01 BC", "-infinity"}[i])
		}
		testserver.Until(t, "the expired rows are gone", func() bool { return a.records.Count(t) <= len(live)+1 })

		listed := 0
		err := a.Iterate(t.Context(), func(ctx context.Context) error {
			if listed++; a.ID(ctx) != own {
				t.Error("a listing has a row that is no session")
			}
			return nil
		})
		if listed != 1 || err != nil || len(a.lines()) != len(live) {
			t.Errorf("a listing has %d sessions, want 1, and a line for each of the rows: %v", listed, err)
		}
		// Later rows are cleaned up too, so the clean-up has not stopped at a row.
		put("late", "2001-01-01")
		testserver.Until(t, "the expired rows are gone", func() bool { return a.records.Count(t) <= len(live)+1 })
		if n := a.records.Count(t); n != len(live)+1 {
			t.Errorf("%d rows are left, want %d", n, len(live)+1)
		}
	}, eachstore.IsOf("postgres"))
}
