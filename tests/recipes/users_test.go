//go:build unix

package recipes

import (
	"database/sql"
	"net/http"
	"strings"
	"testing"

	_ "github.com/lib/pq"
	"golang.org/x/crypto/bcrypt"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/testserver"
)

func TestUsers(t *testing.T) {
	dsn, _ := testserver.Schema(t)
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(usersTable)
	exec(usersTable) // a second start
	old, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	table := Users{db}
	if err := table.Add(t.Context(), "Ada", password); err != nil {
		t.Fatal(err)
	}
	if user, err := table.get(t.Context(), "name = $1", "Ada"); err != nil || !strings.HasPrefix(user.hash, today) {
		t.Errorf("HashPassword makes %.30s…, and the recipe has %s; %v", user.hash, today, err)
	}
	exec("INSERT INTO users (name, password) VALUES ('bob', $1)", string(old))
	exec("INSERT INTO users (name) VALUES ('carol')")
	if table.Add(t.Context(), "ADA", password) == nil {
		t.Error("there are two users of one name")
	}

	sessions, err := adapter.New(adapter.Options{Secrets: []string{secret}, Cookie: adapter.Cookie{Secure: adapter.SecureAlways}})
	if err != nil {
		t.Fatal(err)
	}
	users, err := table.NewAuth(sessions, auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("GET /me", hello(users))
	mux.Handle("POST /password", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		user, err := table.SetPassword(r.Context(), user.ID, password+"2")
		if err == nil {
			err = users.SignIn(r.Context(), user)
		}
		if err != nil {
			sessions.ErrorFunc(w, r, err)
		}
	})))
	visitor := serve(t, sessions.LoadAndSave(mux))

	refused := map[string]bool{}
	for name, pass := range map[string]string{"ada": "wrong", "nobody": password, "carol": password} {
		b := visitor()
		b.login(http.StatusUnauthorized, name, pass)
		refused[b.want(http.StatusUnauthorized, "", "GET", "/me", "")] = true
	}
	if len(refused) != 1 {
		t.Errorf("refusals differ: %v", refused)
	}

	bob := visitor()
	bob.login(http.StatusOK, "bob", password)
	bob.want(http.StatusOK, "hello bob", "GET", "/me", "")
	var rehashed string
	if err := db.QueryRowContext(t.Context(), "SELECT password FROM users WHERE name = 'bob'").Scan(&rehashed); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(rehashed, today) {
		t.Error("the login has left a bcrypt hash")
	}
	visitor().login(http.StatusOK, "bob", password)
	// The hash that this login has read is not the row's any more.
	stale := User{ID: 2, hash: string(old)}
	if err := table.rehash(t.Context(), stale, "an older password"); err != nil {
		t.Fatal(err)
	}
	visitor().login(http.StatusOK, "bob", password)

	phone, laptop := visitor(), visitor()
	phone.login(http.StatusOK, "ADA", password)
	laptop.login(http.StatusOK, "ada", password)
	phone.want(http.StatusOK, "", "POST", "/password", "")
	phone.want(http.StatusOK, "hello Ada", "GET", "/me", "")
	laptop.want(http.StatusUnauthorized, "", "GET", "/me", "")
	laptop.login(http.StatusUnauthorized, "ada", password)
	laptop.login(http.StatusOK, "ada", password+"2")
	exec("DELETE FROM users WHERE name = 'bob'")
	bob.want(http.StatusUnauthorized, "", "GET", "/me", "")
}
