package postgres

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/testserver"
)

// poolers returns the settings of PgBouncer that a store must be right with.
func poolers(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{
		"session":     {"pool_mode=session"},
		"transaction": {"pool_mode=transaction"},
	}
	// Before 1.21 there is no such setting, and named statements can't be told apart.
	if v := testserver.PgBouncerVersion(t); v[0] > 1 || v[1] >= 21 {
		all["transaction0"] = []string{"pool_mode=transaction", "max_prepared_statements=0"}
		all["transaction200"] = []string{"pool_mode=transaction", "max_prepared_statements=200"}
	}
	return all
}

// The contract holds behind PgBouncer, whose few connections serve many of ours.
func TestPgBouncer(t *testing.T) {
	server := testserver.StartPostgres(t)
	for name, conf := range poolers(t) {
		if name == "session" && !testserver.Thorough() || name != "transaction" && !testserver.Full() {
			continue // as without a pooler, or as by default
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			size := "default_pool_size=3"
			if name == "session" {
				size = "default_pool_size=60"
			}
			exec(t, rawDB(t, server.URL), `CREATE DATABASE "`+name+`"`)
			url := testserver.StartPgBouncer(t, server, append(conf, size)...).URL
			testContract(t, LayoutConnectPgSimple, strings.Replace(url, "/postgres?", "/"+name+"?", 1))
		})
	}
}

// Two processes send 20,000 calls, if thorough and otherwise 4,000, through a pooler that gives
// each server connection to whoever comes next. Each record tells whose it is, so that an answer to another
// client's statement would be seen.
func TestPoolerMixesNothing(t *testing.T) {
	workers, calls := 8, 4000
	if testserver.Thorough() {
		calls = 20000
	}
	if dsn := os.Getenv("SAMESID_TEST_POOLER"); dsn != "" {
		s := open(t, dsn, Options{CreateTable: true, CleanupInterval: 10 * time.Millisecond, MaxConns: workers})
		var done atomic.Int64
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() { work(t, s, fmt.Sprintf("%d-%d-", os.Getpid(), w), calls/2/workers, &done) })
		}
		wg.Wait()
		fmt.Println("calls:", done.Load())
		return
	}
	server := testserver.StartPostgres(t)
	for name, conf := range poolers(t) {
		if name == "session" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			p := testserver.StartPgBouncer(t, server, append(conf, "default_pool_size=3")...)
			var total atomic.Int64
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					helper := osexec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPoolerMixesNothing$", "-test.count=1")
					helper.Env = append(os.Environ(), "SAMESID_TEST_POOLER="+p.URL)
					out, err := helper.CombinedOutput()
					if err != nil {
						t.Errorf("%v\n%s", err, out)
						return
					}
					lines := bufio.NewScanner(strings.NewReader(string(out)))
					for lines.Scan() {
						if text, ok := strings.CutPrefix(lines.Text(), "calls: "); ok {
							n, err := strconv.ParseInt(text, 10, 64)
							if err != nil {
								t.Error(err)
							}
							total.Add(n)
						}
					}
				})
			}
			wg.Wait()
			if total.Load() < int64(calls) {
				t.Errorf("%d calls were made, want %d", total.Load(), calls)
			}
			t.Logf("%d calls", total.Load())
		})
	}
}

