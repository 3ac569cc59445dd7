package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/samesid/samesid/internal/testserver"
)

func indexUsers(t *testing.T, s *Store, path ...string) (looks bool) {
	t.Helper()
	looks, err := s.IndexUsers(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return looks
}

func userTokens(t *testing.T, s *Store, user string) string {
	t.Helper()
	tokens, err := s.UserTokens(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(tokens, " ")
}

// Whatever Express writes, the index takes: what no text of the server can hold, and ids that
// would not fit into an index.
func TestIndexOfUsersTakesAllRecords(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"json", "jsonb"} {
		for _, path := range [][]string{{"user"}, {"user", "id"}, {`a"b\c`, "{d,e}", "f'g.h "}} {
			t.Run(fmt.Sprint(typ, " ", path), func(t *testing.T) {
				t.Parallel()
				dsn, _ := testserver.Schema(t)
				s := open(t, dsn, quiet(LayoutConnectPgSimple))
				exec(t, s.db, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN sess TYPE %s USING sess::%[2]s", s.table.q, typ))
				s = open(t, dsn, quiet(LayoutConnectPgSimple))
				if !indexUsers(t, s, path...) {
					t.Fatal("it does not look into the records")
				}
				in := func(id string) string {
					for i := len(path) - 1; i >= 0; i-- {
						id = fmt.Sprintf(`{"z":"\\u",%s:%s,"views":1}`, jsonText(path[i]), id)
					}
					return id
				}
				for name, record := range map[string]string{
					"text":      in(`"ann"`),
					"number":    in(`42`),
					"true":      in(`true`),
					"null":      in(`null`),
					"object":    in(`{"id":"ann"}`),
					"array":     in(`["ann"]`),
					"long":      in(`"` + strings.Repeat("ann", 10_000) + `"`),
					"no object": `"ann"`,
					"nul":       in(`"nul"`)[:len(in(`"nul"`))-1] + `,"n":"\u0000"}`,
					"nul first": `{"n":"a\u0000b",` + in(`"nul"`)[1:],
					"halves":    `{"n":"\ud83d\u0041\udc00","m":"\\u0000\\\\u0000",` + in(`"nul"`)[1:],
					"escaped":   `{"n":"\\\\\\u0000\u0000\\u\n\"",` + in(`"nul"`)[1:],
					"in the id": in(`"a\u0000nn"`),
				} {
					_, err := s.db.Exec(fmt.Sprintf("INSERT INTO %s (sid, sess, expire) VALUES ($1, $2, now() + interval '1 hour')", s.table.q), name, record)
					if err != nil && (typ == "json" || !strings.Contains(record, `\u0000`)) {
						t.Errorf("%s: %v", name, err)
					}
				}
				want := []string{"text"}
				if typ == "json" { // what is no text is left out of the id, and the Manager looks
					want = []string{"in the id", "text"}
				}
				if got, err := s.UserTokens(t.Context(), "ann"); err != nil || !slices.Equal(slices.Sorted(slices.Values(got)), want) {
					t.Errorf("the tokens of ann are %q, %v", got, err)
				}
				if got := userTokens(t, s, "42"); got != "number" {
					t.Errorf("the tokens of 42 are %q", got)
				}
				if got := strings.Fields(userTokens(t, s, "nul")); typ == "json" && len(got) != 5 {
					t.Errorf("the tokens beside what no text can hold are %q", got)
				}
				// It is found by the index, also among many.
				exec(t, s.db, fmt.Sprintf(`INSERT INTO %s SELECT 'other'||i, %s, now() + interval '1 hour' FROM generate_series(1, 5000) i`, s.table.q,
					"replace("+pq.QuoteLiteral(in(`"@"`))+", '@', 'user'||i)::"+typ))
				exec(t, s.db, "ANALYZE "+s.table.q)
				var plan []string
				rows, err := s.db.Query(fmt.Sprintf("EXPLAIN SELECT sid FROM %s WHERE %s = 'ann' AND expire > now()", s.table.q, s.looksAt(s.users.index.Load())))
				if err != nil {
					t.Fatal(err)
				}
				defer rows.Close()
				for rows.Next() {
					var line string
					if err := rows.Scan(&line); err != nil {
						t.Fatal(err)
					}
					plan = append(plan, line)
				}
				if text := strings.Join(plan, "\n"); rows.Err() != nil || !strings.Contains(text, "_user_") || strings.Contains(text, "Seq Scan") {
					t.Errorf("the plan does not use the index: %s, %v", text, rows.Err())
				}
			})
		}
	}
}

func jsonText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Without CreateTable, what is missing is refused with the SQL that makes it.
func TestIndexOfUsersIsMissing(t *testing.T) {
	t.Parallel()
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			dsn, _ := testserver.Schema(t)
			opts := quiet(layout)
			opts.TableName = strings.Repeat("long", 15)
			open(t, dsn, opts)
			opts.CreateTable = false
			s := open(t, dsn, opts)
			looks, err := s.IndexUsers(t.Context(), []string{"user", "id"})
			if err == nil || looks || !strings.Contains(err.Error(), "set Options.CreateTable, or run:\n\nCREATE ") {
				t.Fatalf("without the index: %t, %v", looks, err)
			}
			if _, err := s.UserTokens(t.Context(), "ann"); err == nil {
				t.Error("UserTokens works without the index")
			}
			_, ddl, _ := strings.Cut(err.Error(), "run:\n\n")
			exec(t, s.db, ddl)
			looks = indexUsers(t, s, "user", "id")
			if want := layout == LayoutConnectPgSimple || layout == LayoutConnectSessionKnex; looks != want {
				t.Errorf("it looks into its records: %t, want %t", looks, want)
			}
			indexUsers(t, s, "user", "id")
			if _, err := s.IndexUsers(t.Context(), []string{"user"}); err == nil || !strings.Contains(err.Error(), "already finds users under user.id") {
				t.Errorf("another path: %v", err)
			}
			if !looks {
				return
			}
			// An index over another path, and one that is not valid, are none.
			other := open(t, dsn, opts)
			if _, err := other.IndexUsers(t.Context(), []string{"user"}); err == nil || strings.Contains(err.Error(), "CREATE TABLE") || !strings.Contains(err.Error(), "CREATE INDEX") {
				t.Errorf("with an index over another path: %v", err)
			}
		})
	}
}

