package frameworks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/coder/websocket"

	"github.com/samesid/samesid/tests/frameworks/graph"
)

// resolver is the root, and each of its parts.
type resolver struct {
	*deps
	ticks  chan bool // true: the subscription saves what it puts
	panics bool
}

func (r *resolver) Query() graph.QueryResolver               { return r }
func (r *resolver) Mutation() graph.MutationResolver         { return r }
func (r *resolver) Subscription() graph.SubscriptionResolver { return r }

func (r *resolver) Visit(ctx context.Context) (int, error) {
	n := r.visit(ctx)
	if r.panics {
		panic("a mistake")
	}
	return n, nil
}

func (r *resolver) Me(ctx context.Context) (int, error) {
	u, err := r.users.User(ctx)
	return u.ID, err
}

func (r *resolver) SignIn(ctx context.Context, username, password string) (int, error) {
	u, err := r.users.Attempt(request(ctx), username, password)
	if err == nil {
		err = r.users.SignIn(ctx, u)
	}
	return u.ID, err
}

func (r *resolver) SignOut(ctx context.Context) (bool, error) {
	return true, r.users.SignOut(ctx)
}

func (r *resolver) Visits(ctx context.Context) (<-chan int, error) {
	out := make(chan int)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case save, ok := <-r.ticks:
				if !ok {
					return
				}
				n := r.visit(ctx)
				if save && r.sessions.Save(ctx) != nil {
					return
				}
				out <- n
			}
		}
	}()
	return out, nil
}

type requestKey struct{}

// withRequest lets a resolver have the request: Attempt counts by its address, and checks its
// origin.
func withRequest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, r)))
	})
}

func request(ctx context.Context) *http.Request { return ctx.Value(requestKey{}).(*http.Request) }

func newGraphQL(d *deps, root *resolver) http.Handler {
	sessions, mux := d.sessions, http.NewServeMux()

	srv := handler.New(graph.NewExecutableSchema(graph.Config{Resolvers: root}))
	srv.AddTransport(transport.Websocket{})
	srv.AddTransport(transport.POST{})
	srv.SetRecoverFunc(func(ctx context.Context, p any) error {
		sessions.Unset(ctx) // a request whose resolver panics saves nothing
		return graphql.DefaultRecover(ctx, p)
	})
	mux.Handle("/query", sessions.LoadAndSave(withRequest(srv)))
	return mux
}

// query sends a GraphQL query, and returns the data and the errors as one text.
func (b *browser) query(query string) string {
	b.t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		b.t.Fatal(err)
	}
	_, text, _ := b.do("POST", "/query", string(body))
	return text
}

func TestGraphQL(t *testing.T) {
	d, log := newDeps(t)
	root := &resolver{deps: d}
	b := browse(t, newGraphQL(d, root))
	for _, c := range []struct{ query, want string }{
		{`mutation{visit}`, `{"data":{"visit":1}}`},
		{`mutation{visit}`, `{"data":{"visit":2}}`},
		{`{me}`, `nobody is signed in`},
		{`mutation{signIn(username:"ann",password:"wrong")}`, `unknown user or wrong password`},
		{`mutation{signIn(username:"ann",password:"correct")}`, `{"data":{"signIn":7}}`},
		{`{me a:me b:me}`, `{"data":{"me":7,"a":7,"b":7}}`},
		{`mutation{visit}`, `{"data":{"visit":1}}`}, // a login begins a new session
		{`mutation{signOut}`, `{"data":{"signOut":true}}`},
		{`{me}`, `nobody is signed in`},
		{`mutation{visit}`, `{"data":{"visit":1}}`},
	} {
		if got := b.query(c.query); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
	if got := log.String(); got != "" {
		t.Errorf("log: %s", got)
	}
}

// A resolver that panics saves nothing, in a session that is there and in a new one, if
// gqlgen's recover unsets the session; without, it looks like one that returned.
func TestGraphQLPanic(t *testing.T) {
	for _, begun := range []bool{true, false} {
		for _, unset := range []bool{true, false} {
			t.Run(fmt.Sprintf("begun=%v,unset=%v", begun, unset), func(t *testing.T) {
				d, _ := newDeps(t)
				root := &resolver{deps: d}
				h := newGraphQL(d, root)
				if !unset {
					srv := handler.New(graph.NewExecutableSchema(graph.Config{Resolvers: root}))
					srv.AddTransport(transport.POST{})
					srv.SetRecoverFunc(func(context.Context, any) error { return fmt.Errorf("internal system error") })
					h = d.sessions.LoadAndSave(srv)
				}
				b, want := browse(t, h), 1
				if begun {
					b.query(`mutation{visit}`)
					want++
				}
				root.panics = true
				if got := b.query(`mutation{visit}`); !strings.Contains(got, "internal system error") {
					t.Error(got)
				}
				root.panics = false
				if !unset {
					want++
				}
				if got := b.query(`mutation{visit}`); got != fmt.Sprintf(`{"data":{"visit":%d}}`, want) {
					t.Errorf("%s, want %d", got, want)
				}
			})
		}
	}
}

// A sign-in before the panic has ended the session that was there, and begins none.
func TestGraphQLPanicAfterSignIn(t *testing.T) {
	d, _ := newDeps(t)
	root := &resolver{deps: d}
	b := browse(t, newGraphQL(d, root))
	b.query(`mutation{visit}`)
	root.panics = true
	b.query(`mutation{signIn(username:"ann",password:"correct") visit}`)
	root.panics = false
	if got := b.query(`{me}`); !strings.Contains(got, "nobody is signed in") {
		t.Error(got)
	}
	if got := b.query(`mutation{visit}`); got != `{"data":{"visit":1}}` {
		t.Error(got)
	}
}

// A subscription has the session as it was when its websocket was opened. What it changes is
// saved by Save alone, and is otherwise in the log when the websocket ends.
func TestGraphQLSubscription(t *testing.T) {
	for _, save := range []bool{true, false} {
		t.Run(fmt.Sprintf("save=%v", save), func(t *testing.T) {
			d, log := newDeps(t)
			root := &resolver{deps: d, ticks: make(chan bool, 1)}
			ended := make(chan struct{})
			h := newGraphQL(d, root)
			b := browse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(w, r)
				if r.Method == "GET" {
					close(ended)
				}
			}))
			if got := b.query(`mutation{visit}`); got != `{"data":{"visit":1}}` {
				t.Fatal(got)
			}

			ws, _, err := websocket.Dial(t.Context(), b.url+"/query", &websocket.DialOptions{HTTPClient: b.client, Subprotocols: []string{"graphql-transport-ws"}}) //nolint:bodyclose // Dial has read it
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ws.CloseNow() }()
			say := func(text string) {
				t.Helper()
				if err := ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			hear := func(want string) {
				t.Helper()
				if _, text, err := ws.Read(t.Context()); err != nil || !strings.Contains(string(text), want) {
					t.Fatalf("%s, %v, want %s", text, err, want)
				}
			}
			say(`{"type":"connection_init"}`)
			hear("connection_ack")
			say(`{"id":"1","type":"subscribe","payload":{"query":"subscription{visits}"}}`)
			root.ticks <- save
			hear(`"visits":2`)
			close(root.ticks)
			hear(`"complete"`)
			_ = ws.Close(websocket.StatusNormalClosure, "")
			<-ended

			want, late := 3, ""
			if !save {
				want, late = 2, lateChange
			}
			if got := b.query(`mutation{visit}`); got != fmt.Sprintf(`{"data":{"visit":%d}}`, want) {
				t.Errorf("%s, want %d", got, want)
			}
			if got := log.String(); !strings.Contains(got, late) || save && got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}