// work makes calls on records that belong to one worker alone, and checks each answer.
func work(t *testing.T, s *Store, name string, calls int, done *atomic.Int64) {
	type session struct {
		token string
		data  []byte // nil: there is none
	}
	ctx, random := context.Background(), rand.New(rand.NewPCG(1, 2))
	sessions := make([]session, 10)
	moves := 0
	fail := func(what string, args ...any) { t.Errorf("%s: "+what, append([]any{name}, args...)...) }
	for i := range sessions {
		sessions[i].token = fmt.Sprint(name, i)
	}
	for n := range calls {
		i := random.IntN(len(sessions))
		c := &sessions[i]
		next := fmt.Appendf(nil, "%s is %d", c.token, n)
		done.Add(1)
		switch op := random.IntN(8); {
		case c.data == nil:
			if current, swapped, err := s.Swap(ctx, c.token, nil, next, inAnHour()); !swapped || err != nil {
				fail("creating gave %q, %t, %v", current, swapped, err)
			}
			c.data = next
		case op == 0:
			if current, swapped, err := s.Swap(ctx, c.token, c.data, nil, time.Time{}); !swapped || err != nil {
				fail("deleting gave %q, %t, %v", current, swapped, err)
			}
			c.data = nil
		case op == 1:
			if err := s.CommitCtx(ctx, c.token, next, inAnHour()); err != nil {
				fail("Commit gave %v", err)
			}
			c.data = next
		case op == 2:
			moves++
			to := fmt.Sprint(name, "moved ", moves)
			from := []contract.Record{{Token: c.token, Data: c.data}}
			other := &sessions[(i+1)%len(sessions)]
			if moves%2 == 0 && other.data != nil {
				from = append(from, contract.Record{Token: other.token, Data: other.data})
				other.data = nil
			}
			if current, moved, err := s.Move(ctx, from, to, next, inAnHour()); !moved || err != nil {
				fail("Move of %d gave %q, %t, %v", len(from), current, moved, err)
			}
			c.token, c.data = to, next
		case op == 3:
			if current, swapped, err := s.Swap(ctx, c.token, c.data, next, inAnHour()); !swapped || err != nil {
				fail("replacing gave %q, %t, %v", current, swapped, err)
			}
			c.data = next
		case op == 4:
			if current, swapped, err := s.Swap(ctx, c.token, []byte("not it"), next, inAnHour()); swapped || err != nil || string(current) != string(c.data) {
				fail("replacing what is not there gave %q, %t, %v, want %q", current, swapped, err, c.data)
			}
		case op == 5:
			if data, found, err := s.FindTouch(ctx, c.token, inAnHour()); !found || err != nil || string(data) != string(c.data) {
				fail("FindTouch gave %q, %t, %v, want %q", data, found, err, c.data)
			}
		case op == 6:
			if data, _, found, err := s.FindExpiry(ctx, c.token); !found || err != nil || string(data) != string(c.data) {
				fail("FindExpiry gave %q, %t, %v, want %q", data, found, err, c.data)
			}
		default:
			if data, found, err := s.FindCtx(ctx, c.token); !found || err != nil || string(data) != string(c.data) {
				fail("Find gave %q, %t, %v, want %q", data, found, err, c.data)
			}
		}
		if t.Failed() {
			return
		}
	}
	mine := make(map[string]string)
	err := s.Range(ctx, func(token string, data []byte) error {
		if strings.HasPrefix(token, name) {
			mine[token] = string(data)
		}
		return nil
	})
	if err != nil {
		fail("Range gave %v", err)
	}
	for _, c := range sessions {
		if data, found := mine[c.token]; found != (c.data != nil) || data != string(c.data) {
			fail("in the end %s has %q, want %q", c.token, data, c.data)
		}
		delete(mine, c.token)
	}
	if len(mine) > 0 {
		fail("in the end there are %d records more: %q", len(mine), mine)
	}
}

// PgBouncer restarts. What comes meanwhile fails, and connections that it has closed are
// noticed by nobody.
func TestPoolerRestarts(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	p := testserver.StartPgBouncer(t, server, "pool_mode=transaction")
	s := open(t, p.URL, quiet(LayoutSCS))
	busy := func(token string) {
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				token := fmt.Sprint(token, i)
				commit(t, s, token, body, inAnHour())
				if current, swapped, err := s.Swap(t.Context(), token, body, body2, inAnHour()); !swapped || err != nil {
					t.Errorf("Swap gave %q, %t, %v", current, swapped, err)
				}
				wantFound(t, s, token, body2)
			})
		}
		wg.Wait()
	}
	busy("before ")
	for _, end := range []func(){p.Stop, p.Kill} {
		end()
		if _, _, err := s.Find("before 1"); err == nil {
			t.Error("Find worked without the pooler")
		}
		p.Start()
		busy("after ")
		wantFound(t, s, "before 1", body2)
	}
	// With all connections closed at once, the first call after it is a write.
	p.Stop()
	p.Start()
	if current, swapped, err := s.Swap(t.Context(), "before 1", body2, body, inAnHour()); !swapped || err != nil {
		t.Errorf("Swap gave %q, %t, %v", current, swapped, err)
	}
}

