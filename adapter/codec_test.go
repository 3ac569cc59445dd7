package adapter_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
)

func TestJSONRecordIsExpress(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}, Cookie: adapter.Cookie{MaxAge: 7 * 24 * time.Hour, SameSite: "Lax"}})
	synctest.Test(t, func(t *testing.T) {
		id := begin(t, m, map[string]any{"user": map[string]any{"name": "Ann <ann@example.com>"}, "n": 1})
		want := `{"cookie":{"originalMaxAge":604800000,"expires":"2000-01-08T00:00:00.000Z","secure":false,"httpOnly":true,"path":"/","sameSite":"lax"},"n":1,"user":{"name":"Ann <ann@example.com>"}}`
		if got := string(store.records[id].data); got != want {
			t.Errorf("record\n%s, want\n%s", got, want)
		}
	})
}

func TestReservedKey(t *testing.T) {
	out := &leaktest.Log{}
	m := newManager(t, adapter.Options{Codec: adapter.JSONCodec{}, Logger: out.Logger()})
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "cookie", "mine") })
	if w.Code != http.StatusInternalServerError || !strings.Contains(out.String(), "cookie") || strings.Contains(out.String(), "mine") {
		t.Errorf("status %d, log %s", w.Code, out)
	}
}

func TestJSONCodecOfItsOwn(t *testing.T) {
	deadline := time.Date(2026, 11, 29, 20, 52, 8, 665_000_000, time.UTC)
	values := map[string]any{"a": 1, "b": "two"}
	b, err := adapter.JSONCodec{}.Encode(deadline, values)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b) || len(values) != 2 {
		t.Errorf("record %s, values %v", b, values)
	}
	gotDeadline, got, err := adapter.JSONCodec{}.Decode(b)
	if err != nil || !gotDeadline.Equal(deadline) || !reflect.DeepEqual(got, values) {
		t.Errorf("%v, %v, %v", gotDeadline, got, err)
	}
	if _, _, err := (adapter.JSONCodec{}).Decode([]byte("neither")); err == nil {
		t.Error("no error")
	}
}

// FuzzJSONCodec looks for records that panic, or that change when they are
// written and read again.
func FuzzJSONCodec(f *testing.F) {
	deadline := time.Date(2026, 11, 29, 20, 52, 8, 0, time.UTC)
	gob, err := scs.GobCodec{}.Encode(deadline, map[string]any{"a": 1, "t": deadline})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(gob)
	f.Add([]byte(`{"cookie":{"originalMaxAge":60000,"expires":"2026-11-29T20:52:08.665Z","httpOnly":true,"path":"/"},"a":[1,2.5,null,{"b":"\ud800"}]}`))
	f.Add([]byte(`{"cookie":{},"__deadline":1764449528665}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if adapter.LongForGob(b) && !json.Valid(b) {
			return // what is not JSON is read as gob
		}
		deadline, values, err := adapter.JSONCodec{}.Decode(b)
		if err != nil {
			return
		}
		again, err := adapter.JSONCodec{}.Encode(deadline, values)
		if err != nil {
			return // gob holds values that JSON can't
		}
		_, values2, err := adapter.JSONCodec{}.Decode(again)
		if err != nil {
			t.Fatalf("%q became %q: %v", b, again, err)
		}
		third, err := adapter.JSONCodec{}.Encode(deadline, values2)
		if err != nil || string(third) != string(again) {
			t.Fatalf("%q became %q: %v", again, third, err)
		}
	})
}

// FuzzCookieHeader sends arbitrary Cookie headers: none may panic, fail the
// request, or be taken for a session.
func FuzzCookieHeader(f *testing.F) {
	store := newMapStore()
	m := newManager(f, adapter.Options{Store: fullStore{store}})
	id := begin(f, m, map[string]any{"user": "u"})
	good := cookieFor(id)
	f.Add("")
	f.Add("connect.sid=s%3Ax.y")
	f.Add("connect.sid=" + id)
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, cookie string) {
		w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
			if m.Exists(r.Context(), "user") && !strings.Contains(cookie, id) {
				t.Errorf("%q is signed in", cookie)
			}
		})
		if w.Code != http.StatusOK {
			t.Errorf("%q: status %d", cookie, w.Code)
		}
	})
}

// The seeds that fuzzing has found worth keeping are there.
func TestFuzzSeeds(t *testing.T) {
	for _, target := range []string{"FuzzJSONCodec", "FuzzCookieHeader"} {
		seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		if err != nil || len(seeds) < 2 {
			t.Errorf("%s: %d seeds, %v", target, len(seeds), err)
		}
		for _, seed := range seeds {
			if b, err := os.ReadFile(seed); err != nil || !strings.HasPrefix(string(b), "go test fuzz v1\n") {
				t.Errorf("%s is no seed: %v", seed, err)
			}
		}
	}
}
