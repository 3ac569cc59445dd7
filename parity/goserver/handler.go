package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
)

// handler serves the protocol.
func handler(sessions *adapter.Manager, store backends.Store) http.Handler {
	h := hold{make(chan struct{}), make(chan struct{})}
	scripts := sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serveScript(sessions, h, w, r)
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /store", func(w http.ResponseWriter, r *http.Request) {
		stored, err := list(r.Context(), sessions)
		reply(w, map[string]any{"count": len(stored), "sessions": stored}, err)
	})
	mux.HandleFunc("POST /store/clear", func(w http.ResponseWriter, r *http.Request) {
		reply(w, true, store.Clear(r.Context()))
	})
	mux.HandleFunc("GET /held", func(w http.ResponseWriter, r *http.Request) {
		h.reached <- struct{}{}
		reply(w, true, nil)
	})
	mux.HandleFunc("POST /release", func(w http.ResponseWriter, r *http.Request) {
		h.released <- struct{}{}
		reply(w, true, nil)
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/run") {
			http.NotFound(w, r)
			return
		}
		scripts.ServeHTTP(w, r)
	})
	return mux
}

// hold is where a request waits, with its session loaded, until it is released.
type hold struct{ reached, released chan struct{} }

func reply(w http.ResponseWriter, body any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // the client may have gone
}

// list returns the data of each session in the store.
func list(ctx context.Context, sessions *adapter.Manager) (map[string]map[string]any, error) {
	all := make(map[string]map[string]any)
	err := sessions.Iterate(ctx, func(ctx context.Context) error {
		data := make(map[string]any)
		for _, key := range sessions.Keys(ctx) {
			data[key] = sessions.Get(ctx, key)
		}
		all[sessions.ID(ctx)] = data
		return nil
	})
	return all, err
}

// script runs the operations of one request.
type script struct {
	*adapter.Manager
	hold hold
	ctx  context.Context
	w    http.ResponseWriter

	// ended is true after the session was destroyed or unset. Unlike Express, the
	// Manager has no null session.
	ended bool
}

func serveScript(sessions *adapter.Manager, h hold, w http.ResponseWriter, r *http.Request) {
	var body struct{ Ops [][]any }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	s := &script{Manager: sessions, hold: h, ctx: r.Context(), w: w}
	results := []any{}
	for _, op := range body.Ops {
		result, err := s.do(op)
		if err != nil {
			results = append(results, map[string]string{"error": err.Error()})
			break
		}
		results = append(results, result)
	}
	var sid any
	if !s.ended {
		sid = s.ID(s.ctx)
	}
	reply(w, map[string]any{"sid": sid, "results": results}, nil)
}

// do runs one operation. It panics if arguments are missing, which fails the request.
func (s *script) do(op []any) (any, error) {
	ctx, name, args := s.ctx, op[0], op[1:]
	switch name {
	case "set":
		s.Put(ctx, args[0].(string), args[1])
		s.ended = false
	case "get":
		return s.Get(ctx, args[0].(string)), nil
	case "delete":
		s.Remove(ctx, args[0].(string))
	case "keys":
		return append([]string{}, s.Keys(ctx)...), nil
	case "id":
		return s.ID(ctx), nil
	case "regenerate":
		return true, s.Regenerate(ctx)
	case "destroy":
		s.ended = true
		return true, s.Destroy(ctx)
	case "save":
		return true, s.Save(ctx)
	case "reload":
		return true, s.Reload(ctx)
	case "touch":
		return true, s.Touch(ctx)
	case "unset":
		s.Unset(ctx)
		s.ended = true
	case "setMaxAge":
		s.setMaxAge(args[0])
	case "maxAge":
		return milliseconds(s.MaxAge(ctx)), nil
	case "originalMaxAge":
		return milliseconds(s.OriginalMaxAge(ctx)), nil
	case "sleep":
		time.Sleep(time.Duration(args[0].(float64) * float64(time.Millisecond)))
	case "hold":
		<-s.hold.reached
		<-s.hold.released
	case "flush":
		_, err := s.w.Write([]byte(" "))
		if err == nil {
			err = http.NewResponseController(s.w).Flush()
		}
		return true, err
	default:
		return nil, fmt.Errorf("unknown operation %q", name)
	}
	return true, nil
}

// setMaxAge does the same as req.session.cookie.maxAge = ms in Express.
func (s *script) setMaxAge(ms any) {
	switch ms := ms.(type) {
	case nil:
		s.SetMaxAge(s.ctx, 0)
	case float64:
		age := time.Duration(ms * float64(time.Millisecond))
		if age == 0 {
			age = -1 // expires at once; 0 means null here
		}
		s.SetMaxAge(s.ctx, age)
	}
}

func milliseconds(d time.Duration, ok bool) any {
	if !ok {
		return nil
	}
	return d.Milliseconds()
}
