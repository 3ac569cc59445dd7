package main

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
)

// filler puts many sessions into a store without a request for each: it creates one
// session, of user 0, and copies its record.
type filler struct {
	cookie func(id string) string // the Cookie header's value
	create func(ctx context.Context, u user) (id string, err error)
	copies func(ctx context.Context, id string, from, to int) error
}

// fill creates the sessions with numbers in [from, to), and returns their cookies.
func (f filler) fill(ctx context.Context, from, to int) ([]string, error) {
	id, err := f.create(ctx, newUser(0, defaultSize))
	if err != nil {
		return nil, err
	}
	if err := f.copies(ctx, id, from, to); err != nil {
		return nil, err
	}
	var cookies []string
	for i := from; i < to; i++ {
		cookies = append(cookies, f.cookie(filledID(i)))
	}
	return cookies, nil
}

// filledID returns the id of a session that fill creates, as long as a real one. The SQL
// of tableCopies builds the same ids.
func filledID(i int) string { return fmt.Sprintf("bench%027d", i) }

// storeCopies returns a function that copies the record through the store.
func storeCopies(store scs.Store) func(context.Context, string, int, int) error {
	return func(_ context.Context, id string, from, to int) error {
		data, found, err := store.Find(id)
		if err != nil || !found {
			return fmt.Errorf("fill: the session to copy: found %t, %w", found, err)
		}
		const workers = 16
		errs := make([]error, workers)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				expiry := time.Now().Add(lifetime)
				for i := from + w; i < to && errs[w] == nil; i += workers {
					errs[w] = store.Commit(filledID(i), data, expiry)
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// tableCopies returns a function that copies the record with one statement. A commit for
// each copy would take minutes.
func tableCopies(url, table, id, data, expiry string) func(context.Context, string, int, int) error {
	query := fmt.Sprintf(`INSERT INTO %[1]s (%[2]s, %[3]s, %[4]s)
		SELECT 'bench' || lpad(i::text, 27, '0'), %[3]s, %[4]s
		FROM %[1]s, generate_series($1::int, $2::int - 1) i WHERE %[2]s = $3`, table, id, data, expiry)
	return func(ctx context.Context, source string, from, to int) error {
		db, err := sql.Open("postgres", url)
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.ExecContext(ctx, query, from, to, source)
		return err
	}
}
