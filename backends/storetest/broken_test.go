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

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/storetest"
)

// broken holds stores with one fault each, and the tests that must find it.
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
		[]string{
			"expiry/passes", "findexpiry/follows_every_write", "touch/by_a_second_handle", "touch/body_stays",
			"touch/no_bytes", "touch/to_the_past", "findtouch/to_the_past",
		},
	},
	"touch is always done": {
		with(func(s *good) scs.CtxStore { return &touchIsDone{good: s} }),
		[]string{"touch/unknown_id", "touch/changed", "touch/to_the_past", "expiry/passes", "odd/unknown_ids", "move/then_swap"},
	},
	"touch is refused": {
		with(func(s *good) scs.CtxStore { return &touchRefused{good: s} }),
		[]string{"touch/body_stays", "touch/to_the_past", "touch/by_a_second_handle", "odd/ids", "odd/bytes", "swap/replace"},
	},
	"touch does not compare": {
		with(func(s *good) scs.CtxStore { return &touchIsBlind{good: s} }),
		[]string{"touch/changed", "touch/to_the_past", "concurrency/touch_keeps_an_update's_expiry"},
	},
	"touch compares JSON": {
		with(func(s *good) scs.CtxStore { return &swapComparesJSON{good: s, touch: true} }),
		[]string{"touch/changed"},
	},
	"touch to the past does nothing": {
		with(func(s *good) scs.CtxStore { return &touchIgnoresPast{good: s} }),
		[]string{"touch/to_the_past"},
	},
	"touch keeps the slice": {
		with(func(s *good) scs.CtxStore { return &touchKeepsSlices{good: s} }),
		[]string{"touch/slices"},
	},
	"touch takes no bytes for nil": {
		with(func(s *good) scs.CtxStore { return &touchEmptyIsNil{good: s} }),
		[]string{"touch/no_bytes"},
	},
	"touch reads and writes": {
		with(func(s *good) scs.CtxStore { return &touchRewrites{good: s} }),
		[]string{
			"concurrency/touch_keeps_an_update", "concurrency/touch_keeps_an_update's_expiry", "concurrency/delete_is_final_beside_touch",
			"concurrency/touch_or_deletion_by_swap_wins", "move/is_final_beside_touch",
		},
	},
	"touch compares and then moves the expiry": {
		with(func(s *good) scs.CtxStore { return &touchInSteps{good: s} }),
		[]string{"concurrency/touch_keeps_an_update's_expiry"},
	},
	"findtouch reads and writes": {
		with(func(s *good) scs.CtxStore { return &findTouchRewrites{good: s} }),
		[]string{
			"concurrency/findtouch_keeps_an_update", "concurrency/delete_is_final_beside_findtouch",
			"move/is_final_beside_findtouch",
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
	"move does nothing": {
		with(func(s *good) scs.CtxStore { return &neverMoves{good: s} }),
		[]string{
			"move/moves", "move/sets_the_expiry", "move/to_itself", "move/several", "move/no_bytes", "move/then_swap",
			"move/one_of_two_wins", "move/one_of_two_to_an_id_wins", "move/one_of_two_merges_wins", "expiry/passes", "odd/ids_by_move",
		},
	},
	"move is always done": {
		with(func(s *good) scs.CtxStore { return &moveIsDone{good: s} }),
		[]string{
			"move/unknown_id", "move/taken", "move/expired", "move/several,_one_of_them_another", "move/compares_every_byte",
			"move/none_is_in_the_way_of_itself", "odd/unknown_ids",
		},
	},
	"move copies": {
		with(func(s *good) scs.CtxStore { return &moveCopies{good: s, from: 0} }),
		[]string{"move/moves", "move/several", "move/then_swap", "move/by_a_second_handle", "move/one_of_two_wins", "move/is_seen_under_one_id"},
	},
	"move leaves the second record": {
		with(func(s *good) scs.CtxStore { return &moveCopies{good: s, from: 1} }),
		[]string{"move/several", "move/by_a_second_handle", "move/to_the_past", "odd/ids_by_move_of_two", "move/nothing_is_lost"},
	},
	"move leaves the third record": {
		with(func(s *good) scs.CtxStore { return &moveCopies{good: s, from: 2} }),
		[]string{"move/several"},
	},
	"move keeps the data": {
		with(func(s *good) scs.CtxStore { return &moveKeeps{good: s, data: true} }),
		[]string{"move/moves", "move/to_itself", "move/several", "move/nothing_is_lost"},
	},
	"move keeps the expiry": {
		with(func(s *good) scs.CtxStore { return &moveKeeps{good: s, expiry: true} }),
		[]string{"move/sets_the_expiry", "move/to_itself", "move/to_the_past", "expiry/passes"},
	},
	"move to the same data keeps the expiry": {
		with(func(s *good) scs.CtxStore { return &moveKeeps{good: s, expiry: true, unchanged: true} }),
		[]string{"move/to_itself", "move/sets_the_expiry"},
	},
	"move adds to the expiry": {
		with(func(s *good) scs.CtxStore { return &moveChangesExpiry{s, time.Hour} }),
		[]string{"move/sets_the_expiry", "expiry/passes"},
	},
	"move takes from the expiry": {
		with(func(s *good) scs.CtxStore { return &moveChangesExpiry{s, -time.Hour} }),
		[]string{"move/sets_the_expiry", "expiry/passes"},
	},
	"move takes from the expiry, on a server": {
		server(func(s *good) scs.CtxStore { return &moveChangesExpiry{s, -time.Minute} }),
		[]string{"move/sets_the_expiry"},
	},
	"move replaces": {
		with(func(s *good) scs.CtxStore { return &moveReplaces{good: s} }),
		[]string{
			"move/taken", "move/no_bytes", "move/one_of_two_to_an_id_wins", "move/or_creation_wins",
			"move/none_is_in_the_way_of_itself", "odd/bytes",
		},
	},
	"move does not compare": {
		with(func(s *good) scs.CtxStore { return &moveIsBlind{good: s} }),
		[]string{
			"move/compares_every_byte", "move/to_itself", "move/several,_one_of_them_another", "move/or_an_update_wins",
			"move/a_merge_or_an_update_wins", "move/nothing_is_lost",
		},
	},
	"move compares the first record alone": {
		with(func(s *good) scs.CtxStore { return &moveIsBlind{good: s, but: 1} }),
		[]string{"move/several,_one_of_them_another", "move/a_merge_or_an_update_wins", "move/to_the_past", "move/nothing_is_lost"},
	},
	"move compares two records alone": {
		with(func(s *good) scs.CtxStore { return &moveIsBlind{good: s, but: 2} }),
		[]string{"move/several,_one_of_them_another"},
	},
	"move does not compare the record that it replaces": {
		with(func(s *good) scs.CtxStore { return &moveIsBlind{good: s, to: true} }),
		[]string{"move/to_itself", "move/several,_one_of_them_another", "move/compares_every_byte"},
	},
	"move compares JSON": {
		with(func(s *good) scs.CtxStore { return &moveComparesJSON{good: s} }),
		[]string{"move/compares_every_byte"},
	},
	"move moves the expiry of what is in its way": {
		with(func(s *good) scs.CtxStore { return &moveTouches{good: s} }),
		[]string{"move/taken"},
	},
	"a refused move moves the expiry of its records": {
		with(func(s *good) scs.CtxStore { return &moveTouches{good: s, from: true} }),
		[]string{"move/taken", "move/compares_every_byte", "move/several,_one_of_them_another", "move/to_the_past"},
	},
	"move drops what cannot be moved": {
		with(func(s *good) scs.CtxStore { return &moveDrops{good: s} }),
		[]string{
			"move/taken", "move/one_of_two_to_an_id_wins", "move/or_creation_wins", "move/delete_is_final_beside_a_merge",
			"move/several,_one_of_them_another",
		},
	},
	"move to itself is refused": {
		with(func(s *good) scs.CtxStore { return &moveToItself{good: s} }),
		[]string{"move/to_itself", "move/several", "move/sets_the_expiry", "odd/ids"},
	},
	"move to itself deletes": {
		with(func(s *good) scs.CtxStore { return &moveToItself{good: s, deletes: true} }),
		[]string{"move/to_itself", "move/several", "move/no_bytes", "odd/ids", "move/nothing_is_lost"},
	},
	"move creates": {
		with(func(s *good) scs.CtxStore { return &moveCreates{good: s} }),
		[]string{"move/unknown_id", "move/expired", "move/delete_is_final", "odd/unknown_ids"},
	},
	"move leaves out what is gone": {
		with(func(s *good) scs.CtxStore { return &moveSkipsGone{good: s} }),
		[]string{"move/expired", "move/several,_one_of_them_another", "move/delete_is_final_beside_a_merge", "odd/unknown_ids"},
	},
	"move fails for an unknown id": {
		with(func(s *good) scs.CtxStore { return &moveFails{good: s} }),
		[]string{"move/unknown_id", "odd/unknown_ids"},
	},
	"move revives the expired": {
		with(func(s *good) scs.CtxStore { return &moveRevives{good: s} }),
		[]string{"move/expired", "expiry/passes"},
	},
	"move to the expired is refused": {
		with(func(s *good) scs.CtxStore { return &moveSeesExpired{good: s} }),
		[]string{"move/expired", "expiry/passes"},
	},
	"move in the past does nothing": {
		with(func(s *good) scs.CtxStore { return &moveIgnoresPast{good: s} }),
		[]string{"move/to_the_past"},
	},
	"move in the past is refused": {
		with(func(s *good) scs.CtxStore { return &moveIgnoresPast{good: s, refuses: true} }),
		[]string{"move/to_the_past"},
	},
	"move in the past does not compare": {
		with(func(s *good) scs.CtxStore { return &moveBlindInPast{good: s} }),
		[]string{"move/to_the_past"},
	},
	"move leaves records of no bytes": {
		with(func(s *good) scs.CtxStore { return &moveSkipsEmpty{good: s} }),
		[]string{"move/no_bytes"},
	},
	"move to nil deletes": {
		with(func(s *good) scs.CtxStore { return &moveNilDeletes{good: s} }),
		[]string{"move/no_bytes"},
	},
	"move gives no current bytes": {
		with(func(s *good) scs.CtxStore {
			return &moveCurrent{s, func([]contract.Record, [][]byte) [][]byte { return nil }}
		}),
		[]string{"move/compares_every_byte", "move/taken", "move/or_an_update_wins", "odd/unknown_ids"},
	},
	"move gives what the caller knew": {
		with(func(s *good) scs.CtxStore {
			return &moveCurrent{s, func(from []contract.Record, _ [][]byte) [][]byte { return knownOf(from) }}
		}),
		[]string{"move/unknown_id", "move/compares_every_byte", "move/several,_one_of_them_another", "move/deletion_by_swap_is_final"},
	},
	"move gives the current bytes up to what has changed": {
		with(func(s *good) scs.CtxStore {
			return &moveCurrent{s, func(from []contract.Record, current [][]byte) [][]byte {
				for i, data := range current {
					if data == nil || !bytes.Equal(data, from[i].Data) {
						return current[:i+1]
					}
				}
				return current
			}}
		}),
		[]string{"move/several,_one_of_them_another", "odd/unknown_ids"},
	},
	"move gives the current bytes of what is left": {
		with(func(s *good) scs.CtxStore {
			return &moveCurrent{s, func(_ []contract.Record, current [][]byte) [][]byte {
				return slices.DeleteFunc(current, func(data []byte) bool { return data == nil })
			}}
		}),
		[]string{"move/unknown_id", "move/several,_one_of_them_another", "odd/unknown_ids"},
	},
	"move gives the current bytes in the order of the ids": {
		with(func(s *good) scs.CtxStore {
			return &moveCurrent{s, func(from []contract.Record, current [][]byte) [][]byte {
				order := make([]int, len(from))
				for i := range order {
					order[i] = i
				}
				slices.SortFunc(order, func(a, b int) int { return strings.Compare(from[a].Token, from[b].Token) })
				sorted := make([][]byte, len(from))
				for i, n := range order {
					sorted[i] = current[n]
				}
				return sorted
			}}
		}),
		[]string{"move/taken", "move/several,_one_of_them_another"},
	},
	"move takes no bytes for gone": {
		with(func(s *good) scs.CtxStore {
			return &moveCurrent{s, func(_ []contract.Record, current [][]byte) [][]byte {
				for i := range current {
					current[i] = orNil(current[i])
				}
				return current
			}}
		}),
		[]string{"move/no_bytes"},
	},
	"move keeps the slice": {
		with(func(s *good) scs.CtxStore { return &moveKeepsSlices{good: s} }),
		[]string{"move/slices"},
	},
	"move lends its slices": {
		with(func(s *good) scs.CtxStore { return &moveLendsSlices{good: s} }),
		[]string{"move/slices"},
	},
	"move sorts what it is given": {
		with(func(s *good) scs.CtxStore { return &moveSorts{good: s} }),
		[]string{"move/slices"},
	},
	"move is two steps": {
		with(func(s *good) scs.CtxStore { return &moveInSteps{good: s} }),
		[]string{
			"move/one_of_two_wins", "move/one_of_two_to_an_id_wins", "move/one_of_two_merges_wins", "move/delete_is_final",
			"move/deletion_by_swap_is_final", "move/or_an_update_wins", "move/a_merge_or_an_update_wins", "move/or_creation_wins",
			"move/is_seen_under_one_id", "move/nothing_is_lost",
		},
	},
	"move writes before it deletes": {
		with(func(s *good) scs.CtxStore { return &moveBySwaps{good: s} }),
		[]string{
			"move/one_of_two_wins", "move/one_of_two_merges_wins", "move/deletion_by_swap_is_final", "move/or_an_update_wins",
			"move/is_seen_under_one_id", "move/nothing_is_lost",
		},
	},
	"move deletes before it writes": {
		with(func(s *good) scs.CtxStore { return &moveBySwaps{good: s, deleteFirst: true} }),
		[]string{"move/is_seen_under_one_id", "move/or_creation_wins"},
	},
	"move takes several records one by one": {
		with(func(s *good) scs.CtxStore { return &movesOneByOne{good: s} }),
		[]string{"move/one_of_two_merges_wins", "move/a_merge_or_an_update_wins", "move/several,_one_of_them_another"},
	},
	"move locks its records one by one": {
		with(func(s *good) scs.CtxStore { return &moveDeadlocks{good: s, locks: make(map[string]lock)} }),
		[]string{"move/one_of_two_orders_wins"},
	},
	"swap gives the bytes of what was moved": {
		with(func(s *good) scs.CtxStore { return &swapGivesOld{good: s} }),
		[]string{"move/then_swap", "move/deletion_by_swap_is_final", "move/or_an_update_wins"},
	},
	"move trims ids": {
		with(func(s *good) scs.CtxStore { return &moveChangesID{s, strings.TrimSpace} }),
		[]string{"odd/ids_by_move", "odd/ids_by_move_of_two"},
	},
	"move takes patterns": {
		with(func(s *good) scs.CtxStore { return &movesPattern{good: s} }),
		[]string{"odd/unknown_ids", "odd/ids"},
	},
	"move refuses ordinary ids": {
		with(func(s *good) scs.CtxStore { return &moveRefusesLongID{good: s} }),
		[]string{"odd/ids_by_move"},
	},
	"a failed move has moved": {
		with(func(s *good) scs.CtxStore { return &moveFailsTooLate{good: s} }),
		[]string{"odd/ids_by_move", "odd/ids_by_move_of_two"},
	},
	"move ignores its context": {
		with(func(s *good) scs.CtxStore { return &moveGoesOn{good: s} }),
		[]string{"cancellation/cancelled", "cancellation/past_its_deadline"},
	},
	"a handle with a cache": {
		server(func(s *good) scs.CtxStore { return &caches{good: s} }),
		[]string{"find/by_a_second_handle", "move/by_a_second_handle"},
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
	"ping succeeds after close": {
		with(func(s *good) scs.CtxStore { return &alwaysPings{good: s} }),
		[]string{"ping/after_Close"},
	},
	"ping fails": {
		with(func(s *good) scs.CtxStore { return &neverPings{good: s} }),
		[]string{"cancellation/live", "ping/while_it_works"},
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
		[]string{"odd/bytes", "odd/a_megabyte"},
	},
	"very large data is cut": {
		with(func(s *good) scs.CtxStore {
			return &changesData{s, func(b []byte) []byte { return b[:min(len(b), 1<<19)] }}
		}),
		[]string{"odd/a_megabyte"},
	},
	"a write is seen half done": {
		with(func(s *good) scs.CtxStore { return &tears{s, make(map[string][]byte)} }),
		[]string{"concurrency/a_read_is_whole"},
	},
	"users are not noted": {
		with(func(s *good) scs.CtxStore {
			return &usersFault{good: s, note: func(string) bool { return false }}
		}),
		[]string{"users/tokens_of_one_user", "users/follows_every_write", "users/odd_users", "users/side_by_side"},
	},
	"users are noted by their first letters": {
		with(func(s *good) scs.CtxStore {
			return &usersFault{good: s, key: func(user string) string { return user[:min(len(user), 2)] }}
		}),
		[]string{"users/odd_users"},
	},
	"users are noted in lower case": {
		with(func(s *good) scs.CtxStore { return &usersFault{good: s, key: strings.ToLower} }),
		[]string{"users/odd_users"},
	},
	"a user has one token": {
		with(func(s *good) scs.CtxStore {
			return &usersFault{good: s, note: func(user string) bool {
				delete(s.users, user)
				return true
			}}
		}),
		[]string{"users/tokens_of_one_user", "users/forgets", "users/side_by_side"},
	},
	"a noted user is kept for ever": {
		with(func(s *good) scs.CtxStore { return &usersFault{good: s, ttl: 100 * time.Hour} }),
		[]string{"users/ended"},
	},
	"forget does not look at the age": {
		with(func(s *good) scs.CtxStore {
			return &usersFault{good: s, forget: func(_ *string, age *time.Duration) { *age = 0 }}
		}),
		[]string{"users/forgets"},
	},
	"forget does nothing": {
		with(func(s *good) scs.CtxStore {
			return &usersFault{good: s, forget: func(_ *string, age *time.Duration) { *age = time.Hour }}
		}),
		[]string{"users/forgets"},
	},
	"forget forgets it for all": {
		with(func(s *good) scs.CtxStore {
			return &usersFault{good: s, forget: func(*string, *time.Duration) {
				for user := range s.users {
					delete(s.users[user], "a")
				}
			}}
		}),
		[]string{"users/forgets"},
	},
	"all users are ended": {
		with(func(s *good) scs.CtxStore { return &usersFault{good: s, end: func(user *string) { *user = "all" }} }),
		[]string{"users/ended"},
	},
	"two ends have one time": {
		with(func(s *good) scs.CtxStore { return &endedFault{usersFault{good: s}} }),
		[]string{"users/ended"},
	},
	"looks at one key": {
		with(func(s *good) scs.CtxStore { return &looksFault{looks: looks{good: s}, cut: 1} }),
		[]string{"users/tokens_of_one_user", "users/records_of_all_kinds"},
	},
	"looks for texts alone": {
		with(func(s *good) scs.CtxStore {
			return &looksFault{looks: looks{good: s}, only: func(data []byte) bool { return !bytes.Contains(data, []byte(`:42}`)) }}
		}),
		[]string{"users/records_of_all_kinds"},
	},
	"does not look at what others have written": {
		with(func(s *good) scs.CtxStore {
			return &looksFault{looks: looks{good: s}, only: func(data []byte) bool { return !bytes.Contains(data, []byte(`\u`)) }}
		}),
		[]string{"users/records_of_all_kinds"},
	},
	"a method is missing": {
		with(func(s *good) scs.CtxStore { return struct{ scs.CtxStore }{s} }),
		[]string{"methods"},
	},
	"a method is there after all": {
		storetest.Harness{New: func(*testing.T) scs.CtxStore { return newGood() }, Without: []string{"Move"}},
		[]string{"methods"},
	},
	"an unknown method is named": {
		storetest.Harness{New: func(*testing.T) scs.CtxStore { return newGood() }, Without: []string{"Mvoe"}},
		[]string{""},
	},
	"there is no New": {storetest.Harness{}, []string{""}},
}

func with(open func(*good) scs.CtxStore) storetest.Harness {
	return storetest.Harness{New: func(*testing.T) scs.CtxStore { return open(newGood()) }}
}

// pause lets every other goroutine of a test run until it blocks: a bubble's clock
// advances only when all of them wait.
func pause() { time.Sleep(time.Nanosecond) }

const variant = "STORETEST_BROKEN"

// TestBrokenStores runs the suite on each broken store, in a separate process since
// the suite must fail.
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
			// A race shows only when its two sides meet, so the suite has several runs to
			// find the fault in. One is enough nearly always.
			failed := make(map[string]bool)
			missing := func() []string {
				return slices.DeleteFunc(slices.Clone(broken[name].caught), func(want string) bool { return failed[want] })
			}
			var out []byte
			for range 10 {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.timeout=1m",
					"-test.run=^TestBrokenStores$/^("+strings.Join(topics, "|")+")$")
				cmd.Env = append(os.Environ(), variant+"="+name)
				var err error
				out, err = cmd.CombinedOutput()
				if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
					t.Fatalf("the suite has passed: %v", err)
				}
				for _, m := range failure.FindAllSubmatch(out, -1) {
					failed[string(m[1])] = true
				}
				if len(missing()) == 0 {
					break
				}
			}
			for _, want := range missing() {
				t.Errorf("%s has passed; failed: %q", want, slices.Sorted(maps.Keys(failed)))
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}

