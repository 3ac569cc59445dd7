package sqlstore

import (
	"testing"
	"time"
)

func TestJitter(t *testing.T) {
	low, high := time.Hour, time.Duration(0)
	for range 1000 {
		d := jitter(time.Second)
		low, high = min(low, d), max(high, d)
	}
	if low < time.Second/2 || low > time.Second*6/10 || high < time.Second*14/10 || high >= time.Second*3/2 {
		t.Errorf("jitter gave %v to %v, want 0.5 s to 1.5 s", low, high)
	}
}
