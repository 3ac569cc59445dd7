package leaktest

import (
	"strings"
	"testing"
)

func TestGoroutines(t *testing.T) {
	check := Goroutines(t)
	end := make(chan struct{})
	before := goroutines()
	go forgotten(end)
	if stacks := left(0, before); !strings.Contains(stacks, "leaktest.forgotten") {
		t.Errorf("found %q", stacks)
	}
	close(end)
	check()
}

func forgotten(end chan struct{}) { <-end }
