package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// sentinels find the master of a Redis with Sentinel. Each connection that is made asks
// them anew, so that after a failover it is enough to give up the connections that are
// there.
type sentinels struct {
	master string // its name
	dial   func(ctx context.Context, addr string) (redigo.Conn, error)
	data   func(ctx context.Context, addr string) (redigo.Conn, error) // dials the master
	addrs  []string
	limit  time.Duration // of each command
}

// connect returns a connection to the master.
func (s *sentinels) connect(ctx context.Context) (redigo.Conn, error) {
	addr, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.data(ctx, addr)
	if err != nil {
		return nil, err
	}
	// During a failover, the Sentinels may name a server that is no master, or no longer.
	role, err := redigo.Values(conn{Conn: c, ctx: ctx, limit: s.limit}.do("ROLE"))
	if err == nil && len(role) == 0 {
		err = errors.New("an empty answer")
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("the role of %s: %w", addr, scrub(err))
	}
	if name, err := redigo.String(role[0], nil); err != nil || name != "master" {
		c.Close()
		return nil, fmt.Errorf("%w: %s is what the Sentinels name as the master", errNoMaster, addr)
	}
	return c, nil
}

// errNoMaster is passing: a failover is being done.
var errNoMaster = errors.New("the server is no master")

// sentinelGrace is how long a Sentinel may be later than most others.
const sentinelGrace = 100 * time.Millisecond

// find asks all Sentinels for the address of the master, and takes the newest answer.
// After a failover, some may for a while name the old master, and if that was started
// again, it believes so too: what is written to it is lost.
func (s *sentinels) find(ctx context.Context) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(s.addrs))
	for _, addr := range s.addrs {
		go func() { answers <- s.ask(ctx, addr) }()
	}
	var newest answer
	var errs []error
	var late <-chan time.Time
	known := 0
	for range s.addrs {
		var a answer
		select {
		case a = <-answers:
		case <-ctx.Done():
			return "", ctx.Err()
		case <-late:
			return newest.master, nil
		}
		if a.err != nil {
			errs = append(errs, a.err)
			continue
		}
		if known++; known == 1 || a.epoch > newest.epoch {
			newest = a
		}
		if late == nil && known > len(s.addrs)/2 {
			timer := time.NewTimer(sentinelGrace)
			defer timer.Stop()
			late = timer.C
		}
	}
	if known == 0 {
		return "", errors.Join(errs...)
	}
	return newest.master, nil
}

// answer is what a Sentinel says about the master. The epoch grows with each failover.
type answer struct {
	master string
	epoch  int
	err    error
}

func (s *sentinels) ask(ctx context.Context, addr string) answer {
	bad := func(err error) answer { return answer{err: err} }
	link, err := s.dial(ctx, addr)
	if err != nil {
		return bad(err)
	}
	defer link.Close()
	c := conn{Conn: link, ctx: ctx, limit: s.limit}
	parts, err := redigo.Strings(c.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.master))
	switch {
	case errors.Is(err, redigo.ErrNil):
		return bad(refused("MasterName", "the Sentinel at %s does not watch a master of this name%s", addr, s.names(c)))
	case err != nil && strings.HasPrefix(err.Error(), "ERR unknown command"):
		return bad(refused("Mode", "the server at %s is no Sentinel; give the address of one, usually with port 26379, or drop the mode", addr))
	case err == nil && len(parts) != 2:
		err = fmt.Errorf("an answer of %d parts", len(parts))
	}
	var about map[string]string
	if err == nil {
		about, err = redigo.StringMap(c.do("SENTINEL", "MASTER", s.master))
	}
	if err != nil {
		return bad(fmt.Errorf("the Sentinel at %s: %w", addr, scrub(err)))
	}
	epoch, err := strconv.Atoi(about["config-epoch"])
	if err != nil {
		return bad(fmt.Errorf("the Sentinel at %s: the epoch: %w", addr, err))
	}
	return answer{net.JoinHostPort(parts[0], parts[1]), epoch, nil}
}

// names says which masters a Sentinel watches.
func (s *sentinels) names(c conn) string {
	rows, err := redigo.Values(c.do("SENTINEL", "MASTERS"))
	if err != nil {
		return ""
	}
	var names []string
	for _, row := range rows {
		if m, err := redigo.StringMap(row, nil); err == nil {
			names = append(names, m["name"])
		}
	}
	return ", but " + strings.Join(names, " and ")
}
