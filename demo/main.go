// Command demo is a small app for trying samesid: a login, a protected route, a
// logout, a list of the user's sessions, and a page that shows what happens to the
// session.
//
//	go run ./demo [-addr 127.0.0.1:8080] [-config session.yaml]
//
// Without -config, sessions are kept in memory and the cookie is signed with a
// new random secret at each start, so they end with the process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done, and then finishes the requests in flight.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:8080", "address to listen on; port 0 picks a free one")
	file := flags.String("config", "", "configuration `file`; without it, sessions are in memory and end with the process")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	logger := slog.New(slog.NewTextHandler(stderr, nil))
	sessions, err := openSessions(ctx, *file, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sessions.close()) }()

	listener, err := net.Listen("tcp", *addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another program; choose another address, such as -addr 127.0.0.1:0 for any free port", *addr)
	}
	if err != nil {
		return err
	}
	url := "http://" + reachable(listener.Addr())
	handler, err := newSite(sessions, url, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	printWelcome(stdout, url, sessions.note)
	return serve(ctx, listener, handler)
}

// reachable returns an address that a browser on this machine can open.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr.String()
}

func printWelcome(w io.Writer, url, note string) {
	fmt.Fprintf(w, "\nOpen %s and sign in as %s or %s with the password %s\n%s\n\nOr from a terminal:\n\n", url, demoUser.Username, guestUser.Username, demoPassword, note)
	for _, c := range curlCommands(url) {
		fmt.Fprintf(w, "  %s\n", c)
	}
	fmt.Fprintln(w)
}

// curlCommands returns commands that log in, open the protected route, list the user's
// sessions and log out.
func curlCommands(url string) []string {
	return []string{
		fmt.Sprintf("curl -c cookies.txt -d username=%s -d password=%s %s/login", demoUser.Username, demoPassword, url),
		fmt.Sprintf("curl -b cookies.txt %s/protected", url),
		fmt.Sprintf("curl -b cookies.txt %s/sessions", url),
		fmt.Sprintf("curl -b cookies.txt -c cookies.txt -X POST %s/logout", url),
	}
}

// shutdownTimeout limits the requests in flight after a signal to stop.
const shutdownTimeout = 10 * time.Second

func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		IdleTimeout:       time.Minute,
	}
	shut := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		shut <- server.Shutdown(ctx)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	return <-shut
}
