package contract_test

import (
	"context"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
)

type plain struct{ scs.Store }

type finder struct{ scs.Store }

func (finder) FindExpiry(context.Context, string) ([]byte, time.Time, bool, error) {
	return nil, time.Time{}, true, nil
}

type wrapper struct{ plain }

func (w wrapper) Unwrap() scs.Store { return w.Store }

func TestAs(t *testing.T) {
	for name, tt := range map[string]struct {
		store scs.Store
		want  bool
	}{
		"nil":             {nil, false},
		"without":         {plain{}, false},
		"with":            {finder{}, true},
		"wrapped":         {wrapper{plain{finder{}}}, true},
		"wrapped twice":   {wrapper{plain{wrapper{plain{finder{}}}}}, true},
		"wrapped without": {wrapper{plain{plain{}}}, false},
		"wrapped nil":     {wrapper{}, false},
		"hidden":          {plain{finder{}}, false},
	} {
		if _, ok := contract.As[contract.FindExpirer](tt.store); ok != tt.want {
			t.Errorf("%s: %t, want %t", name, ok, tt.want)
		}
	}
}
