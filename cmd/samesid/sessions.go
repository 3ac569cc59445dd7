package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
)

func (a *app) count() *cobra.Command {
	return a.onSessions(&cobra.Command{
		Use:   "count",
		Short: "Count the live sessions",
		Args:  cobra.NoArgs,
	}, func(ctx context.Context, s *sessions, _ []string) error {
		n, err := s.store.Len(ctx)
		if err != nil {
			return err
		}
		return a.print(map[string]int{"sessions": n}, "%d", n)
	})
}

// row is what is printed of a session.
type row struct {
	Handle   string    `json:"handle"`
	Session  string    `json:"session"` // its name in the log
	User     string    `json:"user,omitempty"`
	LastUsed time.Time `json:"lastUsed,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
}

// row describes the session that is visited.
func (s *sessions) row(ctx context.Context) (row, error) {
	info := s.Info(ctx)
	if info.Expires.IsZero() { // a listing reads no expiry
		if store, ok := contract.As[contract.FindExpirer](s.store); ok {
			_, expiry, found, err := store.FindExpiry(ctx, s.Token(ctx))
			if err != nil {
				return row{}, err
			}
			if found {
				info.Expires = expiry
			}
		}
		age, ok := s.OriginalMaxAge(ctx)
		if !ok {
			age = cmp.Or(s.config.Options.TTL, 24*time.Hour)
		}
		if end := s.Deadline(ctx); age > 0 && !info.Expires.IsZero() && (end.IsZero() || info.Expires.Before(end.Add(-time.Second))) {
			info.LastUsed = info.Expires.Add(-age)
		}
	}
	second := func(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
	return row{info.Handle, info.Name, s.UserID(ctx), second(info.LastUsed), second(info.Expires)}, nil
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.RFC3339)
}

// visit calls fn for each session, or those of a user. Its error is about those that it had to
// leave out too: the app may know them.
func (s *sessions) visit(ctx context.Context, user string, fn func(ctx context.Context) error) (err error) {
	before := s.Stats().UnreadableRecords
	if user == "" {
		err = s.Iterate(ctx, fn)
	} else if err = s.needUserPath(); err == nil {
		err = s.IterateUser(ctx, user, fn)
	}
	if n := s.Stats().UnreadableRecords - before; err == nil && n > 0 {
		err = fmt.Errorf("%s left out, as this command can't read it: its values have a type of the app's own, or it is damaged", plural(int(n), "session was", "sessions were"))
	}
	return err
}

func (s *sessions) needUserPath() error {
	if s.UserPath() == "" {
		return errors.New(`--user needs userPath in the configuration: the keys that lead to the user's id in a session, such as "user.id"`)
	}
	return nil
}

func (a *app) list() *cobra.Command {
	var user string
	cmd := a.onSessions(&cobra.Command{
		Use:   "list",
		Short: "List the live sessions: handle, name in the log, last use, end, user",
		Long: `list prints a line for each live session, in no order: its handle, its name in the log and in
audit events, when it was last used, when it ends unless it is used, and its user. The user is
known with userPath. It reads the store in pages.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, s *sessions, _ []string) error {
		return s.visit(ctx, user, func(ctx context.Context) error {
			r, err := s.row(ctx)
			if err != nil {
				return err
			}
			return a.print(r, "%s  %s  %-20s  %-20s  %s", r.Handle, r.Session, when(r.LastUsed), when(r.Expires), cmp.Or(r.User, "-"))
		})
	})
	cmd.Flags().StringVar(&user, "user", "", "only those of this user; needs userPath")
	return cmd
}

var errFound = errors.New("found")

// find calls fn for the session with a handle, or with a name from the log.
func (s *sessions) find(ctx context.Context, user, handle string, fn func(ctx context.Context) error) error {
	var of error
	err := s.visit(ctx, user, func(ctx context.Context) error {
		if info := s.Info(ctx); info.Handle != handle && info.Name != handle {
			return nil
		}
		of = fn(ctx)
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return of
	case err != nil:
		return err
	}
	return status{errors.New("no live session has this handle; samesid list has those that there are"), notFound}
}

func (a *app) show() *cobra.Command {
	var user string
	var values bool
	cmd := a.onSessions(&cobra.Command{
		Use:   "show HANDLE",
		Short: "Show one session: its keys, and its values if asked",
		Long: `show prints what a session has: its keys, with the type and size of their values. HANDLE is the
handle from list, or the name from the app's log. Without --user it looks through all sessions.`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, s *sessions, args []string) error {
		return s.find(ctx, user, args[0], func(ctx context.Context) error { return a.printSession(ctx, s, values) })
	})
	cmd.Flags().StringVar(&user, "user", "", "it is one of this user's; needs userPath")
	cmd.Flags().BoolVar(&values, "values", false, "print the values too, which can hold personal data and secrets")
	return cmd
}

// value is what is printed of a session's value.
type value struct {
	Key   string          `json:"key"`
	Type  string          `json:"type"`
	Bytes int             `json:"bytes"` // of its JSON
	Value json.RawMessage `json:"value,omitempty"`
}

