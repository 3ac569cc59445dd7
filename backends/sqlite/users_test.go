package sqlite

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func indexUsers(t *testing.T, s *Store, path ...string) (looks bool) {
	t.Helper()
	looks, err := s.IndexUsers(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return looks
}

// Whatever other programs write, the index takes it, and it is used.
func TestIndexOfUsersTakesAllRecords(t *testing.T) {
	for _, layout := range allLayouts[1:] {
		for _, path := range [][]string{{"user"}, {"user", "id"}, {"a'b", "0", "d.e[1]"}} {
			t.Run(fmt.Sprint(layout, " ", path), func(t *testing.T) {
				file := newPath(t)
				s := open(t, file, quiet(layout))
				if !indexUsers(t, s, path...) {
					t.Fatal("it does not look into the records")
				}
				in := func(id string) string {
					for i := len(path) - 1; i >= 0; i-- {
						id = fmt.Sprintf(`{"z":"\\u",%q:%s,"views":1}`, path[i], id)
					}
					return id
				}
				db := rawDB(t, file)
				insert := func(name string, record any) {
					t.Helper()
					run(t, db, s.table.sql("INSERT INTO {table} ({id}, {expiry}, {data}) VALUES (?, ?, ?)"), name, s.table.writeExpiry(inAnHour()), record)
				}
				for name, record := range map[string]any{
					"text": in(`"ann"`), "number": in(`42`), "object": in(`{"id":"ann"}`), "array": in(`["ann"]`), "null": in(`null`),
					"long": in(`"` + strings.Repeat("ann", 10_000) + `"`), "halves": `{"n":"\ud83d\u0041\udc00\u0000",` + in(`"halves"`)[1:],
					"no JSON": `{"user":`, "a number": 42, "bytes": []byte(in(`"ann"`)), "nothing": "",
				} {
					insert(name, record)
				}
				for user, want := range map[string][]string{"ann": {"text"}, "42": {"number"}, "halves": {"halves"}, "none": nil} {
					if got, err := s.UserTokens(t.Context(), user); !slices.Equal(got, want) || err != nil {
						t.Errorf("the tokens of %s are %q, %v", user, got, err)
					}
				}
				for i := range 300 {
					insert(fmt.Sprint("other", i), in(fmt.Sprintf(`"user%d"`, i)))
				}
				run(t, db, "ANALYZE")
				plan := ""
				if err := each(t.Context(), s.reader, "EXPLAIN QUERY PLAN "+s.userTokens(s.users.Load()), []any{"ann"}, func(scan func(...any) error) error {
					var id, parent, unused int
					var detail string
					err := scan(&id, &parent, &unused, &detail)
					plan += detail
					return err
				}); err != nil || !strings.Contains(plan, "_user_") {
					t.Errorf("the plan does not use the index: %s, %v", plan, err)
				}
			})
		}
	}
}

// Without CreateTable, what is missing is refused with the SQL that makes it.
func TestIndexOfUsersIsMissing(t *testing.T) {
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			file := newPath(t)
			opts := quiet(layout)
			open(t, file, opts)
			opts.CreateTable = false
			s := open(t, file, opts)
			if _, err := s.IndexUsers(t.Context(), []string{`a"b`}); err == nil || !strings.Contains(err.Error(), "a key has") {
				t.Errorf("a key with a quote: %v", err)
			}
			_, err := s.IndexUsers(t.Context(), []string{"user", "id"})
			if err == nil || !strings.Contains(err.Error(), "set Options.CreateTable, or run:\n\nCREATE ") {
				t.Fatalf("without the index: %v", err)
			}
			if _, err := s.UserTokens(t.Context(), "ann"); err == nil {
				t.Error("UserTokens works without the index")
			}
			_, ddl, _ := strings.Cut(err.Error(), "run:\n\n")
			run(t, rawDB(t, file), ddl)
			if looks := indexUsers(t, s, "user", "id"); looks != (layout != LayoutSCS) {
				t.Errorf("it looks into its records: %t", looks)
			}
			if _, err := s.IndexUsers(t.Context(), []string{"user"}); err == nil || !strings.Contains(err.Error(), "already finds users under user.id") {
				t.Errorf("another path: %v", err)
			}
			other := open(t, file, opts)
			if _, err := other.IndexUsers(t.Context(), []string{"user"}); layout != LayoutSCS && (err == nil || strings.Contains(err.Error(), "CREATE TABLE") || !strings.Contains(err.Error(), "CREATE INDEX")) {
				t.Errorf("with an index over another path: %v", err)
			}
		})
	}
}

// Processes that start at once make one index.
func TestIndexOfUsersByManyProcesses(t *testing.T) {
	for _, layout := range allLayouts {
		file := newPath(t)
		open(t, file, quiet(layout))
		var wg sync.WaitGroup
		for range 6 {
			s := open(t, file, quiet(layout))
			wg.Go(func() {
				if _, err := s.IndexUsers(t.Context(), []string{"user", "id"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// What is noted no longer is deleted, and nothing else.
func TestNotesAreCleanedUp(t *testing.T) {
	s := open(t, newPath(t), quiet(LayoutSCS))
	s.batch = 10
	if err := s.NoteUser(t.Context(), "ann", "a", time.Hour); err == nil {
		t.Error("a user was noted before IndexUsers")
	}
	indexUsers(t, s, "user")
	for i := range 25 {
		if err := s.NoteUser(t.Context(), "ann", fmt.Sprint(i), -time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for _, ttl := range []time.Duration{time.Minute, time.Hour, time.Millisecond} { // the longest counts
		if err := s.NoteUser(t.Context(), "ann", "stays", ttl); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.EndUser(t.Context(), "bob", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.deleteExpiredNotes(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := s.reader.QueryRow("SELECT count(*) FROM " + s.users.Load().lists).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d notes are left, want 2; %v", n, err)
	}
	if err := s.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, _, err := s.UserEnded(t.Context(), "bob"); at.IsZero() || err != nil {
		t.Errorf("Clear has removed when bob's sessions were ended: %v", err)
	}
}

// What DDL returns is all that a store without CreateTable needs.
func TestDDL(t *testing.T) {
	for _, l := range layouts {
		for _, users := range [][]string{nil, {"user", "i'd"}} {
			t.Run(fmt.Sprint(l.Name, " ", users), func(t *testing.T) {
				file := newPath(t)
				db := rawDB(t, file)
				run(t, db, "CREATE TABLE other (x)") // makes the file
				o := quiet(Layout(l.Name))
				o.CreateTable, o.TableName = false, `a "table"`
				ddl, err := o.DDL(users)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Open(t.Context(), file, o); err == nil {
					t.Fatal("the table is there already")
				}
				run(t, db, ddl)
				s := open(t, file, o)
				if users != nil {
					indexUsers(t, s, users...)
				}
			})
		}
	}
	for _, c := range []struct {
		o     Options
		users []string
	}{{Options{Layout: "none"}, nil}, {Options{Layout: LayoutConnectSQLite3}, []string{`a"b`}}} {
		if _, err := c.o.DDL(c.users); err == nil {
			t.Errorf("%+v and %q have no error", c.o, c.users)
		}
	}
}