// usersFault has a fault in what it notes of users.
type usersFault struct {
	*good
	key    func(user string) string // for all calls
	note   func(user string) bool   // whether to
	forget func(user *string, age *time.Duration)
	end    func(user *string)
	ttl    time.Duration
}

func (s *usersFault) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	if s.key != nil {
		user = s.key(user)
	}
	if s.note != nil && !s.note(user) {
		return nil
	}
	return s.good.NoteUser(ctx, user, token, max(ttl, s.ttl))
}

func (s *usersFault) UserTokens(ctx context.Context, user string) ([]string, error) {
	if s.key != nil {
		user = s.key(user)
	}
	return s.good.UserTokens(ctx, user)
}

func (s *usersFault) ForgetUser(ctx context.Context, user, token string, age time.Duration) error {
	if s.forget != nil {
		s.forget(&user, &age)
	}
	return s.good.ForgetUser(ctx, user, token, age)
}

func (s *usersFault) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	if s.end != nil {
		s.end(&user)
	}
	return s.good.EndUser(ctx, user, ttl)
}

func (s *usersFault) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	if s.end != nil {
		s.end(&user)
	}
	return s.good.UserEnded(ctx, user)
}

// endedFault notes the times of ends in minutes.
type endedFault struct{ usersFault }

func (s *endedFault) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	at, err = s.good.EndUser(ctx, user, ttl)
	return at.Truncate(time.Minute), err
}

