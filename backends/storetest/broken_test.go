package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/storetest"
)

// broken are stores with one fault each, and the tests that must find it.
var broken = map[string]struct {
	harness storetest.Harness
	caught  []string
}{
	"find ignores the expiry": {
		with(func(s *good) scs.CtxStore { return &findsExpired{good: s} }),
		[]string{"expiry/in_the_past", "expiry/passes", "expiry/to_the_nanosecond"},
	},
	"expiry cut to milliseconds": {
		with(func(s *good) scs.CtxStore {
			return &changesExpiry{s, func(t time.Time) time.Time { return t.Truncate(time.Millisecond) }}
		}),
		[]string{"findexpiry/follows_every_write"},
	},
	"expiry rounded up": {
		with(func(s *good) scs.CtxStore {
			return &changesExpiry{s, func(t time.Time) time.Time { return roundUp(t.Add(1)) }}
		}),
		[]string{"expiry/to_the_nanosecond", "findexpiry/follows_every_write"},
	},
	"expiry without its location": {
		with(func(s *good) scs.CtxStore { return &changesExpiry{s, wallClock} }),
		[]string{"expiry/in_any_location"},
	},
	"expiry without its location, on a server": {
		server(func(s *good) scs.CtxStore { return &changesExpiry{s, wallClock} }),
		[]string{"expiry/in_any_location"},
	},
	"expiry overflows in 2262": {
		with(func(s *good) scs.CtxStore {
			return &changesExpiry{s, func(t time.Time) time.Time { return time.Unix(0, t.UnixNano()) }}
		}),
		[]string{"expiry/far_off"},
	},
	"commit keeps the first expiry": {
		with(func(s *good) scs.CtxStore { return &keepsExpiry{good: s} }),
		[]string{"expiry/in_the_past", "expiry/passes", "findexpiry/follows_every_write"},
	},
	"commit ignores an expiry in the past": {
		with(func(s *good) scs.CtxStore { return &ignoresPast{good: s} }),
		[]string{"expiry/in_the_past"},
	},
	"commit adds to others": {
		with(func(s *good) scs.CtxStore { return &oneRecord{good: s} }),
		[]string{"commit/replaces", "delete/removes"},
	},
	"commit keeps the slice": {
		with(func(s *good) scs.CtxStore { return &keepsSlices{good: s} }),
		[]string{"commit/keeps_no_slice", "swap/slices"},
	},
	"find returns its own slice": {
		with(func(s *good) scs.CtxStore { return &lendsSlices{good: s} }),
		[]string{
			"find/data_is_the_caller's", "findtouch/reads", "findexpiry/reads", "swap/slices",
			"iterate/data_is_the_caller's",
		},
	},
	"no bytes come back as nil": {
		with(func(s *good) scs.CtxStore { return &emptyIsNil{good: s} }),
		[]string{"commit/no_bytes", "swap/no_bytes", "findtouch/no_bytes"},
	},
	"nil is no record": {
		with(func(s *good) scs.CtxStore { return &refusesNil{good: s} }),
		[]string{"commit/no_bytes"},
	},
	"delete does nothing": {
		with(func(s *good) scs.CtxStore { return &neverDeletes{good: s} }),
		[]string{"delete/removes", "concurrency/delete_is_final_beside_swap"},
	},
	"delete fails for an unknown id": {
		with(func(s *good) scs.CtxStore { return &deleteFails{good: s} }),
		[]string{"delete/unknown_id"},
	},
	"delete takes patterns": {
		with(func(s *good) scs.CtxStore { return &deletesPattern{good: s} }),
		[]string{"odd/unknown_ids", "odd/ids"},
	},
	"deleted ids stay deleted": {
		with(func(s *good) scs.CtxStore { return &tombstones{good: s, dead: make(map[string]bool)} }),
		[]string{"delete/then_commit"},
	},
	"touch creates": {
		with(func(s *good) scs.CtxStore { return &touchCreates{good: s} }),
		[]string{"touch/unknown_id", "findtouch/unknown_id"},
	},
	"touch revives the expired": {
		with(func(s *good) scs.CtxStore { return &touchRevives{good: s} }),
		[]string{"expiry/passes"},
	},
	"touch does nothing": {
		with(func(s *good) scs.CtxStore { return &neverTouches{good: s} }),
		[]string{"expiry/passes", "findexpiry/follows_every_write", "touch/by_a_second_handle", "touch/to_the_past", "findtouch/to_the_past"},
	},
	"touch finds everything": {
		with(func(s *good) scs.CtxStore { return &touchFinds{good: s} }),
		[]string{"touch/unknown_id", "expiry/passes", "odd/unknown_ids"},
	},
	"touch reads and writes": {
		with(func(s *good) scs.CtxStore { return &touchRewrites{good: s} }),
		[]string{"concurrency/touch_keeps_an_update", "concurrency/delete_is_final_beside_touch", "rename/is_final_beside_touch"},
	},
	"findtouch reads and writes": {
		with(func(s *good) scs.CtxStore { return &findTouchRewrites{good: s} }),
		[]string{
			"concurrency/findtouch_keeps_an_update", "concurrency/delete_is_final_beside_findtouch",
			"rename/is_final_beside_findtouch",
		},
	},
	"findexpiry gives no expiry": {
		with(func(s *good) scs.CtxStore { return &noExpiry{good: s} }),
		[]string{"findexpiry/follows_every_write", "findexpiry/reads"},
	},
	"findexpiry slides the expiry": {
		with(func(s *good) scs.CtxStore { return &readSlides{good: s} }),
		[]string{"findexpiry/reads"},
	},
	"swap writes what is gone": {
		with(func(s *good) scs.CtxStore { return &swapResurrects{good: s} }),
		[]string{"swap/replace_the_gone", "swap/by_a_second_handle", "expiry/passes", "odd/unknown_ids", "concurrency/delete_is_final_beside_swap"},
	},
	"swap does not compare": {
		with(func(s *good) scs.CtxStore { return &swapOverwrites{good: s} }),
		[]string{"swap/replace", "swap/compares_every_byte", "swap/delete", "concurrency/no_update_is_lost", "concurrency/one_replacement_wins"},
	},
	"swap creates over a record": {
		with(func(s *good) scs.CtxStore { return &swapCreatesOver{good: s} }),
		[]string{"swap/create", "concurrency/one_creation_wins"},
	},
	"swap does not create over the expired": {
		with(func(s *good) scs.CtxStore { return &swapSeesExpired{good: s} }),
		[]string{"expiry/passes"},
	},
	"swap is two steps": {
		with(func(s *good) scs.CtxStore { return &swapInSteps{good: s} }),
		[]string{
			"concurrency/no_update_is_lost", "concurrency/one_creation_wins", "concurrency/one_replacement_wins",
			"concurrency/delete_is_final_beside_swap",
		},
	},
	"swap keeps the expiry": {
		with(func(s *good) scs.CtxStore { return &swapKeepsExpiry{good: s} }),
		[]string{"expiry/passes", "findexpiry/follows_every_write", "swap/to_the_past"},
	},
	"swap gives no current bytes": {
		with(func(s *good) scs.CtxStore { return &swapSaysGone{good: s} }),
		[]string{"swap/create", "swap/replace", "concurrency/one_creation_wins", "odd/bytes"},
	},
	"swap compares JSON": {
		with(func(s *good) scs.CtxStore { return &swapComparesJSON{good: s} }),
		[]string{"swap/compares_every_byte"},
	},
	"swap takes no bytes for nil": {
		with(func(s *good) scs.CtxStore { return &swapEmptyIsNil{good: s} }),
		[]string{"swap/no_bytes"},
	},
	"swap deletes unseen": {
		with(func(s *good) scs.CtxStore { return &swapDeletes{good: s} }),
		[]string{"swap/delete"},
	},
	"swap of nil by nil creates": {
		with(func(s *good) scs.CtxStore { return &swapNilCreates{good: s} }),
		[]string{"swap/nothing_by_nothing"},
	},
	"rename does nothing": {
		with(func(s *good) scs.CtxStore { return &neverRenames{good: s} }),
		[]string{
			"rename/moves", "rename/keeps_the_expiry", "rename/no_bytes", "rename/then_swap", "rename/one_of_two_wins",
			"rename/one_of_two_to_a_name_wins", "rename/keeps_an_update", "expiry/passes", "odd/ids_by_rename",
		},
	},
	"rename copies": {
		with(func(s *good) scs.CtxStore { return &renameCopies{good: s} }),
		[]string{"rename/moves", "rename/then_swap", "rename/by_a_second_handle", "rename/one_of_two_wins"},
	},
	"rename adds to the expiry": {
		with(func(s *good) scs.CtxStore { return &renameMovesExpiry{s, time.Hour} }),
		[]string{"rename/keeps_the_expiry", "expiry/passes"},
	},
	"rename takes from the expiry": {
		with(func(s *good) scs.CtxStore { return &renameMovesExpiry{s, -time.Hour} }),
		[]string{"rename/keeps_the_expiry", "expiry/passes"},
	},
	"rename takes from the expiry, on a server": {
		server(func(s *good) scs.CtxStore { return &renameMovesExpiry{s, -time.Minute} }),
		[]string{"rename/keeps_the_expiry"},
	},
	"rename replaces": {
		with(func(s *good) scs.CtxStore { return &renameReplaces{good: s} }),
		[]string{"rename/taken", "rename/no_bytes", "rename/one_of_two_to_a_name_wins", "rename/or_creation_wins"},
	},
	"rename moves the expiry of what is in its way": {
		with(func(s *good) scs.CtxStore { return &renameTouches{good: s} }),
		[]string{"rename/taken", "rename/to_itself"},
	},
	"rename drops what cannot be renamed": {
		with(func(s *good) scs.CtxStore { return &renameDrops{good: s} }),
		[]string{"rename/taken", "rename/to_itself", "rename/one_of_two_to_a_name_wins", "rename/or_creation_wins"},
	},
	"rename to itself is done": {
		with(func(s *good) scs.CtxStore { return &renamesToItself{good: s} }),
		[]string{"rename/to_itself"},
	},
	"rename creates": {
		with(func(s *good) scs.CtxStore { return &renameCreates{good: s} }),
		[]string{"rename/unknown_id", "rename/delete_is_final", "odd/unknown_ids"},
	},
	"rename fails for an unknown id": {
		with(func(s *good) scs.CtxStore { return &renameFails{good: s} }),
		[]string{"rename/unknown_id", "odd/unknown_ids"},
	},
	"rename revives the expired": {
		with(func(s *good) scs.CtxStore { return &renameRevives{good: s} }),
		[]string{"rename/expired", "expiry/passes"},
	},
	"rename to the expired is refused": {
		with(func(s *good) scs.CtxStore { return &renameSeesExpired{good: s} }),
		[]string{"rename/expired", "expiry/passes"},
	},
	"rename leaves records of no bytes": {
		with(func(s *good) scs.CtxStore { return &renameSkipsEmpty{good: s} }),
		[]string{"rename/no_bytes"},
	},
	"rename is two steps": {
		with(func(s *good) scs.CtxStore { return &renameInSteps{good: s} }),
		[]string{
			"rename/one_of_two_wins", "rename/one_of_two_to_a_name_wins", "rename/delete_is_final",
			"rename/deletion_by_swap_is_final", "rename/keeps_an_update", "rename/or_creation_wins",
		},
	},
	"swap gives the bytes of what was renamed": {
		with(func(s *good) scs.CtxStore { return &swapGivesOld{good: s} }),
		[]string{"rename/then_swap", "rename/deletion_by_swap_is_final", "rename/keeps_an_update"},
	},
	"rename trims ids": {
		with(func(s *good) scs.CtxStore { return &renameChangesID{s, strings.TrimSpace} }),
		[]string{"odd/ids_by_rename"},
	},
	"rename takes patterns": {
		with(func(s *good) scs.CtxStore { return &renamesPattern{good: s} }),
		[]string{"odd/unknown_ids", "odd/ids"},
	},
	"rename refuses ordinary ids": {
		with(func(s *good) scs.CtxStore { return &renameRefusesLongID{good: s} }),
		[]string{"odd/ids_by_rename"},
	},
	"a failed rename has renamed": {
		with(func(s *good) scs.CtxStore { return &renameFailsTooLate{good: s} }),
		[]string{"odd/ids_by_rename"},
	},
	"rename ignores its context": {
		with(func(s *good) scs.CtxStore { return &renameGoesOn{good: s} }),
		[]string{"cancellation/cancelled", "cancellation/past_its_deadline"},
	},
	"a handle with a cache": {
		server(func(s *good) scs.CtxStore { return &caches{good: s} }),
		[]string{"find/by_a_second_handle", "rename/by_a_second_handle"},
	},
	"range shows the expired": {
		with(func(s *good) scs.CtxStore { return &listsExpired{good: s} }),
		[]string{"expiry/in_the_past", "expiry/passes", "iterate/everything"},
	},
	"range goes on after an error": {
		with(func(s *good) scs.CtxStore { return &rangeGoesOn{good: s} }),
		[]string{"iterate/range_stops_at_an_error"},
	},
	"range holds its lock": {
		with(func(s *good) scs.CtxStore { return &rangeLocks{good: s} }),
		[]string{"iterate/range_lets_the_store_be_called"},
	},
	"range reads one page": {
		with(func(s *good) scs.CtxStore { return &onePage{good: s} }),
		[]string{"iterate/everything", "iterate/range_lets_the_store_be_called", "iterate/range_beside_writers"},
	},
	"range ignores its context": {
		with(func(s *good) scs.CtxStore { return &rangeGoesOn{good: s, errors: true} }),
		[]string{"iterate/range_stops_at_an_error", "cancellation/range_is_ended_by_its_context"},
	},
	"all is nil when empty": {
		with(func(s *good) scs.CtxStore { return &allIsNil{good: s} }),
		[]string{"iterate/nothing"},
	},
	"len counts the expired": {
		with(func(s *good) scs.CtxStore { return &lenOfAll{good: s} }),
		[]string{"expiry/passes", "iterate/everything"},
	},
	"clear does nothing": {
		with(func(s *good) scs.CtxStore { return &neverClears{good: s} }),
		[]string{"iterate/clear"},
	},
	"stores share their data": {
		storetest.Harness{New: func() func(*testing.T) scs.CtxStore {
			shared := make(map[string]entry)
			return func(*testing.T) scs.CtxStore { return &good{mu: make(lock, 1), records: shared} }
		}()},
		[]string{"iterate/clear"},
	},
	"contexts are ignored": {
		with(func(s *good) scs.CtxStore { return &noContext{good: s} }),
		[]string{"cancellation/cancelled", "cancellation/past_its_deadline"},
	},
	"contexts are looked at last": {
		with(func(s *good) scs.CtxStore { return &lateContext{good: s} }),
		[]string{"cancellation/cancelled", "cancellation/past_its_deadline"},
	},
	"errors hide the context's": {
		with(func(s *good) scs.CtxStore { return &hidesCause{good: s} }),
		[]string{"cancellation/cancelled"},
	},
	"ids are trimmed": {
		with(func(s *good) scs.CtxStore { return &changesID{s, strings.TrimSpace} }),
		[]string{"odd/ids"},
	},
	"ids are folded": {
		with(func(s *good) scs.CtxStore { return &changesID{s, strings.ToLower} }),
		[]string{"odd/ids"},
	},
	"ids are cut": {
		with(func(s *good) scs.CtxStore {
			return &changesID{s, func(id string) string { return id[:min(len(id), 255)] }}
		}),
		[]string{"odd/ids"},
	},
	"ids end at a NUL": {
		with(func(s *good) scs.CtxStore {
			return &changesID{s, func(id string) string { id, _, _ = strings.Cut(id, "\x00"); return id }}
		}),
		[]string{"odd/ids"},
	},
	"ids are made valid": {
		with(func(s *good) scs.CtxStore {
			return &changesID{s, func(id string) string { return strings.ToValidUTF8(id, "\ufffd") }}
		}),
		[]string{"odd/ids"},
	},
	"odd ids make errors": {
		with(func(s *good) scs.CtxStore { return &failsOnOddID{good: s} }),
		[]string{"odd/unknown_ids", "odd/ids"},
	},
	"ordinary ids are refused": {
		with(func(s *good) scs.CtxStore { return &refusesLongID{good: s} }),
		[]string{"odd/ids"},
	},
	"a failed commit has written": {
		with(func(s *good) scs.CtxStore { return &failsTooLate{good: s} }),
		[]string{"odd/ids"},
	},
	"bytes are made valid": {
		with(func(s *good) scs.CtxStore {
			return &changesData{s, func(b []byte) []byte { return bytes.ToValidUTF8(b, nil) }}
		}),
		[]string{"odd/bytes"},
	},
	"JSON is formatted": {
		server(func(s *good) scs.CtxStore {
			return &changesData{s, func(b []byte) []byte {
				var out bytes.Buffer
				if json.Compact(&out, b) != nil {
					return b
				}
				return out.Bytes()
			}}
		}),
		[]string{"odd/bytes"},
	},
	"large data is cut": {
		with(func(s *good) scs.CtxStore {
			return &changesData{s, func(b []byte) []byte { return b[:min(len(b), 1<<16)] }}
		}),
		[]string{"odd/bytes"},
	},
	"a write is seen half done": {
		with(func(s *good) scs.CtxStore { return &tears{good: s} }),
		[]string{"concurrency/a_read_is_whole"},
	},
	"a method is missing": {
		with(func(s *good) scs.CtxStore { return struct{ scs.CtxStore }{s} }),
		[]string{"methods"},
	},
	"a method is there after all": {
		storetest.Harness{New: func(*testing.T) scs.CtxStore { return newGood() }, Without: []string{"Touch"}},
		[]string{"methods"},
	},
	"an unknown method is named": {
		storetest.Harness{New: func(*testing.T) scs.CtxStore { return newGood() }, Without: []string{"Tuch"}},
		[]string{""},
	},
	"there is no New": {storetest.Harness{}, []string{""}},
}