func (a *app) printSession(ctx context.Context, s *sessions, withValues bool) error {
	r, err := s.row(ctx)
	if err != nil {
		return err
	}
	all := []value{}
	for _, key := range s.Keys(ctx) {
		text, err := json.Marshal(s.Get(ctx, key))
		if err != nil {
			text = nil // a Go type that JSON does not have
		}
		v := value{Key: key, Type: typeOf(text), Bytes: len(text)}
		if withValues && text != nil {
			v.Value = text
		}
		all = append(all, v)
	}
	if a.json {
		return a.print(struct {
			row
			Keys []value `json:"keys"`
		}{r, all}, "")
	}
	fmt.Fprintf(a.out, "handle     %s\nsession    %s\nuser       %s\nlast used  %s\nexpires    %s\nkeys       %d\n",
		r.Handle, r.Session, cmp.Or(r.User, "-"), when(r.LastUsed), when(r.Expires), len(all))
	for _, v := range all {
		if v.Value != nil {
			fmt.Fprintf(a.out, "  %q  %s\n", v.Key, v.Value)
		} else {
			fmt.Fprintf(a.out, "  %q  %s, %d bytes\n", v.Key, v.Type, v.Bytes)
		}
	}
	return nil
}

// typeOf names the type of a JSON text.
func typeOf(text []byte) string {
	if len(text) == 0 {
		return "a type of the app's"
	}
	switch text[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "text"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

func (a *app) end() *cobra.Command {
	var user, handle string
	var all, yes bool
	cmd := a.onSessions(&cobra.Command{
		Use:   "end {--user ID | --handle HANDLE | --all}",
		Short: "End sessions, for good",
		Long: `end ends the sessions of a user, one session, or all. It is final: a request that is under way
does not bring one back. Each is an event in the audit's log, as JSON on standard error, with the
name of whoever runs the command.

--user and --all also end a session that gets a new id meanwhile, and --user fails a login of
that user that is under way. --handle ends what has this id: if it has been given another one
meanwhile, nothing is ended, and the status is 3. Before --all, keep users from signing in if
nobody is to be signed in afterwards.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, s *sessions, _ []string) error {
		var n int
		var err error
		switch {
		case user != "":
			if err := s.needUserPath(); err != nil {
				return err
			}
			if err := a.confirm(ctx, yes, "End all sessions of the user %q?", user); err != nil {
				return err
			}
			n, err = s.DestroyUser(ctx, user)
		case handle != "":
			var r row
			if err := s.find(ctx, "", handle, func(ctx context.Context) (err error) { r, err = s.row(ctx); return err }); err != nil {
				return err
			}
			if err := a.confirm(ctx, yes, "End the session %s, of the user %s, last used %s?", r.Session, cmp.Or(r.User, "-"), when(r.LastUsed)); err != nil {
				return err
			}
			n, err = s.DestroyWhere(ctx, func(ctx context.Context) bool { return s.Info(ctx).Handle == r.Handle })
			if n == 0 && err == nil {
				err = status{errors.New("meanwhile the session has ended by itself, or has been given another id: samesid list --user has it then"), notFound}
			}
		case !all:
			return status{errors.New("--all=false ends nothing"), wrongUsage}
		default:
			var total int
			if total, err = s.store.Len(ctx); err != nil {
				return err
			}
			if err := a.confirm(ctx, yes, "End all %d sessions of this store, so that everybody has to sign in again?", total); err != nil {
				return err
			}
			set, done := a.bar("ending", total)
			n, err = s.DestroyWhere(ctx, func(context.Context) bool { n++; set(n); return true })
			if err == nil { // now those that this command can't read
				read := n
				n, err = s.DestroyAll(ctx)
				n += read
			}
			done()
		}
		if err != nil && n > 0 {
			err = fmt.Errorf("%w; %s ended before", err, plural(n, "session was", "sessions were"))
		}
		if err != nil {
			return err
		}
		return a.print(map[string]int{"ended": n}, "%s ended", plural(n, "session was", "sessions were"))
	})
	cmd.Flags().StringVar(&user, "user", "", "all sessions of this user; needs userPath")
	cmd.Flags().StringVar(&handle, "handle", "", "the session with this handle, or this name in the log")
	cmd.Flags().BoolVar(&all, "all", false, "all sessions")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.MarkFlagsOneRequired("user", "handle", "all")
	cmd.MarkFlagsMutuallyExclusive("user", "handle", "all")
	return cmd
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

func (a *app) prune() *cobra.Command {
	return a.onSessions(&cobra.Command{
		Use:   "prune",
		Short: "Delete the expired sessions now",
		Long: `prune deletes the records of sessions that have expired, which no request finds any more. The
app's store does so every cleanupInterval; prune is for a job in its place. Redis deletes them
by itself.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, s *sessions, _ []string) error {
		pruner, ok := s.store.(interface {
			Prune(ctx context.Context) (int64, error)
		})
		if !ok {
			return a.print(map[string]int{"deleted": 0}, "the store deletes expired sessions by itself")
		}
		n, err := pruner.Prune(ctx)
		if err != nil {
			return err
		}
		return a.print(map[string]int64{"deleted": n}, "%s deleted", plural(int(n), "record was", "records were"))
	})
}

func (a *app) copy() *cobra.Command {
	var to string
	var yes bool
	cmd := a.onSessions(&cobra.Command{
		Use:   "copy --to FILE",
		Short: "Copy the sessions to another store or layout, and verify the copy",
		Long: `copy makes the sessions of the store that FILE configures equal to those of the store of --config:
same ids, data, cookies and ends. What the other store has and this one does not is ended there,
so that whoever has logged out stays logged out. This store is not changed.

It passes over all sessions until a pass finds nothing different, which verifies the copy. While
the app is in use there is mostly something, and it ends with status 4; a status of 0 is then true
of that moment alone. A later run writes only what has changed. To move an app so that nobody is logged out:

 1. samesid copy, while the app runs; again, until the changes are few.
 2. Stop the app, or answer 503: no instance may write to the old store any more.
 3. samesid copy, until its status is 0.
 4. Start the app with FILE.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, from *sessions, _ []string) error {
		if err := noStoreVariables(); err != nil {
			return err
		}
		target, err := a.open(ctx, to)
		if err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
		if differs := otherCookies(from.config.Options, target.config.Options); differs != "" {
			fmt.Fprintf(a.err, "samesid: warning: with %s nobody will be signed in: its app accepts no cookie that the present one sends, as %s\n", to, differs)
		}
		return errors.Join(a.copyAll(ctx, from, target, yes), target.store.Close())
	})
	cmd.Flags().StringVar(&to, "to", "", "the configuration file with the other store")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before sessions of the other store are ended")
	_ = cmd.MarkFlagRequired("to")
	_ = cmd.MarkFlagFilename("to", "yaml", "yml", "json")
	return cmd
}

// otherCookies says why an app does not accept the cookies that another one sends; "" if it
// does.
func otherCookies(sends, accepts adapter.Options) string {
	const name = "connect.sid" // the default
	signs, verifies := sends.Signature != adapter.SignatureNone, accepts.Signature != adapter.SignatureNone
	switch {
	case cmp.Or(sends.Name, name) != cmp.Or(accepts.Name, name):
		return "the cookie's name differs"
	case signs && !verifies, !signs && accepts.Signature == adapter.SignatureRequired:
		return "signature differs"
	case signs && !slices.Contains(accepts.Secrets, sends.Secrets[0]):
		return "the first secret is not among its secrets"
	}
	return ""
}

// maxPasses is how often copy looks for changes at most.
const maxPasses = 10

func (a *app) copyAll(ctx context.Context, from, to *sessions, yes bool) error {
	total, err := from.store.Len(ctx)
	if err != nil {
		return err
	}
	there, err := to.store.Len(ctx)
	if err != nil {
		return err
	}
	if there > 0 {
		if err := a.confirm(ctx, yes, "The other store has %d sessions. End those of them that this store (%d sessions) does not have?", there, total); err != nil {
			return err
		}
	}
	type result struct {
		adapter.Copied
		Passes int  `json:"passes"`
		Equal  bool `json:"equal"`
	}
	var sum result
	for last := 0; ; last = sum.Changes() {
		sum.Passes++
		set, done := a.bar(fmt.Sprint("pass ", sum.Passes), total)
		n, err := from.CopyTo(ctx, to.Manager, func(n adapter.Copied) { set(n.Sessions) })
		done()
		sum.Copied = n
		if err != nil {
			return err
		}
		if !a.json {
			fmt.Fprintf(a.out, "pass %d: %s, %d written, %d moved, %d ended, %d refused\n",
				sum.Passes, plural(n.Sessions, "session", "sessions"), n.Written, n.Moved, n.Ended, n.Refused)
		}
		sum.Equal = n.Changes() == 0 && n.Refused == 0
		if n.Changes() == 0 || sum.Passes == maxPasses || sum.Passes > 2 && n.Changes() >= last {
			break
		}
	}
	if a.json {
		if err := a.print(sum, ""); err != nil {
			return err
		}
	}
	switch {
	case sum.Refused > 0:
		return fmt.Errorf("%s not copied; the reasons are above", plural(sum.Refused, "session was", "sessions were"))
	case !sum.Equal:
		return status{errors.New("the stores are not equal yet, as the sessions are in use: run it again when the app has stopped"), notEqual}
	case !a.json:
		fmt.Fprintln(a.out, "both stores have the same sessions")
	}
	return nil
}

// noStoreVariables refuses variables that would count for both files.
func noStoreVariables() error {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "SAMESID_STORE") {
			return fmt.Errorf("the variable %s counts for both files, which are to have different stores: unset it, and write ${…} into the files", name)
		}
	}
	return nil
}