// In statement mode a pooler has no transactions.
func TestStatementPooling(t *testing.T) {
	t.Parallel()
	p := testserver.StartPgBouncer(t, testserver.StartPostgres(t), "pool_mode=statement")
	const want = "postgres: open: the pooler ends the connection when a transaction begins; " +
		"moves of several sessions need one: set its pool_mode to transaction or session"
	for _, create := range []bool{true, false} {
		opts := quiet(LayoutSCS)
		opts.CreateTable = create
		if _, err := Open(t.Context(), p.URL, opts); err == nil || err.Error() != want {
			t.Errorf("Open gave %v\nwant %s", err, want)
		}
	}
}

// A pooler that does not know the parameters of the connection refuses it, or ignores
// them, if it is told to: then the table might be another one.
func TestPoolerAndStartupParameters(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	exec(t, rawDB(t, server.URL), "CREATE SCHEMA app")
	p := testserver.StartPgBouncer(t, server, "pool_mode=transaction")
	ignoring := testserver.StartPgBouncer(t, server, "pool_mode=transaction", "ignore_startup_parameters=search_path,statement_timeout,options")
	for _, c := range []struct{ url, param, value, want string }{
		{p.URL, "search_path", "app", `postgres: open: the pooler does not take the parameter search_path; drop it from the url, and set Options.SchemaName: pq: unsupported startup parameter: search_path (08P01)`},
		{p.URL, "options", "-csearch_path=app", `postgres: open: the pooler does not take the parameter options; drop it from the url, and set it for the role, by ALTER ROLE … SET, or in the pooler: pq: unsupported startup parameter: options (08P01)`},
		{ignoring.URL, "search_path", "app", `postgres: open: the pooler ignores the parameter search_path; drop it from the url, and set Options.SchemaName`},
	} {
		if _, err := Open(t.Context(), with(t, c.url, c.param, c.value), quiet(LayoutSCS)); err == nil || err.Error() != c.want {
			t.Errorf("Open with %s gave %v\nwant %s", c.param, err, c.want)
		}
	}
	opts := quiet(LayoutSCS)
	opts.SchemaName = "app"
	s := open(t, p.URL, opts)
	commit(t, s, "id", body, inAnHour())
	exec(t, rawDB(t, server.URL), "SELECT FROM app.sessions")
	open(t, with(t, p.URL, "application_name", "app", "TimeZone", "UTC"), opts)
	open(t, with(t, ignoring.URL, "statement_timeout", "1000"), opts)
}