func (s *endedFault) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	at, ago, err = s.good.UserEnded(ctx, user)
	return at.Truncate(time.Minute), ago, err
}

// looksFault does not find all users in its records.
type looksFault struct {
	looks
	cut  int
	only func(data []byte) bool
}

func (s *looksFault) UserTokens(ctx context.Context, user string) (tokens []string, err error) {
	all, err := s.AllCtx(ctx)
	s.path = s.path[s.cut:]
	defer func() { s.path = []string{"user", "id"} }()
	for token, data := range all {
		if (s.only == nil || s.only(data)) && s.userIn(data) == user {
			tokens = append(tokens, token)
		}
	}
	return tokens, err
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

// own returns the stored slice itself.
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

// isTouch reports whether a Swap sets only the expiry.
func isTouch(old, data []byte) bool { return old != nil && data != nil && bytes.Equal(old, data) }

type touchCreates struct{ *good }

func (s *touchCreates) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	if isTouch(old, data) && current == nil && err == nil {
		err = s.CommitCtx(ctx, token, data, expiry)
	}
	return current, swapped, err
}

func (s *touchCreates) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	data, found, err := s.good.FindTouch(ctx, token, expiry)
	if !found && err == nil {
		err = s.CommitCtx(ctx, token, nil, expiry)
	}
	return data, found, err
}

