// Command samesid is for those who operate an app with samesid: it checks a configuration and
// its store, makes secrets, finds out why a cookie is not accepted, and lists, ends and copies
// sessions.
//
// It reads the app's own configuration file, and the environment, as adapter/config does. It
// never prints a session id, a cookie, a secret or a password, and a session's values only
// when it is told to.
//
// The exit status is 0 if all is well, and otherwise:
//
//   - 1: it has failed, or check has found an error
//   - 2: the command line is wrong
//   - 3: there is no such session, or no secret has signed the cookie
//   - 4: copy has ended, and the stores are not equal yet
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/sqlite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	status := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// The exit status of an error; 1 if it has none.
type status struct {
	error
	code int
}

const (
	wrongUsage = 2
	notFound   = 3
	notEqual   = 4
)

func (s status) Unwrap() error { return s.error }

// app is one run of the command.
type app struct {
	in       io.Reader
	out, err io.Writer
	terminal io.Writer // what err writes to

	config string
	json   bool
}

// run runs the command with these arguments, and returns its exit status.
func (a *app) run(ctx context.Context, args []string) int {
	out := &output{Writer: a.out}
	a.out, a.err, a.terminal = out, &output{Writer: a.err}, a.err
	root := &cobra.Command{
		Use:   "samesid",
		Short: "Check, list, end and copy the sessions of an app",
		Long: `samesid reads the configuration file of an app, and works on its sessions.

Exit status: 0 if all is well; 1 if it has failed, or check has found an error; 2 if the command
line is wrong; 3 if there is no such session, or no secret has signed the cookie; 4 if copy has
ended and the stores are not equal yet.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.PersistentFlags().StringVarP(&a.config, "config", "c", "session.yaml", "the configuration file; empty: only the environment")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON, for programs")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml", "json")
	root.AddCommand(a.check(), a.secret(), a.decodeCookie(), a.count(), a.list(), a.show(), a.end(), a.prune(), a.copy(), a.ddl())
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)

	begun := false // else cobra has found a mistake
	for _, cmd := range root.Commands() {
		run := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := noEmptyFlag(cmd); err != nil {
				return err
			}
			begun = true
			return run(cmd, args)
		}
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		begun, err = true, out.failed
	}
	if err == nil {
		return 0
	}
	if !begun {
		err = status{fmt.Errorf("%w; samesid --help has the commands", err), wrongUsage}
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(a.err, "samesid:", text)
	}
	if s := (status{}); errors.As(err, &s) {
		return s.code
	}
	return 1
}

// noEmptyFlag refuses a flag that is given and empty, as a shell makes it of a variable that is
// not set: the command is not to take it for one that is not given, and end or list all.
func noEmptyFlag(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.String() == "" && f.Name != "config" && err == nil {
			err = fmt.Errorf("--%s is empty", f.Name)
		}
	})
	for _, arg := range cmd.Flags().Args() {
		if arg == "" && err == nil {
			err = errors.New("an argument is empty")
		}
	}
	return err
}

// load reads the configuration.
func (a *app) load(path string) (*config.Config, error) {
	c, err := config.Load(path, sqlite.Backend)
	if _, none := os.Stat(path); err != nil && path != "" && errors.Is(none, os.ErrNotExist) {
		return nil, fmt.Errorf("%w; --config names the app's configuration file", err)
	}
	if err != nil {
		return nil, err
	}
	c.Options.Logger = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelError}))
	c.Options.Audit = slog.New(slog.NewJSONHandler(a.err, nil)).With("command", "samesid", "operator", operator())
	return c, nil
}

// operator names whoever runs the command, for the audit's log.
func operator() string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME", "USERNAME"} {
		if user := os.Getenv(name); user != "" {
			return user
		}
	}
	return fmt.Sprint("uid ", os.Getuid())
}

// sessions are those of a configuration file.
type sessions struct {
	*adapter.Manager
	config *config.Config
	store  backends.Store
}

// startTimeout limits the time to reach a store.
const startTimeout = 15 * time.Second

// open opens the store that the app has.
func (a *app) open(ctx context.Context, path string) (*sessions, error) {
	c, err := a.load(path)
	if err != nil {
		return nil, err
	}
	b, err := c.Store.Backend(sqlite.Backend)
	if err != nil {
		return nil, err
	}
	if b.Transient {
		return nil, errors.New("the sessions are in the memory of the app's own process, where no other one sees them")
	}
	return openConfig(ctx, c)
}

func openConfig(ctx context.Context, c *config.Config) (*sessions, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	m, store, err := c.Open(ctx, sqlite.Backend)
	if err != nil {
		return nil, err
	}
	return &sessions{m, c, store}, nil
}

// onSessions makes a command that works on the sessions.
func (a *app) onSessions(cmd *cobra.Command, run func(ctx context.Context, s *sessions, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := a.open(cmd.Context(), a.config)
		if err != nil {
			return err
		}
		return errors.Join(run(cmd.Context(), s, args), s.store.Close())
	}
	return cmd
}

// print writes a result: v as a line of JSON, or text.
func (a *app) print(v any, text string, args ...any) error {
	if a.json {
		e := json.NewEncoder(a.out)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	_, err := fmt.Fprintf(a.out, text+"\n", args...)
	return err
}

// confirm asks whether to go on.
func (a *app) confirm(ctx context.Context, yes bool, question string, args ...any) error {
	if yes {
		return nil
	}
	fmt.Fprintf(a.err, question+" [y/N] ", args...)
	line, _ := a.read(ctx, func() (string, error) { return bufio.NewReader(a.in).ReadString('\n') })
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	fmt.Fprintln(a.err)
	return errors.New("nothing was done; answer y, or give --yes")
}

// read waits for what fn reads from standard input, or for an interrupt.
func (a *app) read(ctx context.Context, fn func() (string, error)) (text string, err error) {
	done := make(chan struct{})
	var got string
	var failed error
	go func() {
		got, failed = fn()
		close(done)
	}()
	select {
	case <-done:
		return got, failed
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// bar shows progress towards total on a terminal, and nothing elsewhere.
func (a *app) bar(what string, total int) (set func(n int), end func()) {
	file, ok := a.terminal.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func(int) {}, func() {}
	}
	b := progressbar.NewOptions(total, progressbar.OptionSetWriter(file), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	return func(n int) { _ = b.Set(min(n, total)) }, func() { _ = b.Finish() }
}
