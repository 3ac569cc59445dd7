package storetest_test

import (
	"testing"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/storetest"
)

// The code of the package comment.
func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Harness{New: func(t *testing.T) scs.CtxStore {
		store := memory.New(memory.Options{}) // yours
		t.Cleanup(func() { _ = store.Close() })
		return store
	}})
}
