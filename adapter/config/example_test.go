package config_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/samesid/samesid/adapter/config"
)

func ExampleOpen() {
	// The file has:
	//
	//	name: sid
	//	secret: ${SESSION_SECRET}
	//	cookie:
	//	  maxAge: 7d
	//	  secure: auto
	//	  sameSite: lax
	//	store: memory://
	os.Setenv("SESSION_SECRET", "0123456789abcdef0123456789abcdef")
	defer chdir("testdata")()
	ctx := context.Background()
	sessions, store, err := config.Open(ctx, "session.yaml")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	visit := func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "visits", sessions.GetInt(r.Context(), "visits")+1)
	}
	w := httptest.NewRecorder()
	sessions.LoadAndSave(http.HandlerFunc(visit)).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))

	cookie := w.Result().Cookies()[0]
	stored, err := store.Len(context.Background())
	fmt.Println(cookie.Name, cookie.MaxAge/86400, "days;", stored, "stored", err)
	// Output: sid 7 days; 1 stored <nil>
}

// chdir returns a function that goes back.
func chdir(dir string) func() {
	was, err := os.Getwd()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.Chdir(dir); err != nil {
		log.Fatal(err)
	}
	return func() { _ = os.Chdir(was) }
}