type touchRevives struct{ *good }

func (s *touchRevives) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	defer s.mu.hold()()
	if e, there := s.records[token]; isTouch(old, data) && err == nil && there && bytes.Equal(e.data, old) {
		s.records[token] = entry{e.data, expiry}
		return nil, true, nil
	}
	return current, swapped, err
}

type neverTouches struct{ *good }

func (s *neverTouches) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if _, kept, found, _ := s.FindExpiry(ctx, token); found && isTouch(old, data) {
		expiry = kept
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

func (s *neverTouches) FindTouch(ctx context.Context, token string, _ time.Time) ([]byte, bool, error) {
	return s.FindCtx(ctx, token)
}

type touchIsDone struct{ *good }

func (s *touchIsDone) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	return current, swapped || isTouch(old, data) && err == nil, err
}

type touchRefused struct{ *good }

func (s *touchRefused) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if isTouch(old, data) {
		current, _, err := s.FindCtx(ctx, token)
		return current, false, err
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type touchIsBlind struct{ *good }

func (s *touchIsBlind) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if isTouch(old, data) {
		_, found, err := s.FindTouch(ctx, token, expiry)
		return nil, found, err
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type touchIgnoresPast struct{ *good }

func (s *touchIgnoresPast) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if _, kept, found, _ := s.FindExpiry(ctx, token); found && isTouch(old, data) && expiry.Before(time.Now()) {
		expiry = kept
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type touchKeepsSlices struct{ *good }

func (s *touchKeepsSlices) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	if swapped && isTouch(old, data) {
		defer s.mu.hold()()
		s.records[token] = entry{data, expiry}
	}
	return current, swapped, err
}

type touchEmptyIsNil struct{ *good }

func (s *touchEmptyIsNil) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if isTouch(old, data) {
		old = orNil(old)
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

type touchRewrites struct{ *good }

func (s *touchRewrites) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if !isTouch(old, data) {
		return s.good.Swap(ctx, token, old, data, expiry)
	}
	current, found, err := s.FindCtx(ctx, token)
	if !found || err != nil || !bytes.Equal(current, old) {
		return current, false, err
	}
	pause()
	return nil, true, s.CommitCtx(ctx, token, data, expiry)
}

type touchInSteps struct{ *good }

func (s *touchInSteps) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if !isTouch(old, data) {
		return s.good.Swap(ctx, token, old, data, expiry)
	}
	current, found, err := s.FindCtx(ctx, token)
	if !found || err != nil || !bytes.Equal(current, old) {
		return current, false, err
	}
	pause()
	_, found, err = s.FindTouch(ctx, token, expiry)
	return nil, found, err
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

type swapComparesJSON struct {
	*good
	touch bool // only for a touch
}

func (s *swapComparesJSON) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if current, _, _ := s.FindCtx(ctx, token); sameJSON(current, old) && (!s.touch || isTouch(old, data)) {
		if s.touch {
			data = current
		}
		old = current
	}
	return s.good.Swap(ctx, token, old, data, expiry)
}

func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	a, _ = json.Marshal(x)
	b, _ = json.Marshal(y)
	return bytes.Equal(a, b)
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

// current returns the present bytes of each record, and whether all of them are what
// the caller knows.
func (s *good) current(ctx context.Context, from []contract.Record) (current [][]byte, known bool, err error) {
	known = true
	for _, r := range from {
		data, found, err := s.FindCtx(ctx, r.Token)
		if err != nil {
			return nil, false, err
		}
		current = append(current, data)
		known = known && found && bytes.Equal(data, r.Data)
	}
	return current, known, nil
}

func knownOf(from []contract.Record) [][]byte {
	var known [][]byte
	for _, r := range from {
		known = append(known, r.Data)
	}
	return known
}

func isOneOf(from []contract.Record, token string) bool {
	return slices.ContainsFunc(from, func(r contract.Record) bool { return r.Token == token })
}

type neverMoves struct{ *good }

func (s *neverMoves) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, _, err := s.current(ctx, from)
	return current, false, err
}

