// Command bench compares samesid with other session libraries in one run. README.md
// documents what is compared, and how.
//
//	make bench
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(log.Ltime)
	if name := os.Getenv(envServe); name != "" {
		log.Fatal(serveChild(context.Background(), name))
	}
	write := flag.Bool("write", false, "put "+latest+" into README.md, docs/performance.md and the charts, and measure nothing")
	flag.Parse()
	if err := run(*write); err != nil {
		log.Fatal(err)
	}
}

func run(write bool) error {
	if _, err := os.Stat("node/server.mjs"); err != nil {
		return errors.New("run it in the folder tests/bench, as make bench does")
	}
	if write {
		r, err := loadReport(latest)
		if err != nil {
			return err
		}
		if err := r.keep(filepath.Dir(latest)); err != nil {
			return err
		}
		past, err := history(filepath.Dir(latest))
		if err != nil {
			return err
		}
		return r.write("../..", past)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := readSettings()
	if err != nil {
		return err
	}
	r := &report{Date: time.Now().UTC().Truncate(time.Second), Machine: newMachine(), Settings: s}
	backend, err := startBackend()
	if err != nil {
		return err
	}
	defer backend.stop()
	if r.Versions, err = backend.versions(ctx); err != nil {
		return err
	}
	b := &bench{settings: s, backend: backend}
	if err := b.run(ctx); err != nil {
		return err
	}
	r.Results = b.results
	fmt.Println(r)
	return r.save(latest)
}
