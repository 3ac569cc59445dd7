package adapter_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/memory"
)

// A framework whose handlers return their answer, and so have no http.ResponseWriter.
func ExampleManager_Begin() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})

	type answer struct {
		status int
		header http.Header
		body   string
	}
	failed := answer{status: http.StatusServiceUnavailable}
	handle := func(r *http.Request) answer {
		ctx, err := sessions.Begin(r)
		if err != nil {
			return failed
		}
		sessions.Put(ctx, "visits", sessions.GetInt(ctx, "visits")+1)
		body := fmt.Sprintf("visit %d", sessions.GetInt(ctx, "visits"))

		header, err := sessions.End(ctx)
		if err != nil {
			return failed
		}
		return answer{http.StatusOK, header, body}
	}

	first := handle(httptest.NewRequest("GET", "/", nil))
	fmt.Println(first.status, first.body)
	cookie, err := http.ParseSetCookie(first.header.Get("Set-Cookie"))
	if err != nil {
		log.Fatal(err)
	}
	again := httptest.NewRequest("GET", "/", nil)
	again.AddCookie(cookie)
	second := handle(again)
	fmt.Println(second.status, second.body)
	// Output:
	// 200 visit 1
	// 200 visit 2
}

// A job that goes on after the request has ended changes its session.
func ExampleManager_LoadID() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	jobs := make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /report", func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "report", "in work")
		jobs <- sessions.ID(r.Context())
	})
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, sessions.GetString(r.Context(), "report"))
	})
	work := func(id string) error {
		ctx, err := sessions.LoadID(context.Background(), id)
		if err != nil {
			return err
		}
		if !sessions.Exists(ctx, "report") {
			return nil // the user has logged out
		}
		sessions.Put(ctx, "report", "done")
		return sessions.Save(ctx)
	}

	browser := browse(sessions.LoadAndSave(mux))
	browser.post("/report")
	browser.get("/report")
	if err := work(<-jobs); err != nil {
		log.Fatal(err)
	}
	browser.get("/report")
	// Output:
	// in work
	// done
}

// How many sessions each user has.
func ExampleManager_Iterate() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	for _, user := range []string{"ann", "bob", "ann"} {
		signIn(sessions, user)
	}

	count := map[string]int{}
	err := sessions.Iterate(context.Background(), func(ctx context.Context) error {
		count[sessions.GetString(ctx, "user")]++
		return nil
	})
	fmt.Println(count, err)
	// Output: map[ann:2 bob:1] <nil>
}

// An administrator ends all sessions of an account.
func ExampleManager_DestroyWhere() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	for _, user := range []string{"ann", "mallory", "mallory"} {
		signIn(sessions, user)
	}

	// … lock the account first, so that no login begins a session meanwhile …
	ctx := context.Background()
	n, err := sessions.DestroyWhere(ctx, func(ctx context.Context) bool {
		return sessions.GetString(ctx, "user") == "mallory"
	})
	fmt.Println(n, err)
	// Output: 2 <nil>
}

// A store was restored from a backup: nobody is to be signed in.
func ExampleManager_DestroyAll() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	signIn(sessions, "ann")
	signIn(sessions, "bob")

	n, err := sessions.DestroyAll(context.Background())
	fmt.Println(n, err)
	// Output: 2 <nil>
}

// A password has changed: all sessions of its user end, a login with the old one that is
// under way too.
func ExampleManager_DestroyUser() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}, UserPath: "user"})
	for _, user := range []string{"mallory", "bob", "mallory"} {
		signIn(sessions, user)
	}

	ctx := context.Background()
	n, err := sessions.DestroyUser(ctx, "mallory")
	fmt.Println(n, err)
	// Output: 2 <nil>
}

// An operator looks at the sessions of a user, and ends one by its handle.
func ExampleManager_IterateUser() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}, UserPath: "user"})
	signIn(sessions, "ann")
	signIn(sessions, "ann")

	var handle string
	count := 0
	err := sessions.IterateUser(context.Background(), "ann", func(ctx context.Context) error {
		handle = sessions.Info(ctx).Handle
		count++
		return nil
	})
	fmt.Println(count, err)
	ended, err := sessions.DestroyHandle(context.Background(), "ann", handle)
	fmt.Println(ended, err)
	// Output:
	// 2 <nil>
	// true <nil>
}

// signIn begins a session of a user's.
func signIn(sessions *adapter.Manager, user string) {
	ctx, err := sessions.LoadID(context.Background(), "")
	if err != nil {
		log.Fatal(err)
	}
	sessions.Put(ctx, "user", user)
	if err := sessions.Save(ctx); err != nil {
		log.Fatal(err)
	}
}

// To move to another store: copy while the app runs, stop it, copy what has changed since, and
// start it on the new store.
func ExampleManager_CopyTo() {
	ctx := context.Background()
	old, err := adapter.New(adapter.Options{Secrets: []string{secret}, Store: memory.New(memory.Options{})})
	if err != nil {
		log.Fatal(err)
	}
	job, err := old.LoadID(ctx, "") // a request, in practice
	if err != nil {
		log.Fatal(err)
	}
	old.Put(job, "user", "ann")
	if err := old.Save(job); err != nil {
		log.Fatal(err)
	}
	// In practice on Redis, Postgres or SQLite.
	next, err := adapter.New(adapter.Options{Secrets: []string{secret}, Store: memory.New(memory.Options{}), Codec: adapter.JSONCodec{}})
	if err != nil {
		log.Fatal(err)
	}
	for {
		n, err := old.CopyTo(ctx, next, nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d sessions, %d changes\n", n.Sessions, n.Changes())
		if n.Changes() == 0 {
			break // both are equal
		}
	}
	// Output:
	// 1 sessions, 1 changes
	// 1 sessions, 0 changes
}