func with(open func(*good) scs.CtxStore) storetest.Harness {
	return storetest.Harness{New: func(*testing.T) scs.CtxStore { return open(newGood()) }}
}

// pause lets every other goroutine of a test go as far as it can: a bubble's clock
// moves when all of them wait.
func pause() { time.Sleep(time.Nanosecond) }

const variant = "STORETEST_BROKEN"

// TestBrokenStores runs the suite on each broken store, in a process of its own
// since it must fail.
func TestBrokenStores(t *testing.T) {
	if name := os.Getenv(variant); name != "" {
		storetest.Run(t, broken[name].harness)
		return
	}
	failure := regexp.MustCompile(`(?m)^ *--- FAIL: TestBrokenStores/?(\S*)`)
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var topics []string
			for _, want := range broken[name].caught {
				topic, _, _ := strings.Cut(want, "/")
				topics = append(topics, topic)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.timeout=1m",
				"-test.run=^TestBrokenStores$/^("+strings.Join(topics, "|")+")$")
			cmd.Env = append(os.Environ(), variant+"="+name)
			out, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
				t.Fatalf("the suite has passed: %v", err)
			}
			var failed []string
			for _, m := range failure.FindAllSubmatch(out, -1) {
				failed = append(failed, string(m[1]))
			}
			for _, want := range broken[name].caught {
				if !slices.Contains(failed, want) {
					t.Errorf("%s has passed; failed: %q", want, failed)
				}
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}