type moveIsDone struct{ *good }

func (s *moveIsDone) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	_, _, err := s.good.Move(ctx, from, to, data, expiry)
	return nil, err == nil, err
}

type moveCopies struct {
	*good
	from int // the record that stays
}

func (s *moveCopies) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	var kept entry
	if s.from < len(from) && from[s.from].Token != to {
		kept.data, kept.expiry, _, _ = s.FindExpiry(ctx, from[s.from].Token)
	}
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	if moved && kept.data != nil {
		err = s.CommitCtx(ctx, from[s.from].Token, kept.data, kept.expiry)
	}
	return current, moved, err
}

type moveKeeps struct {
	*good
	data, expiry, unchanged bool
}

func (s *moveKeeps) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	old, kept, found, _ := s.FindExpiry(ctx, from[0].Token)
	if found && s.data {
		data = old
	}
	if found && s.expiry && (!s.unchanged || bytes.Equal(old, data)) {
		expiry = kept
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveChangesExpiry struct {
	*good
	by time.Duration
}

func (s *moveChangesExpiry) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	return s.good.Move(ctx, from, to, data, expiry.Add(s.by))
}

type moveReplaces struct{ *good }

func (s *moveReplaces) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, known, err := s.current(ctx, from)
	if !known || err != nil {
		return current, false, err
	}
	if !isOneOf(from, to) {
		if err := s.DeleteCtx(ctx, to); err != nil {
			return nil, false, err
		}
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveIsBlind struct {
	*good
	but int  // compares only the first but records
	to  bool // compares all records except to
}

func (s *moveIsBlind) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, _, err := s.current(ctx, from)
	if err != nil {
		return nil, false, err
	}
	seen := slices.Clone(from)
	for i, data := range current {
		if data != nil && (s.to && seen[i].Token == to || !s.to && i >= s.but) {
			seen[i].Data = data
		}
	}
	return s.good.Move(ctx, seen, to, data, expiry)
}

