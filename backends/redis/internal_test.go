package redis

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseURL(t *testing.T) {
	for url, want := range map[string]server{
		"redis://":                              {network: "tcp", addr: "localhost:6379"},
		"redis://h":                             {network: "tcp", addr: "h:6379"},
		"redis://h:1/":                          {network: "tcp", addr: "h:1"},
		"redis://[::1]:7/3":                     {network: "tcp", addr: "[::1]:7", database: 3},
		"redis://:p@h":                          {network: "tcp", addr: "h:6379", password: "p"},
		"redis://p@h":                           {network: "tcp", addr: "h:6379", password: "p"},
		"redis://u:p%3A%2F%40%23@h/15":          {network: "tcp", addr: "h:6379", username: "u", password: "p:/@#", database: 15},
		"valkey://u:p@h":                        {network: "tcp", addr: "h:6379", username: "u", password: "p"},
		"rediss://h:2":                          {network: "tcp", addr: "h:2", tls: true},
		"valkeys://h":                           {network: "tcp", addr: "h:6379", tls: true},
		"unix:///tmp/r.sock":                    {network: "unix", addr: "/tmp/r.sock"},
		"redis+unix://u:p@/tmp/a%20b.sock?db=4": {network: "unix", addr: "/tmp/a b.sock", username: "u", password: "p", database: 4},
	} {
		got, err := parseURL(url)
		if got != want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", url, got, err, want)
		}
	}

	for url, want := range map[string]string{
		"":                               "begin with redis://",
		"localhost:6379":                 "begin with redis://",
		"http://u:hunter2@h":             "begin with redis://",
		"redis:hunter2":                  "slashes",
		"redis://u:hunter2/x@h":          "percent-encoded",
		"redis://u:%zzhunter2@h":         "percent-encoded",
		"redis://u:1/hunter2@h":          "number",
		"redis://h/-1":                   "number",
		"redis://h/0/hunter2":            "number",
		"redis://u:1?hunter2@h":          "parameters",
		"redis://h?db=1":                 "parameters",
		"unix:///r.sock?db=1&hunter2=1":  "parameters",
		"unix:///r.sock?db=hunter2":      "number",
		"redis://u:1#hunter2@h":          "#",
		"redis://hunter2:@h":             "empty password",
		"unix://u:hunter2@host/tmp/sock": "no host",
		"unix://":                        "path of a socket",
	} {
		_, err := parseURL(url)
		if err == nil || !strings.HasPrefix(err.Error(), "redis: the URL ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q in it", url, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the password is in %q", url, err)
		}
	}
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			left         time.Duration
			scs, connect int64
		}{
			{-time.Hour, 0, 0},
			{0, 0, 0},
			{1, 1, 1000},
			{time.Millisecond, 1, 1000},
			{time.Millisecond + 1, 2, 1000},
			{time.Second, 1000, 1000},
			{time.Second + 1, 1001, 2000},
			{90*time.Minute + 3*time.Millisecond, 5400003, 5401000},
		} {
			expiry := time.Now().Add(c.left)
			for step, want := range map[time.Duration]int64{time.Millisecond: c.scs, time.Second: c.connect} {
				if got := (&Store{step: step}).ttl(expiry); got != want {
					t.Errorf("%v left, in steps of %v: %d, want %d", c.left, step, got, want)
				}
			}
		}
		if got := (&Store{step: time.Second}).ttl(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)); got < 250*365*24*3600*1000 {
			t.Errorf("the year 9999 is %d ms away", got)
		}
	})
}
