package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// cluster finds the node of each key in a Redis Cluster, and follows when keys move.
type cluster struct {
	seeds []string // the addresses that Open was given
	open  func(addr string) *node
	dial  func(ctx context.Context, addr string) (redigo.Conn, error)
	wait  time.Duration // for one node's answer about the cluster

	// masters has the master of each slot, as far as is known.
	masters [slots]atomic.Pointer[node]

	refreshing chan struct{} // capacity 1; whoever holds the slot asks for the masters
	refreshed  time.Time     // when that was last done; guarded by refreshing

	mu     sync.Mutex
	nodes  map[string]*node
	others []string // addresses of replicas, which know the masters too
	shut   bool

	ending sync.WaitGroup // of nodes that are no master any more
}

// refreshPause is the least time between two refreshes that errors cause.
const refreshPause = 100 * time.Millisecond

func newCluster(seeds []string, o Options, dial func(ctx context.Context, addr string) (redigo.Conn, error)) *cluster {
	c := &cluster{
		seeds: seeds, dial: dial, wait: min(o.ConnectTimeout, time.Second),
		refreshing: make(chan struct{}, 1), nodes: make(map[string]*node),
	}
	c.open = func(addr string) *node {
		return newNode(addr, o, func(ctx context.Context) (redigo.Conn, error) { return dial(ctx, addr) })
	}
	return c
}

// use is Store.use for a cluster.
func (c *cluster) use(ctx context.Context, s *Store, key string, w way, f func(conn) (any, error)) (any, error) {
	slot := slot(key)
	n, asking := c.masters[slot].Load(), false
	if n == nil {
		if err := c.refresh(ctx, nil); err != nil {
			return nil, err
		}
		if n = c.masters[slot].Load(); n == nil {
			return nil, redigo.Error("CLUSTERDOWN (" + uncovered + ")")
		}
	}
	for redirects := 0; ; redirects++ {
		reply, err := s.try(ctx, n, asking, w.share, f)
		outcome := n.after(err)
		if err == nil || redirects == maxRedirects {
			return reply, err
		}
		was := n
		var unsent *unsentError
		switch addr := redirected(err, n.addr); {
		case replied(err, "MOVED"):
			n, asking = c.at(addr), false
			c.masters[slot].Store(n)
			// Where one slot has moved, more have. If this fails, they are found one by one.
			_ = c.refresh(ctx, nil)
			continue
		case replied(err, "ASK"):
			n, asking = c.at(addr), true
			continue
		case outcome == broken:
			if w.tries--; w.tries == 0 {
				_ = c.refresh(ctx, n) // for those who come next
				return reply, err
			}
		case outcome == notMaster, replied(err, "CLUSTERDOWN"), errors.As(err, &unsent):
			// The command has not run. Perhaps another node has become the master.
		default:
			if isTimeout(err) {
				_ = c.refresh(ctx, n)
			}
			return reply, err
		}
		_ = c.refresh(ctx, n)
		if n = c.masters[slot].Load(); n == was {
			// A node that a late answer had not named was closed, and is opened again.
			if live := c.at(n.addr); live != n {
				c.masters[slot].CompareAndSwap(n, live)
				n = live
			}
		}
		if n == nil || n == was && outcome != broken {
			return reply, err
		}
		asking = false
	}
}

const uncovered = "the cluster has no master for some of the keys"

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// redirected returns the address in a redirection. An empty host is that of the node
// that sent it.
func redirected(err error, from string) string {
	var reply redigo.Error
	if !errors.As(err, &reply) {
		return ""
	}
	fields := strings.Fields(string(reply))
	if len(fields) != 3 {
		return ""
	}
	i := strings.LastIndexByte(fields[2], ':')
	if i < 0 {
		return ""
	}
	return join(fields[2][:i], fields[2][i+1:], from)
}

