// Command demo is a small app for trying samesid: a login, a protected route, a
// logout, a list of the user's sessions, and a page that shows what happens to the
// session.
//
//	go run ./demo [-addr 127.0.0.1:8080] [-config session.yaml] [-https]
//
// Without -config, sessions are kept in memory and the cookie is signed with a
// new random secret at each start, so they end with the process. With -https, the
// demo has a certificate of its own, and says how a browser can be made to trust it: a
// session that is bound to its browser takes HTTPS.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
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
	https := flags.Bool("https", false, "serve HTTPS, with a new certificate that signs itself")
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
	pin := ""
	if *https {
		cert, hash, err := selfSigned()
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		url, pin = "https://"+reachable(listener.Addr()), hash
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	}
	handler, err := newSite(sessions, url, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	printWelcome(stdout, url, pin, sessions.note)
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

// printWelcome says how to use the demo. pin is the hash of its certificate's key, or "".
func printWelcome(w io.Writer, url, pin, note string) {
	fmt.Fprintf(w, "\nOpen %s and sign in as %s or %s with the password %s\n%s\n\nOr from a terminal:\n\n", url, demoUser.Username, guestUser.Username, demoPassword, note)
	commands := curlCommands(url)
	if pin != "" {
		commands = append([]string{chromiumCommand(url, pin)}, commands...)
	}
	for _, c := range commands {
		fmt.Fprintf(w, "  %s\n", c)
	}
	fmt.Fprintln(w)
}

// curlCommands returns commands that log in, open the protected route, list the user's
// sessions and log out.
func curlCommands(url string) []string {
	curl := "curl"
	if strings.HasPrefix(url, "https:") {
		curl = "curl -k" // the certificate signs itself
	}
	return []string{
		fmt.Sprintf("%s -c cookies.txt -d username=%s -d password=%s %s/login", curl, demoUser.Username, demoPassword, url),
		fmt.Sprintf("%s -b cookies.txt %s/protected", curl, url),
		fmt.Sprintf("%s -b cookies.txt %s/sessions", curl, url),
		fmt.Sprintf("%s -b cookies.txt -c cookies.txt -X POST %s/logout", curl, url),
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
