package leaktest

import (
	"bytes"
	"log/slog"
	"sync"
)

// Log collects the lines of a logger, for a test to look at. Copy sees them too. Its zero
// value is empty. It is safe for concurrent use.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// String returns what was written since the last Reset.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Reset drops what was written.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// Logger returns a logger whose lines are collected, as text, from level Info on.
func (l *Log) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(Copy(l), nil)) }
