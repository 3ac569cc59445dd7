package adapter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

// events are what an audit log was told.
type events struct {
	bytes.Buffer
	t *testing.T
}

func (e *events) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(leaktest.Copy(e), nil)) }

// take returns the events since the last call.
func (e *events) take() (all []map[string]any) {
	e.t.Helper()
	for line := range strings.Lines(e.String()) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			e.t.Fatal(err)
		}
		if at, err := time.Parse(time.RFC3339Nano, event["time"].(string)); err != nil || !strings.HasSuffix(event["time"].(string), "Z") || time.Since(at).Abs() > time.Minute {
			e.t.Errorf("the time is %v", event["time"])
		}
		all = append(all, event)
	}
	e.Reset()
	return all
}

func names(all []map[string]any) (names []string) {
	for _, event := range all {
		names = append(names, event["msg"].(string))
	}
	return names
}

// want returns the events since the last call, which must have these names.
func (e *events) want(what string, want ...string) []map[string]any {
	e.t.Helper()
	all := e.take()
	if !slices.Equal(names(all), want) {
		e.t.Fatalf("%s: the events are %v, want %q", what, all, want)
	}
	return all
}

func TestAudit(t *testing.T) {
	for _, key := range []adapter.StoreKey{adapter.StoreKeyID, adapter.StoreKeyHash} {
		log := &events{t: t}
		store := memory.New(memory.Options{})
		m := newManager(t, adapter.Options{Store: store, StoreKey: key, UserPath: "user.id", Audit: log.logger(), Logger: (&leaktest.Log{}).Logger()})
		ann := signUserIn(t, m, "ann")
		created := log.want("a new session", adapter.EventCreated)[0]
		if created["user"] != "ann" || created["client"] != "192.0.2.1" || created["method"] != "GET" || created["route"] != "/" || len(created["session"].(string)) != 12 {
			t.Errorf("the event is %v", created)
		}
		serve(m, ann, func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "n", 1) })
		log.want("a change")

		renew := func(fn func(context.Context) error) string {
			w := serve(m, ann, func(w http.ResponseWriter, r *http.Request) {
				if err := fn(r.Context()); err != nil {
					t.Error(err)
				}
				m.Put(r.Context(), "n", 2)
			})
			cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
			return cookie
		}
		old := ann
		ann = renew(m.RenewToken)
		renewed := log.want("a new id", adapter.EventRenewed)[0]
		if renewed["replaces"] != created["session"] || renewed["session"] == created["session"] || renewed["user"] != "ann" {
			t.Errorf("the event is %v", renewed)
		}
		ann = renew(m.Regenerate)
		if event := log.want("begun anew", adapter.EventCreated)[0]; event["replaces"] != renewed["session"] || event["user"] != nil {
			t.Errorf("the event is %v", event)
		}
		serve(m, old, func(w http.ResponseWriter, r *http.Request) {})
		if event := log.want("an old cookie", adapter.EventUnknown)[0]; event["session"] != created["session"] {
			t.Errorf("the event is %v", event)
		}
		serve(m, "connect.sid=s%3Aforged.signature", func(w http.ResponseWriter, r *http.Request) {})
		if event := log.want("a forged cookie", adapter.EventBadSignature)[0]; event["session"] != nil || event["client"] != "192.0.2.1" {
			t.Errorf("the event is %v", event)
		}
		serve(m, ann, func(w http.ResponseWriter, r *http.Request) {
			if err := m.Destroy(r.Context()); err != nil {
				t.Error(err)
			}
		})
		log.want("a logout", adapter.EventDestroyed)

		// By another session, and by nobody's.
		laptop, phone := signUserIn(t, m, "ann"), signUserIn(t, m, "ann")
		begun := log.want("two more", adapter.EventCreated, adapter.EventCreated)
		serve(m, laptop, func(w http.ResponseWriter, r *http.Request) {
			if n, err := m.DestroyOthers(r.Context(), "ann"); n != 1 || err != nil {
				t.Errorf("DestroyOthers: %d, %v", n, err)
			}
		})
		if event := log.want("ended by the other", adapter.EventDestroyed)[0]; event["session"] != begun[1]["session"] || event["by"] != begun[0]["session"] || event["user"] != "ann" || event["client"] != "192.0.2.1" {
			t.Errorf("the event is %v", event)
		}
		if _, err := m.DestroyUser(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		if event := log.want("ended by an operator", adapter.EventDestroyed)[0]; event["session"] != begun[0]["session"] || event["by"] != nil || event["client"] != nil {
			t.Errorf("the event is %v", event)
		}
		leaktest.Note(laptop, phone)

		serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "n", 1)
			m.Audit(r.Context(), slog.LevelWarn, "my_event", "client", "198.51.100.7", "what", "this")
		})
		own := log.want("an event of the app's", "my_event", adapter.EventCreated)[0]
		if own["client"] != "198.51.100.7" || own["what"] != "this" || own["level"] != "WARN" || own["route"] != "/" {
			t.Errorf("the event is %v", own)
		}
		m.Audit(t.Context(), slog.LevelInfo, "elsewhere", "n", 1)
		log.want("outside of a request", "elsewhere")
	}
}

func TestAuditOfUnreadableRecords(t *testing.T) {
	log := &events{t: t}
	store := memory.New(memory.Options{})
	m := newManager(t, adapter.Options{Store: store, Audit: log.logger(), Logger: (&leaktest.Log{}).Logger()})
	id := begin(t, m, map[string]any{"n": 1})
	log.want("a new session", adapter.EventCreated)
	if err := store.Commit(id, []byte("no record"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {})
	log.want("a record that can't be read", adapter.EventUnreadable)
	if strings.Contains(log.String(), id) {
		t.Error("an event has the session's id")
	}
	newManager(t, adapter.Options{}).Audit(t.Context(), slog.LevelInfo, "nobody listens")
}