type findsExpired struct{ *good }

func (s *findsExpired) Find(token string) ([]byte, bool, error) {
	defer s.mu.hold()()
	e, found := s.records[token]
	return clone(e.data), found, nil
}

type changesExpiry struct {
	*good
	change func(time.Time) time.Time
}

func wallClock(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

func (s *changesExpiry) Commit(token string, data []byte, expiry time.Time) error {
	return s.good.Commit(token, data, s.change(expiry))
}

func (s *changesExpiry) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.good.CommitCtx(ctx, token, data, s.change(expiry))
}

type keepsExpiry struct{ *good }

func (s *keepsExpiry) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if _, first, found, _ := s.FindExpiry(ctx, token); found {
		expiry = first
	}
	return s.good.CommitCtx(ctx, token, data, expiry)
}

type ignoresPast struct{ *good }

func (s *ignoresPast) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if expiry.Before(time.Now()) {
		return ctx.Err()
	}
	return s.good.CommitCtx(ctx, token, data, expiry)
}

type oneRecord struct{ *good }

func (s *oneRecord) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if err := s.Clear(ctx); err != nil {
		return err
	}
	return s.good.CommitCtx(ctx, token, data, expiry)
}

type keepsSlices struct{ *good }

func (s *keepsSlices) Commit(token string, data []byte, expiry time.Time) error {
	defer s.mu.hold()()
	s.records[token] = entry{data, expiry}
	return nil
}

