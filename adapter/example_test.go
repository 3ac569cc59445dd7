package adapter_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
)

func ExampleManager() {
	sessions, err := adapter.New(adapter.Options{
		Secrets: []string{"32 or more random bytes, kept secret"},
		Cookie:  adapter.Cookie{MaxAge: 24 * time.Hour, SameSite: "lax"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/visits", func(w http.ResponseWriter, r *http.Request) {
		n := sessions.GetInt(r.Context(), "visits") + 1
		sessions.Put(r.Context(), "visits", n)
		fmt.Fprintf(w, "visit %d", n)
	})
	server := httptest.NewServer(sessions.LoadAndSave(mux))
	defer server.Close()

	res, err := http.Get(server.URL + "/visits")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Printf("%s, with the cookie %s\n", body, res.Cookies()[0].Name)
	// Output: visit 1, with the cookie connect.sid
}

func ExampleGet() {
	type User struct {
		Name  string
		Roles []string
	}
	sessions, err := adapter.New(adapter.Options{Secrets: []string{"32 or more random bytes, kept secret"}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, err := sessions.Load(context.Background(), "")
	if err != nil {
		log.Fatal(err)
	}
	if err := adapter.Put(ctx, sessions, "user", User{"Ann", []string{"admin"}}); err != nil {
		log.Fatal(err)
	}
	user, err := adapter.Get[User](ctx, sessions, "user")
	fmt.Println(user.Name, user.Roles, err)
	// Output: Ann [admin] <nil>
}

// The README's Go code is that of examples which are compiled and run.
func TestReadmeCodeIsCompiled(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var compiled []string
	for _, file := range []string{"example_test.go", "../auth/readme_test.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		compiled = append(compiled, withoutIndent(string(b)))
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) == 0 {
		t.Error("the README has no Go code")
	}
	for _, block := range blocks {
		if code := withoutIndent(block[1]); !strings.Contains(strings.Join(compiled, "\n"), code) {
			t.Errorf("this code of the README is in no example:\n%s", block[1])
		}
	}
}

func withoutIndent(code string) string {
	var lines []string
	for line := range strings.Lines(code) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
