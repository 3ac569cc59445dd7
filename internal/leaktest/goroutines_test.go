package leaktest

import (
	"strings"
	"testing"
)

func TestGoroutines(t *testing.T) {
	check := Goroutines(t)
	begun, end := make(chan struct{}), make(chan struct{})
	before := goroutines()
	go forgotten(begun, end)
	<-begun
	if stacks := left(0, before); !strings.Contains(stacks, "leaktest.forgotten") {
		t.Errorf("found %q", stacks)
	}
	close(end)
	check()
}

func forgotten(begun, end chan struct{}) {
	close(begun)
	<-end
}