func (s *keepsSlices) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	if swapped && data != nil {
		_ = s.Commit(token, data, expiry)
	}
	return current, swapped, err
}

type lendsSlices struct{ *good }

// own gives access to the slice that is stored.
func (s *lendsSlices) own(token string, data []byte, found bool, err error) ([]byte, bool, error) {
	if !found || err != nil {
		return data, found, err
	}
	defer s.mu.hold()()
	return s.records[token].data, true, nil
}

func (s *lendsSlices) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	data, found, err := s.good.FindCtx(ctx, token)
	return s.own(token, data, found, err)
}

func (s *lendsSlices) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	data, found, err := s.good.FindTouch(ctx, token, expiry)
	return s.own(token, data, found, err)
}

func (s *lendsSlices) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	data, expiry, found, err := s.good.FindExpiry(ctx, token)
	data, found, err = s.own(token, data, found, err)
	return data, expiry, found, err
}

func (s *lendsSlices) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	current, _, err = s.own(token, current, current != nil, err)
	return current, swapped, err
}

func (s *lendsSlices) AllCtx(ctx context.Context) (map[string][]byte, error) {
	all, err := s.good.AllCtx(ctx)
	for token := range all {
		all[token], _, _ = s.own(token, nil, true, nil)
	}
	return all, err
}