type moveComparesJSON struct{ *good }

func (s *moveComparesJSON) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, _, _ := s.current(ctx, from)
	seen := slices.Clone(from)
	for i, data := range current {
		if sameJSON(data, seen[i].Data) {
			seen[i].Data = data
		}
	}
	return s.good.Move(ctx, seen, to, data, expiry)
}

type moveTouches struct {
	*good
	from bool
}

func (s *moveTouches) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	if !moved && err == nil && !s.from {
		_, _, err = s.FindTouch(ctx, to, time.Now().Add(3*time.Hour))
	}
	for _, r := range from {
		if !moved && err == nil && s.from {
			_, _, err = s.FindTouch(ctx, r.Token, time.Now().Add(3*time.Hour))
		}
	}
	return current, moved, err
}

type moveDrops struct{ *good }

func (s *moveDrops) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	if !moved && err == nil {
		err = s.DeleteCtx(ctx, from[0].Token)
	}
	return current, moved, err
}

type moveToItself struct {
	*good
	deletes bool
}

func (s *moveToItself) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if isOneOf(from, to) && !s.deletes {
		current, _, err := s.current(ctx, from)
		return current, false, err
	}
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	if moved && isOneOf(from, to) {
		err = s.DeleteCtx(ctx, to)
	}
	return current, moved, err
}

