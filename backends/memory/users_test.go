package memory_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/backends/memory"
)

// What is noted of users goes when it is due, and so do the notes on records that are gone.
func TestUsersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer s.Close()
		note := func(user, token string, ttl time.Duration) {
			t.Helper()
			if err := s.NoteUser(t.Context(), user, token, ttl); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 1000 {
			note(fmt.Sprint("user", i), "none", time.Hour)
			if _, err := s.EndUser(t.Context(), fmt.Sprint("user", i), 5*time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		note("ann", "there", time.Hour)
		if err := s.Commit("there", []byte("x"), time.Now().Add(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		note("bob", "again", time.Minute)
		note("bob", "again", time.Hour)
		note("bob", "again", time.Minute)

		time.Sleep(5*time.Minute + time.Second)
		if lists, ended := s.Noted(); lists != 1002 || ended != 0 {
			t.Errorf("after 5 minutes there are %d lists and %d ends, want 1002 and 0", lists, ended)
		}
		time.Sleep(6 * time.Minute)
		if lists, _ := s.Noted(); lists != 1 {
			t.Errorf("after 11 minutes there are %d lists, want that of the record that is there", lists)
		}
		time.Sleep(time.Hour)
		if lists, _ := s.Noted(); lists != 0 {
			t.Errorf("after an hour there are %d lists", lists)
		}
	})
}

// The longest time counts.
func TestNoteUserIsNotShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{CleanupInterval: -1})
		for _, ttl := range []time.Duration{time.Minute, time.Hour, time.Second} {
			if err := s.NoteUser(t.Context(), "ann", "a", ttl); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour - 1)
		if tokens, err := s.UserTokens(t.Context(), "ann"); len(tokens) != 1 || err != nil {
			t.Errorf("just before an hour: %q, %v", tokens, err)
		}
		time.Sleep(time.Nanosecond)
		if tokens, err := s.UserTokens(t.Context(), "ann"); len(tokens) != 0 || err != nil {
			t.Errorf("after an hour: %q, %v", tokens, err)
		}
	})
}