type emptyIsNil struct{ *good }

func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

func (s *emptyIsNil) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	data, found, err := s.good.FindCtx(ctx, token)
	return orNil(data), found, err
}

func (s *emptyIsNil) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	data, found, err := s.good.FindTouch(ctx, token, expiry)
	return orNil(data), found, err
}

func (s *emptyIsNil) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	return orNil(current), swapped, err
}

type refusesNil struct{ *good }

func (s *refusesNil) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if data == nil {
		return errors.New("no data")
	}
	return s.good.CommitCtx(ctx, token, data, expiry)
}

type neverDeletes struct{ *good }

func (s *neverDeletes) DeleteCtx(ctx context.Context, _ string) error { return ctx.Err() }

type deleteFails struct{ *good }

func (s *deleteFails) Delete(token string) error {
	if _, found, _ := s.Find(token); !found {
		return errors.New("not found")
	}
	return s.good.Delete(token)
}

type deletesPattern struct{ *good }

func (s *deletesPattern) Delete(pattern string) error {
	defer s.mu.hold()()
	maps.DeleteFunc(s.records, func(token string, _ entry) bool {
		match, _ := path.Match(pattern, token)
		return match || token == pattern
	})
	return nil
}

type tombstones struct {
	*good
	dead map[string]bool
}

func (s *tombstones) Delete(token string) error {
	s.dead[token] = true
	return s.good.Delete(token)
}

func (s *tombstones) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if s.dead[token] {
		return ctx.Err()
	}
	return s.good.CommitCtx(ctx, token, data, expiry)
}

type touchCreates struct{ *good }

func (s *touchCreates) Touch(ctx context.Context, token string, expiry time.Time) (bool, error) {
	_, found, err := s.FindTouch(ctx, token, expiry)
	return found, err
}

func (s *touchCreates) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	data, found, err := s.good.FindTouch(ctx, token, expiry)
	if !found && err == nil {
		err = s.CommitCtx(ctx, token, nil, expiry)
	}
	return data, found, err
}

type touchRevives struct{ *good }

func (s *touchRevives) Touch(ctx context.Context, token string, expiry time.Time) (bool, error) {
	defer s.mu.hold()()
	e, found := s.records[token]
	if found && ctx.Err() == nil {
		s.records[token] = entry{e.data, expiry}
	}
	return found, ctx.Err()
}

type neverTouches struct{ *good }

func (s *neverTouches) Touch(ctx context.Context, token string, _ time.Time) (bool, error) {
	_, found, err := s.FindCtx(ctx, token)
	return found, err
}

