// Command goserver is the scripted session server on samesid; README.md in the parent
// folder documents the protocol.
//
//	go run ./parity/goserver -addr 127.0.0.1:3000 -config session.yaml
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/sqlite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "goserver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	addr := flag.String("addr", "127.0.0.1:3000", "address to listen on; port 0 picks a free one")
	file := flag.String("config", "", "configuration `file`")
	flag.Parse()

	sessions, store, err := config.Open(ctx, *file, sqlite.Backend)
	if err != nil {
		return err
	}
	defer store.Close()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(sessions, store)}
	context.AfterFunc(ctx, func() { server.Close() })
	fmt.Println("listening on", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
