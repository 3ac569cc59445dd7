//go:build sqlite

package main

import "github.com/samesid/samesid/backends/sqlite"

// The driver takes half a minute to compile, so that only go run -tags sqlite links it.
func init() { backends = append(backends, sqlite.Backend) }