func (s *neverTouches) FindTouch(ctx context.Context, token string, _ time.Time) ([]byte, bool, error) {
	return s.FindCtx(ctx, token)
}

type touchFinds struct{ *good }

func (s *touchFinds) Touch(ctx context.Context, token string, expiry time.Time) (bool, error) {
	_, err := s.good.Touch(ctx, token, expiry)
	return true, err
}

type touchRewrites struct{ *good }

func (s *touchRewrites) Touch(ctx context.Context, token string, expiry time.Time) (bool, error) {
	data, found, err := s.FindCtx(ctx, token)
	if !found || err != nil {
		return false, err
	}
	pause()
	return true, s.CommitCtx(ctx, token, data, expiry)
}

type findTouchRewrites struct{ *good }

func (s *findTouchRewrites) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	data, found, err := s.FindCtx(ctx, token)
	if !found || err != nil {
		return nil, false, err
	}
	pause()
	return data, true, s.CommitCtx(ctx, token, data, expiry)
}

type noExpiry struct{ *good }

func (s *noExpiry) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	data, _, found, err := s.good.FindExpiry(ctx, token)
	return data, time.Time{}, found, err
}

type readSlides struct{ *good }

func (s *readSlides) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	_, _, _ = s.FindTouch(ctx, token, time.Now().Add(2*time.Hour))
	return s.good.FindExpiry(ctx, token)
}

type swapResurrects struct{ *good }

func (s *swapResurrects) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	if err == nil && !swapped && current == nil && data != nil {
		return nil, true, s.CommitCtx(ctx, token, data, expiry)
	}
	return current, swapped, err
}

type swapOverwrites struct{ *good }

func (s *swapOverwrites) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, found, err := s.FindCtx(ctx, token)
	if err != nil || found != (old != nil) {
		return current, false, err
	}
	if data == nil {
		return nil, true, s.DeleteCtx(ctx, token)
	}
	return nil, true, s.CommitCtx(ctx, token, data, expiry)
}

type swapCreatesOver struct{ *good }