type moveCreates struct{ *good }

func (s *moveCreates) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	for _, r := range from {
		if _, _, err := s.Swap(ctx, r.Token, nil, r.Data, time.Now().Add(time.Hour)); err != nil {
			return nil, false, err
		}
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveSkipsGone struct{ *good }

func (s *moveSkipsGone) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, _, err := s.current(ctx, from)
	if err != nil {
		return nil, false, err
	}
	var left []contract.Record
	for i, r := range from {
		if current[i] != nil {
			left = append(left, r)
		}
	}
	if len(left) == 0 {
		return current, false, nil
	}
	if _, moved, err := s.good.Move(ctx, left, to, data, expiry); moved || err != nil {
		return nil, moved, err
	}
	return current, false, nil
}

type moveFails struct{ *good }

func (s *moveFails) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, _, err := s.current(ctx, from)
	if err == nil && slices.ContainsFunc(current, func(data []byte) bool { return data == nil }) {
		return nil, false, errors.New("not found")
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveRevives struct{ *good }

func (s *moveRevives) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	release := s.mu.hold()
	for _, r := range from {
		if e, there := s.records[r.Token]; there && bytes.Equal(e.data, r.Data) {
			s.records[r.Token] = entry{e.data, time.Now().Add(time.Hour)}
		}
	}
	release()
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveSeesExpired struct{ *good }

func (s *moveSeesExpired) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	release := s.mu.hold()
	_, there := s.records[to]
	release()
	if there && !isOneOf(from, to) {
		current, _, err := s.current(ctx, from)
		return current, false, err
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveIgnoresPast struct {
	*good
	refuses bool
}

func (s *moveIgnoresPast) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if expiry.Before(time.Now()) {
		current, known, err := s.current(ctx, from)
		return current, known && !s.refuses, err
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveBlindInPast struct{ *good }

func (s *moveBlindInPast) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if expiry.Before(time.Now()) {
		for _, r := range from {
			if err := s.DeleteCtx(ctx, r.Token); err != nil {
				return nil, false, err
			}
		}
		return nil, true, nil
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveSkipsEmpty struct{ *good }

func (s *moveSkipsEmpty) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if current, known, err := s.current(ctx, from); err != nil || known && len(current[0]) == 0 {
		return current, false, err
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveNilDeletes struct{ *good }

func (s *moveNilDeletes) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	if moved && data == nil {
		err = s.DeleteCtx(ctx, to)
	}
	return current, moved, err
}

type moveCurrent struct {
	*good
	change func(from []contract.Record, current [][]byte) [][]byte
}

func (s *moveCurrent) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	if moved || err != nil {
		return nil, moved, err
	}
	return s.change(from, current), false, nil
}

type moveKeepsSlices struct{ *good }

func (s *moveKeepsSlices) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	if moved {
		defer s.mu.hold()()
		s.records[to] = entry{data, expiry}
	}
	return current, moved, err
}

type moveLendsSlices struct{ *good }

func (s *moveLendsSlices) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	defer s.mu.hold()()
	for i, data := range current {
		if data != nil {
			current[i] = s.records[from[i].Token].data
		}
	}
	return current, moved, err
}

type moveSorts struct{ *good }

func (s *moveSorts) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if _, known, err := s.current(ctx, from); !known || err != nil {
		return s.good.Move(ctx, from, to, data, expiry)
	}
	slices.SortFunc(from, func(a, b contract.Record) int { return strings.Compare(b.Token, a.Token) })
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveInSteps struct{ *good }

func (s *moveInSteps) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, known, err := s.current(ctx, from)
	if !known || err != nil {
		return current, false, err
	}
	if _, taken, err := s.FindCtx(ctx, to); taken && !isOneOf(from, to) || err != nil {
		return current, false, err
	}
	pause()
	for _, r := range from {
		if err := s.DeleteCtx(ctx, r.Token); err != nil {
			return nil, false, err
		}
	}
	pause()
	return nil, true, s.CommitCtx(ctx, to, data, expiry)
}

type moveBySwaps struct {
	*good
	deleteFirst bool
}