// A role that may use the sessions and not the lists is told what to grant.
func TestIndexOfUsersWithoutRights(t *testing.T) {
	t.Parallel()
	dsn, schema := testserver.Schema(t)
	owner := open(t, dsn, quiet(LayoutConnectPgSimple))
	indexUsers(t, owner, "user")
	role := schema + "_app"
	exec(t, owner.db, fmt.Sprintf("CREATE ROLE %[1]s; GRANT USAGE ON SCHEMA %[2]s TO %[1]s; GRANT SELECT, INSERT, UPDATE, DELETE ON %[3]s TO %[1]s",
		pq.QuoteIdentifier(role), pq.QuoteIdentifier(schema), owner.table.q))
	t.Cleanup(func() {
		db, err := sql.Open("postgres", dsn)
		if err == nil {
			defer db.Close()
			_, err = db.Exec(fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", pq.QuoteIdentifier(role)))
		}
		if err != nil {
			t.Error(err)
		}
	})
	opts := quiet(LayoutConnectPgSimple)
	opts.CreateTable = false
	s := open(t, with(t, dsn, "role", role), opts)
	_, err := s.IndexUsers(t.Context(), []string{"user"})
	if err == nil || !strings.Contains(err.Error(), "run:\n\nGRANT SELECT, INSERT, UPDATE, DELETE ON ") {
		t.Fatalf("without rights: %v", err)
	}
	_, ddl, _ := strings.Cut(err.Error(), "run:\n\n")
	exec(t, owner.db, ddl)
	indexUsers(t, s, "user")
}

// Processes that start at once make one index.
func TestIndexOfUsersByManyProcesses(t *testing.T) {
	t.Parallel()
	for _, layout := range []Layout{LayoutConnectPgSimple, LayoutSCS} {
		dsn, _ := testserver.Schema(t)
		var wg sync.WaitGroup
		for range 8 {
			s := open(t, dsn, quiet(layout))
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
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutSCS))
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
	for _, token := range []string{"stays", "again", "again"} {
		if err := s.NoteUser(t.Context(), "ann", token, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.NoteUser(t.Context(), "ann", "again", time.Second); err != nil { // the longest time counts
		t.Fatal(err)
	}
	if _, err := s.EndUser(t.Context(), "bob", time.Hour); err != nil {
		t.Fatal(err)
	}
	// Two calls in one microsecond: the later one has another time. After the clock was set
	// back, it has the present one.
	set := func(ahead string) {
		exec(t, s.db, "UPDATE "+s.users.index.Load().lists+" SET noted = now() + interval '"+ahead+"' WHERE user_id = 'bob'")
	}
	set("900 milliseconds")
	last, _, err := s.UserEnded(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	if at, err := s.EndUser(t.Context(), "bob", time.Hour); !at.Equal(last.Add(time.Microsecond)) || err != nil {
		t.Errorf("EndUser at once: %v, %v, want a microsecond after %v", at, err, last)
	}
	set("1 hour")
	if at, err := s.EndUser(t.Context(), "bob", time.Hour); at.After(time.Now().Add(time.Minute)) || err != nil {
		t.Errorf("EndUser after the clock was set back: %v, %v", at, err)
	}
	if _, err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := s.db.QueryRow("SELECT count(*) FROM " + s.users.index.Load().lists).Scan(&n); err != nil || n != 3 {
		t.Errorf("%d notes are left, want 3; %v", n, err)
	}
	if err := s.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, _, err := s.UserEnded(t.Context(), "bob"); at.IsZero() || err != nil {
		t.Errorf("Clear has removed when bob's sessions were ended: %v", err)
	}
	// Without the table, there is an error that says so.
	exec(t, s.db, "DROP TABLE "+s.users.index.Load().lists)
	_, err = s.EndUser(t.Context(), "secret-ann", time.Hour)
	for call, err := range map[string]error{
		"NoteUser": s.NoteUser(t.Context(), "ann", "secret-token", time.Hour),
		"EndUser":  err,
	} {
		if err == nil || !strings.Contains(err.Error(), "42P01") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s without its table: %v", call, err)
		}
	}
}

// BenchmarkIndexOfUsers compares what the index costs reads that slide, and changes.
func BenchmarkIndexOfUsers(b *testing.B) {
	for _, indexed := range []bool{false, true} {
		for _, call := range []string{"touch", "change", "find"} {
			b.Run(fmt.Sprintf("%s indexed=%t", call, indexed), func(b *testing.B) {
				dsn, _ := testserver.Schema(b)
				opts := quiet(LayoutConnectPgSimple)
				s, err := Open(b.Context(), dsn, opts)
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				if indexed {
					if _, err := s.IndexUsers(b.Context(), []string{"user", "id"}); err != nil {
						b.Fatal(err)
					}
				}
				record := func(n, v int) []byte {
					return fmt.Appendf(nil, `{"cookie":{"originalMaxAge":86400000,"expires":"2026-11-26T10:00:00.000Z","httpOnly":true,"path":"/"},"user":{"id":"user%d","name":"Ann","roles":["admin","staff"]},"auth_time":1790000000,"v":%d}`, n, v)
				}
				for n := range 1000 {
					if err := s.CommitCtx(b.Context(), fmt.Sprint(n), record(n, 0), time.Now().Add(time.Hour)); err != nil {
						b.Fatal(err)
					}
				}
				b.SetParallelism(16)
				b.ResetTimer()
				var mu sync.Mutex
				next := 0
				b.RunParallel(func(pb *testing.PB) {
					mu.Lock()
					n := next
					next++
					mu.Unlock()
					v := 0
					for pb.Next() {
						var err error
						switch call {
						case "touch":
							_, _, err = s.FindTouch(context.Background(), fmt.Sprint(n), time.Now().Add(time.Hour))
						case "find":
							_, _, _, err = s.FindExpiry(context.Background(), fmt.Sprint(n))
						default:
							_, _, err = s.Swap(context.Background(), fmt.Sprint(n), record(n, v), record(n, v+1), time.Now().Add(time.Hour))
							v++
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// What DDL returns is all that a role without the right to create needs.
func TestDDL(t *testing.T) {
	t.Parallel()
	for _, l := range layouts {
		for _, users := range [][]string{nil, {"user", "i'd"}} {
			t.Run(fmt.Sprint(l.Name, " ", users), func(t *testing.T) {
				t.Parallel()
				dsn, _ := testserver.Schema(t)
				o := quiet(Layout(l.Name))
				o.CreateTable, o.TableName = false, `a "table"`
				ddl, err := o.DDL(users)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Open(t.Context(), dsn, o); err == nil {
					t.Fatal("the table is there already")
				}
				exec(t, rawDB(t, dsn), ddl)
				s := open(t, dsn, o)
				if users != nil {
					indexUsers(t, s, users...)
				}
			})
		}
	}
	if _, err := (Options{Layout: "none"}).DDL(nil); err == nil {
		t.Error("a layout that does not exist has no error")
	}
}