// A proxy closes connections that have been idle for a while. No call fails because of
// that.
func TestProxyClosesIdleConnections(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	h := testserver.StartHAProxy(t, server, "timeout client 1s", "timeout server 1s")
	db := rawDB(t, server.URL)
	opts := quiet(LayoutSCS)
	opts.MaxConns = 5
	s := open(t, with(t, h.URL, "application_name", "ours"), opts)
	commit(t, s, "id", []byte("0"), inAnHour())
	idle := func() {
		var wg sync.WaitGroup
		for range opts.MaxConns {
			wg.Go(func() { wantAbsent(t, s, "none") })
		}
		wg.Wait()
		for n := 1; n > 0; {
			err := db.QueryRow("SELECT count(*) FROM pg_stat_activity, pg_sleep(0.01) WHERE application_name = 'ours'").Scan(&n)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	idle()
	if current, swapped, err := s.Swap(t.Context(), "id", []byte("0"), []byte("1"), inAnHour()); !swapped || err != nil {
		t.Errorf("Swap gave %q, %t, %v", current, swapped, err)
	}
	idle()
	wantFound(t, s, "id", []byte("1"))
	idle()
	two := append(one("id", "1"), one("none", "")...)
	if current, moved, err := s.Move(t.Context(), two, "new", body, inAnHour()); moved || err != nil || string(current[0]) != "1" {
		t.Errorf("Move gave %q, %t, %v", current, moved, err)
	}
	if defaultConnMaxIdleTime >= time.Minute {
		t.Error("idle connections are kept for longer than common proxies allow")
	}
}

// Without binary_parameters, lib/pq sends a statement and its arguments separately.
func TestNewRefusesSeparateArguments(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	plain := rawDB(t, with(t, dsn, "binary_parameters", "no"))
	_, err := New(t.Context(), plain, quiet(LayoutSCS))
	if err == nil || !strings.HasPrefix(err.Error(), "postgres: New: the *sql.DB sends a statement and its arguments separately") {
		t.Errorf("New gave %v", err)
	}
	opts := quiet(LayoutSCS)
	opts.PreparedStatements = true
	for _, o := range []struct {
		opts Options
		dsn  string
	}{{opts, with(t, dsn, "binary_parameters", "no")}, {quiet(LayoutSCS), with(t, dsn, "binary_parameters", "yes")}} {
		s, err := New(t.Context(), rawDB(t, o.dsn), o.opts)
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s, "id", body, inAnHour())
		wantFound(t, s, "id", body)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := plain.Ping(); err != nil {
		t.Error(err)
	}
}

// An error that looks like a changed table, and is of a trigger, makes no statements anew:
// each set costs memory on each connection until the store is closed.
func TestErrorsOfTriggersMakeNoStatements(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	opts := quiet(LayoutSCS)
	opts.PreparedStatements = true
	s := open(t, dsn, opts)
	exec(t, rawDB(t, dsn), `CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO no_such_table VALUES (1); RETURN NEW; END';
		CREATE TRIGGER audit BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION audit()`)
	before := s.stmts.Load()
	for range 3 {
		if err := s.CommitCtx(t.Context(), "id", body, inAnHour()); err == nil {
			t.Error("a commit with a broken trigger gave no error")
		}
	}
	if s.stmts.Load() != before || len(s.outdated) > 0 {
		t.Errorf("%d sets of statements are kept", len(s.outdated))
	}
}

// A table that is changed while a store is open costs no call.
func TestTableChanges(t *testing.T) {
	t.Parallel()
	for _, named := range []bool{false, true} {
		t.Run(fmt.Sprint("named=", named), func(t *testing.T) {
			t.Parallel()
			dsn, _ := testserver.Schema(t)
			db := rawDB(t, dsn)
			opts := quiet(LayoutConnectPgSimple)
			opts.PreparedStatements = named
			s := open(t, dsn, opts)
			before := body
			commit(t, s, "id", before, inAnHour())
			commit(t, s, "other", body, inAnHour())
			wantFound(t, s, "id", body)
			for i, change := range []string{
				"ALTER TABLE session ALTER COLUMN sess TYPE jsonb",
				"ALTER TABLE session ALTER COLUMN expire TYPE timestamptz",
				"ALTER TABLE session ALTER COLUMN sess TYPE json",
				"ALTER TABLE session ADD COLUMN note text",
				"ALTER TABLE session ALTER COLUMN sid TYPE text",
				"ALTER TABLE session ALTER COLUMN expire TYPE timestamp(6)",
				"ALTER TABLE session DROP COLUMN note",
				"ALTER TABLE session RENAME TO old; CREATE TABLE session (expire timestamptz NOT NULL, sess jsonb NOT NULL, sid text PRIMARY KEY); INSERT INTO session SELECT expire, sess, sid FROM old",
				"DROP TABLE session; ALTER TABLE old RENAME TO session",
			} {
				// Each statement is known to the connection, and then the change comes.
				exec(t, db, change)
				var wg sync.WaitGroup
				for range 5 {
					wg.Go(func() {
						if _, found, err := s.FindCtx(t.Context(), "id"); !found || err != nil {
							t.Errorf("%s: Find gave %t, %v", change, found, err)
						}
					})
				}
				wg.Wait()
				data, _, found, err := s.FindExpiry(t.Context(), "id")
				if !found || err != nil {
					t.Fatalf("%s: FindExpiry gave %t, %v", change, found, err)
				}
				next := fmt.Appendf(nil, `{"cookie":{},"n":%d}`, i+10)
				if current, swapped, err := s.Swap(t.Context(), "id", data, next, inAnHour()); !swapped || err != nil {
					t.Errorf("%s: Swap gave %q, %t, %v", change, current, swapped, err)
				}
				data, found, err = s.FindTouch(t.Context(), "id", inAnHour())
				if !found || err != nil || !strings.Contains(string(data), fmt.Sprint(i+10)) {
					t.Errorf("%s: FindTouch gave %q, %t, %v", change, data, found, err)
				}
				other, _, err := s.FindCtx(t.Context(), "other")
				if err != nil {
					t.Error(err)
				}
				two := append(one("id", string(data)), one("other", string(other))...)
				if current, moved, err := s.Move(t.Context(), two, "id", data, inAnHour()); !moved || err != nil {
					t.Errorf("%s: Move gave %q, %t, %v", change, current, moved, err)
				}
				commit(t, s, "other", body, inAnHour())
				if n, err := s.Len(t.Context()); n != 2 || err != nil {
					t.Errorf("%s: Len gave %d, %v", change, n, err)
				}
			}
			exec(t, db, "TRUNCATE session")
			wantAbsent(t, s, "id")
			if _, swapped, err := s.Swap(t.Context(), "id", body, body2, inAnHour()); swapped || err != nil {
				t.Errorf("Swap of what was truncated gave %t, %v", swapped, err)
			}

			// What can't be followed is said as at the start.
			exec(t, db, "ALTER TABLE session ADD COLUMN owner text NOT NULL")
			err := s.CommitCtx(t.Context(), "id", body, inAnHour())
			if err == nil || !strings.Contains(err.Error(), `ALTER TABLE "session" ALTER COLUMN "owner" DROP NOT NULL;`) {
				t.Errorf("Commit gave %v", err)
			}
			exec(t, db, "DROP TABLE session")
			if _, _, err := s.FindCtx(t.Context(), "id"); err == nil || !strings.Contains(err.Error(), "CREATE TABLE") {
				t.Errorf("Find gave %v", err)
			}
		})
	}
}

// Open waits for a server that is not up yet, until its context ends. It then says what
// the last reason was.
func TestOpenWaits(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	server.Stop()
	want := "postgres: open: dial tcp " + server.Addr + ": connect: connection refused"
	testserver.InTime(t, func(ctx context.Context) error {
		if _, err := Open(ctx, server.URL, quiet(LayoutSCS)); err == nil || err.Error() != want {
			return fmt.Errorf("Open gave %w\nwant %s", err, want)
		}
		return nil
	})

	// The proxy answers, and has no server yet.
	h := testserver.StartHAProxy(t, server, "timeout client 10s", "timeout server 10s")
	for _, url := range []string{server.URL, h.URL} {
		l := newLogs()
		opts := quiet(LayoutSCS)
		opts.Logger = slog.New(l)
		opened := make(chan error, 1)
		go func() {
			s, err := Open(t.Context(), url, opts)
			if err == nil {
				err = s.Close()
			}
			opened <- err
		}()
		if got := l.next(t, slog.LevelWarn).Message; got != "postgres: the server can't be reached yet, waiting for it" {
			t.Errorf("logged %s", got)
		}
		server.Start()
		if err := <-opened; err != nil {
			t.Errorf("Open gave %v", err)
		}
		server.Stop()
	}
	// What waiting does not mend is said at once.
	server.Start()
	_, err := Open(t.Context(), strings.Replace(server.URL, "/postgres?", "/none?", 1), quiet(LayoutSCS))
	if want := `postgres: open: pq: database "none" does not exist (3D000)`; err == nil || err.Error() != want {
		t.Errorf("Open gave %v\nwant %s", err, want)
	}
}