func (s *moveBySwaps) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, known, err := s.current(ctx, from)
	if !known || err != nil {
		return current, false, err
	}
	if _, taken, err := s.FindCtx(ctx, to); taken && !isOneOf(from, to) || err != nil {
		return current, false, err
	}
	write := func() error {
		var old []byte
		if isOneOf(from, to) {
			old = current[slices.IndexFunc(from, func(r contract.Record) bool { return r.Token == to })]
		}
		_, _, err := s.Swap(ctx, to, old, data, expiry)
		return err
	}
	if !s.deleteFirst {
		if err := write(); err != nil {
			return nil, false, err
		}
	}
	for _, r := range from {
		pause()
		if r.Token == to {
			continue
		}
		if _, _, err := s.Swap(ctx, r.Token, r.Data, nil, time.Time{}); err != nil {
			return nil, false, err
		}
	}
	pause()
	if s.deleteFirst {
		return nil, true, write()
	}
	return nil, true, nil
}

type movesOneByOne struct{ *good }

func (s *movesOneByOne) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if len(from) == 1 {
		return s.good.Move(ctx, from, to, data, expiry)
	}
	// The last record is moved after the others have been deleted.
	order := slices.Clone(from)
	slices.SortFunc(order, func(a, b contract.Record) int {
		switch to {
		case a.Token:
			return 1
		case b.Token:
			return -1
		}
		return strings.Compare(a.Token, b.Token)
	})
	for _, r := range order[:len(order)-1] {
		if _, swapped, err := s.Swap(ctx, r.Token, r.Data, nil, time.Time{}); !swapped || err != nil {
			current, _, err := s.current(ctx, from)
			return current, false, err
		}
		pause()
	}
	if _, moved, err := s.good.Move(ctx, order[len(order)-1:], to, data, expiry); moved || err != nil {
		return nil, moved, err
	}
	current, _, err := s.current(ctx, from)
	return current, false, err
}

type moveDeadlocks struct {
	*good
	locks map[string]lock
}

func (s *moveDeadlocks) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	for _, r := range from {
		release := s.mu.hold()
		if s.locks[r.Token] == nil {
			s.locks[r.Token] = make(lock, 1)
		}
		l := s.locks[r.Token]
		release()
		defer l.hold()()
		pause()
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type swapGivesOld struct{ *good }

func (s *swapGivesOld) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	if !swapped && current == nil && err == nil {
		current = old
	}
	return current, swapped, err
}

type moveChangesID struct {
	*good
	change func(string) string
}

func (s *moveChangesID) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if isOneOf(from, to) {
		return s.good.Move(ctx, from, to, data, expiry)
	}
	return s.good.Move(ctx, from, s.change(to), data, expiry)
}

type movesPattern struct{ *good }

func (s *movesPattern) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	all, err := s.AllCtx(ctx)
	if err != nil {
		return nil, false, err
	}
	if _, found := all[from[0].Token]; !found {
		for _, token := range slices.Sorted(maps.Keys(all)) {
			if match, _ := path.Match(from[0].Token, token); match {
				return s.good.Move(ctx, []contract.Record{{Token: token, Data: all[token]}}, to, data, expiry)
			}
		}
	}
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	for _, token := range slices.Sorted(maps.Keys(all)) {
		if match, _ := path.Match(from[0].Token, token); moved && match && token != to {
			err = errors.Join(err, s.DeleteCtx(ctx, token))
		}
	}
	return current, moved, err
}

type moveRefusesLongID struct{ *good }

func (s *moveRefusesLongID) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if len(to) > 100 {
		return nil, false, errors.New("too long")
	}
	return s.good.Move(ctx, from, to, data, expiry)
}

type moveFailsTooLate struct{ *good }

func (s *moveFailsTooLate) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, moved, err := s.good.Move(ctx, from, to, data, expiry)
	if len(to) > 255 {
		return nil, false, errors.New("too long")
	}
	return current, moved, err
}

type moveGoesOn struct{ *good }

func (s *moveGoesOn) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, moved, err := s.good.Move(context.WithoutCancel(ctx), from, to, data, expiry)
	return current, moved, errors.Join(err, ctx.Err())
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

type alwaysPings struct{ *good }

func (s *alwaysPings) Ping(ctx context.Context) error { return ctx.Err() }

type neverPings struct{ *good }

func (s *neverPings) Ping(context.Context) error { return context.Canceled }

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

func (s *hidesCause) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.good.Swap(ctx, token, old, data, expiry)
	if err != nil {
		err = errors.New(err.Error())
	}
	return current, swapped, err
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

type tears struct {
	*good
	torn map[string][]byte
}

// The second half of a longer record is written after the next read of it.
func (s *tears) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	current, _, _ := s.good.FindCtx(ctx, token)
	if err := s.good.CommitCtx(ctx, token, data, expiry); err != nil || len(current) == 0 || len(current) >= len(data) {
		return err
	}
	defer s.mu.hold()()
	s.torn[token] = append(clone(data[:len(data)/2]), current[:len(current)/2]...)
	return nil
}

func (s *tears) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	data, found, err := s.good.FindCtx(ctx, token)
	defer s.mu.hold()()
	if torn := s.torn[token]; torn != nil && found {
		data = torn
		delete(s.torn, token)
	}
	return data, found, err
}