func (s *swapCreatesOver) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if old == nil && data != nil {
		return nil, true, s.CommitCtx(ctx, token, data, expiry)
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type swapSeesExpired struct{ *good }

func (s *swapSeesExpired) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	release := s.mu.hold()
	_, there := s.records[token]
	release()
	if there && old == nil {
		current, _, err := s.FindCtx(ctx, token)
		return current, false, err
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type swapInSteps struct{ *good }

func (s *swapInSteps) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, found, err := s.FindCtx(ctx, token)
	if err != nil || found != (old != nil) || found && !bytes.Equal(current, old) {
		return current, false, err
	}
	pause()
	if data == nil {
		return nil, true, s.DeleteCtx(ctx, token)
	}
	return nil, true, s.CommitCtx(ctx, token, data, expiry)
}

type swapKeepsExpiry struct{ *good }

func (s *swapKeepsExpiry) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if _, kept, found, _ := s.FindExpiry(ctx, token); found {
		expiry = kept
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type swapSaysGone struct{ *good }

func (s *swapSaysGone) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	_, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	return nil, swapped, err
}

type swapComparesJSON struct{ *good }

func (s *swapComparesJSON) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	var a, b any
	current, _, _ := s.FindCtx(ctx, token)
	if json.Unmarshal(current, &a) == nil && json.Unmarshal(old, &b) == nil {
		a, _ := json.Marshal(a)
		b, _ := json.Marshal(b)
		if bytes.Equal(a, b) {
			old = current
		}
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type swapEmptyIsNil struct{ *good }

func (s *swapEmptyIsNil) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	return s.good.Swap(ctx, token, orNil(old), data, expiry)
}

type swapDeletes struct{ *good }

func (s *swapDeletes) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if _, found, _ := s.FindCtx(ctx, token); found && old != nil && data == nil {
		return nil, true, s.DeleteCtx(ctx, token)
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type swapNilCreates struct{ *good }

func (s *swapNilCreates) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if old == nil && data == nil {
		data = []byte{}
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type neverRenames struct{ *good }

func (s *neverRenames) Rename(ctx context.Context, _, _ string) (bool, error) {
	return false, ctx.Err()
}

type renameCopies struct{ *good }

func (s *renameCopies) Rename(ctx context.Context, old, new string) (bool, error) {
	data, expiry, found, err := s.FindExpiry(ctx, old)
	if !found || err != nil {
		return false, err
	}
	_, renamed, err := s.Swap(ctx, new, nil, data, expiry)
	return renamed, err
}

type renameMovesExpiry struct {
	*good
	by time.Duration
}

func (s *renameMovesExpiry) Rename(ctx context.Context, old, new string) (bool, error) {
	renamed, err := s.good.Rename(ctx, old, new)
	if renamed {
		_, expiry, _, _ := s.FindExpiry(ctx, new)
		_, err = s.Touch(ctx, new, expiry.Add(s.by))
	}
	return renamed, err
}

type renameReplaces struct{ *good }

func (s *renameReplaces) Rename(ctx context.Context, old, new string) (bool, error) {
	if _, found, err := s.FindCtx(ctx, old); !found || err != nil || old == new {
		return false, err
	}
	if err := s.DeleteCtx(ctx, new); err != nil {
		return false, err
	}
	return s.good.Rename(ctx, old, new)
}

type renameTouches struct{ *good }

func (s *renameTouches) Rename(ctx context.Context, old, new string) (bool, error) {
	renamed, err := s.good.Rename(ctx, old, new)
	if !renamed && err == nil {
		_, err = s.Touch(ctx, new, time.Now().Add(3*time.Hour))
	}
	return renamed, err
}

type renameDrops struct{ *good }

func (s *renameDrops) Rename(ctx context.Context, old, new string) (bool, error) {
	renamed, err := s.good.Rename(ctx, old, new)
	if !renamed && err == nil {
		err = s.DeleteCtx(ctx, old)
	}
	return renamed, err
}

type renamesToItself struct{ *good }

func (s *renamesToItself) Rename(ctx context.Context, old, new string) (bool, error) {
	if old == new {
		_, found, err := s.FindCtx(ctx, old)
		return found, err
	}
	return s.good.Rename(ctx, old, new)
}

type renameCreates struct{ *good }

func (s *renameCreates) Rename(ctx context.Context, old, new string) (bool, error) {
	if _, _, err := s.Swap(ctx, old, nil, []byte{}, time.Now().Add(time.Hour)); err != nil {
		return false, err
	}
	return s.good.Rename(ctx, old, new)
}

type renameFails struct{ *good }

func (s *renameFails) Rename(ctx context.Context, old, new string) (bool, error) {
	if _, found, err := s.FindCtx(ctx, old); !found && err == nil {
		return false, errors.New("not found")
	}
	return s.good.Rename(ctx, old, new)
}

type renameRevives struct{ *good }

func (s *renameRevives) Rename(ctx context.Context, old, new string) (bool, error) {
	renamed, err := s.good.Rename(ctx, old, new)
	if renamed || err != nil {
		return renamed, err
	}
	defer s.mu.hold()()
	e, there := s.records[old]
	if _, live := s.live(old); live || !there {
		return false, nil
	}
	s.records[new] = entry{e.data, time.Now().Add(time.Hour)}
	return true, nil
}

type renameSeesExpired struct{ *good }

func (s *renameSeesExpired) Rename(ctx context.Context, old, new string) (bool, error) {
	release := s.mu.hold()
	_, there := s.records[new]
	release()
	if there {
		return false, ctx.Err()
	}
	return s.good.Rename(ctx, old, new)
}

type renameSkipsEmpty struct{ *good }

func (s *renameSkipsEmpty) Rename(ctx context.Context, old, new string) (bool, error) {
	if data, _, err := s.FindCtx(ctx, old); len(data) == 0 || err != nil {
		return false, err
	}
	return s.good.Rename(ctx, old, new)
}

type renameInSteps struct{ *good }

func (s *renameInSteps) Rename(ctx context.Context, old, new string) (bool, error) {
	data, expiry, found, err := s.FindExpiry(ctx, old)
	if !found || err != nil {
		return false, err
	}
	if _, taken, err := s.FindCtx(ctx, new); taken || err != nil {
		return false, err
	}
	pause()
	if err := s.CommitCtx(ctx, new, data, expiry); err != nil {
		return false, err
	}
	return true, s.DeleteCtx(ctx, old)
}

type swapGivesOld struct{ *good }

func (s *swapGivesOld) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	if !swapped && current == nil && err == nil {
		current = old
	}
	return current, swapped, err
}

type renameChangesID struct {
	*good
	change func(string) string
}

func (s *renameChangesID) Rename(ctx context.Context, old, new string) (bool, error) {
	return s.good.Rename(ctx, old, s.change(new))
}

type renamesPattern struct{ *good }

func (s *renamesPattern) Rename(ctx context.Context, pattern, new string) (bool, error) {
	all, err := s.AllCtx(ctx)
	if err != nil {
		return false, err
	}
	for _, token := range slices.Sorted(maps.Keys(all)) {
		if match, _ := path.Match(pattern, token); match {
			return s.good.Rename(ctx, token, new)
		}
	}
	return s.good.Rename(ctx, pattern, new)
}

type renameRefusesLongID struct{ *good }

func (s *renameRefusesLongID) Rename(ctx context.Context, old, new string) (bool, error) {
	if len(new) > 100 {
		return false, errors.New("too long")
	}
	return s.good.Rename(ctx, old, new)
}

type renameFailsTooLate struct{ *good }

func (s *renameFailsTooLate) Rename(ctx context.Context, old, new string) (bool, error) {
	renamed, err := s.good.Rename(ctx, old, new)
	if len(new) > 255 {
		return false, errors.New("too long")
	}
	return renamed, err
}

type renameGoesOn struct{ *good }

func (s *renameGoesOn) Rename(ctx context.Context, old, new string) (bool, error) {
	renamed, err := s.good.Rename(context.WithoutCancel(ctx), old, new)
	return renamed, errors.Join(err, ctx.Err())
}

type caches struct {
	*good
	seen sync.Map
}

func (s *caches) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if data, ok := s.seen.Load(token); ok {
		return clone(data.([]byte)), true, ctx.Err()
	}
	data, found, err := s.good.FindCtx(ctx, token)
	if found {
		s.seen.Store(token, clone(data))
	}
	return data, found, err
}

func (s *caches) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	s.seen.Delete(token)
	return s.good.CommitCtx(ctx, token, data, expiry)
}