// join is net.JoinHostPort, with the host of from if there is none.
func join(host, port, from string) string {
	if host == "" {
		host, _, _ = net.SplitHostPort(from)
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// at returns the node with an address.
func (c *cluster) at(addr string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[addr]
	if n == nil {
		n = c.open(addr)
		if c.shut {
			n.pool.Close()
		}
		c.nodes[addr] = n
	}
	return n
}

// refresh asks the cluster for the masters of all slots, unless that was done a moment
// ago. avoid, if not nil, is a node that seems to be down; then refresh also waits for
// another caller that is asking.
func (c *cluster) refresh(ctx context.Context, avoid *node) error {
	select {
	case c.refreshing <- struct{}{}:
	default:
		if avoid == nil {
			return nil
		}
		select {
		case c.refreshing <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-c.refreshing }()
	if time.Since(c.refreshed) < refreshPause {
		return nil
	}
	return c.discover(ctx, avoid)
}

// discover is refresh for a caller that holds the slot of refreshing. Its error has the
// reasons of the nodes that have been asked.
func (c *cluster) discover(ctx context.Context, avoid *node) error {
	defer func() { c.refreshed = time.Now() }()
	var errs []error
	for _, addr := range c.candidates(avoid) {
		ranges, err := c.ranges(ctx, addr)
		if err == nil {
			c.adopt(ranges)
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || final(err) {
			break
		}
	}
	return errors.Join(errs...)
}

// candidates returns the addresses of all nodes that are known, in random order: masters,
// then the others, then what Open was given, and last the one to avoid.
func (c *cluster) candidates(avoid *node) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	add := func(addrs []string) {
		addrs = slices.Clone(addrs)
		rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		for _, addr := range addrs {
			if (avoid == nil || addr != avoid.addr) && !slices.Contains(all, addr) {
				all = append(all, addr)
			}
		}
	}
	var masters []string
	for addr := range c.nodes {
		masters = append(masters, addr)
	}
	add(masters)
	add(c.others)
	add(c.seeds)
	if avoid != nil {
		all = append(all, avoid.addr)
	}
	return all
}

// slotRange is a range of slots with its master and replicas.
type slotRange struct {
	first, last int
	master      string
	replicas    []string
}

// ranges asks one node for the masters of all slots.
func (c *cluster) ranges(ctx context.Context, addr string) ([]slotRange, error) {
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	link, err := c.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer link.Close()
	rows, err := redigo.Values(conn{Conn: link, ctx: ctx, limit: c.wait}.do("CLUSTER", "SLOTS"))
	if err != nil {
		return nil, notCluster(addr, err)
	}
	var ranges []slotRange
	for _, row := range rows {
		r, err := parseRange(row, addr)
		if err != nil {
			return nil, fmt.Errorf("CLUSTER SLOTS from %s: %w", addr, err)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

func parseRange(row any, from string) (r slotRange, err error) {
	fields, err := redigo.Values(row, nil)
	if err != nil || len(fields) < 3 {
		return r, errors.New("a range is not what it should be")
	}
	first, err1 := redigo.Int(fields[0], nil)
	last, err2 := redigo.Int(fields[1], nil)
	if err := errors.Join(err1, err2); err != nil {
		return r, err
	}
	if first < 0 || last >= slots || first > last {
		return r, errors.New("a range is not what it should be")
	}
	r.first, r.last = first, last
	for i, field := range fields[2:] {
		parts, err := redigo.Values(field, nil)
		if err != nil || len(parts) < 2 {
			return r, errors.New("a node is not what it should be")
		}
		host, err := redigo.String(parts[0], nil)
		if err != nil && !errors.Is(err, redigo.ErrNil) {
			return r, err
		}
		port, err := redigo.Int(parts[1], nil)
		if err != nil {
			return r, err
		}
		if host == "?" {
			if i > 0 {
				continue // a replica, which is not needed
			}
			return r, errors.New("a node does not know its own name: set cluster-announce-hostname")
		}
		addr := join(host, fmt.Sprint(port), from)
		if i == 0 {
			r.master = addr
		} else {
			r.replicas = append(r.replicas, addr)
		}
	}
	return r, nil
}

// adopt takes over what a node has said, and closes the connections to what is no master.
func (c *cluster) adopt(ranges []slotRange) {
	masters := make(map[string]*node)
	var owners [slots]*node
	var others []string
	for _, r := range ranges {
		n := masters[r.master]
		if n == nil {
			n = c.at(r.master)
			masters[r.master] = n
		}
		for i := r.first; i <= r.last; i++ {
			owners[i] = n
		}
		others = append(others, r.replicas...)
	}
	for i, n := range owners {
		c.masters[i].Store(n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(others)
	c.others = slices.Compact(others)
	for addr, n := range c.nodes {
		if masters[addr] == nil {
			delete(c.nodes, addr)
			n.pool.Close() // a call that still gets one there is sent elsewhere
			if !c.shut {
				c.ending.Go(n.stopSharing)
			}
		}
	}
}

// all returns the masters that have slots, in the order of their addresses, and whether
// each slot has one.
func (c *cluster) all() (nodes []*node, complete bool) {
	complete = true
	seen := make(map[*node]bool)
	for i := range c.masters {
		switch n := c.masters[i].Load(); {
		case n == nil:
			complete = false
		case !seen[n]:
			seen[n] = true
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.addr, b.addr) })
	return nodes, complete
}

// state describes the masters and their slots, for finding out whether they have changed.
// moving reports whether the keys of a slot are being moved at this moment.
func (c *cluster) state(ctx context.Context, s *Store) (nodes []*node, state string, moving bool, err error) {
	select {
	case c.refreshing <- struct{}{}:
	case <-ctx.Done():
		return nil, "", false, ctx.Err()
	}
	err = c.discover(ctx, nil)
	<-c.refreshing
	if err != nil {
		return nil, "", false, err
	}
	nodes, complete := c.all()
	if !complete {
		return nil, "", false, redigo.Error("CLUSTERDOWN (" + uncovered + ")")
	}
	for _, n := range nodes {
		text, err := redigo.String(s.useNode(ctx, n, twice, func(c conn) (any, error) { return c.do("CLUSTER", "NODES") }))
		if err != nil {
			return nil, "", false, err
		}
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			const id, flags, epoch, link, firstSlot = 0, 2, 6, 7, 8
			if len(fields) < firstSlot || !strings.Contains(fields[flags], "myself") {
				continue
			}
			own := slices.Concat(fields[id:id+1], fields[flags:flags+1], fields[epoch:link], fields[firstSlot:])
			state += strings.Join(own, " ") + "\n"
			if !strings.Contains(fields[flags], "master") {
				state += time.Now().String() // whoever named it is behind; it differs each time
			}
			moving = moving || slices.ContainsFunc(fields[firstSlot:], func(f string) bool { return f[0] == '[' })
		}
	}
	return nodes, state, moving, nil
}

// close closes all connections.
func (c *cluster) close() error {
	c.mu.Lock()
	c.shut = true
	nodes := slices.Collect(maps.Values(c.nodes))
	c.mu.Unlock()
	var errs []error
	for _, n := range nodes {
		errs = append(errs, n.pool.Close())
	}
	for _, n := range nodes {
		n.stopSharing()
	}
	c.ending.Wait()
	return errors.Join(errs...)
}