type listsExpired struct{ *good }

func (s *listsExpired) Range(ctx context.Context, fn func(string, []byte) error) error {
	release := s.mu.hold()
	records := maps.Clone(s.records)
	release()
	for token, e := range records {
		if err := fn(token, clone(e.data)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return ctx.Err()
}

type rangeGoesOn struct {
	*good
	errors bool
}

func (s *rangeGoesOn) Range(ctx context.Context, fn func(string, []byte) error) error {
	if s.errors {
		ctx = context.WithoutCancel(ctx)
	}
	var first error
	err := s.good.Range(ctx, func(token string, data []byte) error {
		if err := fn(token, data); first == nil {
			first = err
		}
		return nil
	})
	return errors.Join(err, first)
}

type rangeLocks struct{ *good }

func (s *rangeLocks) Range(ctx context.Context, fn func(string, []byte) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer s.mu.hold()()
	for token := range s.records {
		if e, ok := s.live(token); ok {
			if err := fn(token, clone(e.data)); err != nil {
				return err
			}
		}
	}
	return nil
}

type onePage struct{ *good }

func (s *onePage) Range(ctx context.Context, fn func(string, []byte) error) error {
	n := 0
	end := errors.New("end of page")
	err := s.good.Range(ctx, func(token string, data []byte) error {
		if n++; n > 1000 {
			return end
		}
		return fn(token, data)
	})
	if errors.Is(err, end) {
		return nil
	}
	return err
}

type allIsNil struct{ *good }

func (s *allIsNil) All() (map[string][]byte, error) {
	all, err := s.good.All()
	if len(all) == 0 {
		return nil, err
	}
	return all, err
}

type lenOfAll struct{ *good }

func (s *lenOfAll) Len(ctx context.Context) (int, error) {
	defer s.mu.hold()()
	return len(s.records), ctx.Err()
}

type neverClears struct{ *good }

func (s *neverClears) Clear(ctx context.Context) error { return ctx.Err() }

type noContext struct{ *good }

func (s *noContext) FindCtx(_ context.Context, token string) ([]byte, bool, error) {
	return s.Find(token)
}

func (s *noContext) Find(token string) ([]byte, bool, error) {
	return s.good.FindCtx(context.Background(), token)
}

type lateContext struct{ *good }

func (s *lateContext) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return errors.Join(s.Commit(token, data, expiry), ctx.Err())
}

func (s *lateContext) Commit(token string, data []byte, expiry time.Time) error {
	return s.good.CommitCtx(context.Background(), token, data, expiry)
}

type hidesCause struct{ *good }

func (s *hidesCause) Touch(ctx context.Context, token string, expiry time.Time) (bool, error) {
	found, err := s.good.Touch(ctx, token, expiry)
	if err != nil {
		err = errors.New(err.Error())
	}
	return found, err
}

type changesID struct {
	*good
	change func(string) string
}

func (s *changesID) Find(token string) ([]byte, bool, error) { return s.good.Find(s.change(token)) }

func (s *changesID) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return s.good.FindCtx(ctx, s.change(token))
}

func (s *changesID) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	return s.good.FindExpiry(ctx, s.change(token))
}

func (s *changesID) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.good.CommitCtx(ctx, s.change(token), data, expiry)
}

type failsOnOddID struct{ *good }

func (s *failsOnOddID) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if !utf8.ValidString(token) {
		return nil, false, errors.New("invalid UTF-8")
	}
	return s.good.FindCtx(ctx, token)
}

type refusesLongID struct{ *good }

func (s *refusesLongID) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if len(token) > 100 {
		return errors.New("too long")
	}
	return s.good.CommitCtx(ctx, token, data, expiry)
}

type failsTooLate struct{ *good }

func (s *failsTooLate) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	err := s.good.CommitCtx(ctx, token, data, expiry)
	if len(token) > 255 {
		return errors.New("too long")
	}
	return err
}

type changesData struct {
	*good
	change func([]byte) []byte
}

func (s *changesData) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.good.CommitCtx(ctx, token, s.change(data), expiry)
}

type tears struct{ *good }

func (s *tears) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if current, _, _ := s.FindCtx(ctx, token); len(current) < len(data) && len(current) > 0 {
		if err := s.good.CommitCtx(ctx, token, append(clone(data[:len(data)/2]), current[:len(current)/2]...), expiry); err != nil {
			return err
		}
		pause()
	}
	return s.good.CommitCtx(ctx, token, data, expiry)
}
