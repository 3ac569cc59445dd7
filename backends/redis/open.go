package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/internal/refusal"
)

// refused is an error about an option that shows only once there is a server.
func refused(fields, format string, args ...any) error {
	r := refusals()
	r.Add(fields, format, args...)
	return r.Err()
}

// final reports whether an error is that of refused: trying again is of no use.
func final(err error) bool {
	var r *refusal.Error
	return errors.As(err, &r)
}

// openWait is how long Open waits for a server, with a context that has no deadline.
const openWait = time.Minute

// start probes the server until it is ready.
func (s *Store) start(ctx context.Context, d *dialer, logger *slog.Logger) error {
	wait := ctx
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, openWait)
		defer cancel()
	}
	pause := 25 * time.Millisecond
	var last error
	for {
		err := s.probe(wait)
		if err == nil {
			return nil
		}
		if last != nil && (wait.Err() != nil || isTimeout(err)) {
			// That the time is over is not the reason.
			if sleep(wait, pause) != nil {
				break
			}
			continue
		}
		if !final(err) {
			for _, addr := range d.addrs {
				if why := d.mismatch(wait, addr, err); why != nil {
					return why
				}
			}
		}
		waits := d.waitsFor(err)
		if last == nil && waits {
			logger.Warn("redis: the server is not ready; waiting for it", "error", err)
		}
		last = err
		if !waits || wait.Err() != nil {
			break
		}
		_ = sleep(wait, pause) // its end is seen above
		pause = min(2*pause, 500*time.Millisecond)
	}
	if final(last) {
		return last
	}
	if err := wait.Err(); err != nil && !errors.Is(last, err) {
		last = fmt.Errorf("%w while waiting for the server: %w", err, last)
	}
	return failed("open", last)
}

// waitsFor reports whether an error will be over when the server has started, or has
// finished a failover.
func (d *dialer) waitsFor(err error) bool {
	var dns *net.DNSError
	switch {
	case final(err), errors.Is(err, context.Canceled):
		return false
	case passing(err), errors.Is(err, errNoMaster):
		return true
	case errors.As(err, &dns), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return true
	}
	// A proxy accepts connections, and ends them, while the server is down. With TLS that
	// is how a server refuses a client's certificate.
	return d.tls == nil && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF))
}

// command is one that the store sends.
type command struct {
	name string
	// args are those after the key, for a call that changes nothing where there is no key.
	args []any
}

// needed are the commands that the user needs a permission for. In a script, SET, DEL and
// PEXPIRE are used too.
var needed = []command{
	{"GETEX", nil},
	{"GET", nil},
	{"SET", []any{"", "XX", "PX", 1000}}, // XX: only where there is one
	{"DEL", nil},
	{"UNLINK", nil},
	{"GETDEL", nil},
	{"PEXPIRE", []any{1000}},
	{"PTTL", nil},
	{"MGET", nil},
	{"EVALSHA", nil},
	{"EVAL", nil},
	{"SCAN", nil},
	{"MULTI", nil},
	{"EXEC", nil},
	{"PING", nil},
}

// probe verifies that each server is reachable, of the kind that Options.Mode says, accepts
// the user, permits the commands and the store's keys, accepts writes, and is new enough.
// It changes nothing, as it uses the key of a token that no session has.
func (s *Store) probe(ctx context.Context) error {
	return s.onMasters(ctx, func() string { return s.prefix + "open-" + rand.Text() }, func(n *node, key string) error {
		return s.inspect(ctx, n, key)
	})
}

// onMasters calls fn for each server with one of the keys that key returns, which it serves.
func (s *Store) onMasters(ctx context.Context, key func() string, fn func(n *node, key string) error) error {
	if s.cluster == nil {
		return fn(s.single, key())
	}
	nodes, _, _, err := s.cluster.state(ctx, s)
	if err != nil {
		return err
	}
	keys := make(map[*node]string)
	// With a hash tag in the prefix, all keys are on one node.
	for i := 0; len(keys) < len(nodes) && i < 1000; i++ {
		k := key()
		if n := s.cluster.masters[slot(k)].Load(); n != nil && keys[n] == "" {
			keys[n] = k
		}
	}
	for _, n := range nodes {
		if keys[n] == "" {
			continue
		}
		if err := fn(n, keys[n]); err != nil {
			return fmt.Errorf("the node at %s: %w", n.addr, err)
		}
	}
	return nil
}

// inspect is probe for one server, with a key that it serves.
func (s *Store) inspect(ctx context.Context, n *node, key string) error {
	calls := [][]any{{"INFO", "server"}, {"INFO", "replication"}}
	const first = 2
	for _, c := range needed {
		call := []any{c.name}
		switch c.name {
		case "SCAN":
			call = append(call, "0", "MATCH", s.match, "COUNT", 1)
		case "EVALSHA":
			call = append(call, swap.hash, 1, key, 0, "", 0)
		case "EVAL":
			call = append(call, swap.text, 1, key, 0, "", 0)
		case "MULTI", "EXEC", "PING":
		default:
			call = append(append(call, key), c.args...)
		}
		calls = append(calls, call)
	}
	if s.replicas > 0 {
		calls = append(calls, []any{"WAIT", s.replicas, 1})
	}
	if s.cluster != nil {
		calls = append(calls, []any{"ASKING"})
	} else {
		// A single server has both; a node of a cluster never answers for two slots.
		calls = append(calls, []any{"MGET", key, key + "-2"})
	}
	reply, err := s.useNode(ctx, n, twice, func(c conn) (any, error) { return c.pipe(calls) })
	if err != nil {
		return err
	}
	replies := reply.([]any)
	if err := s.suits(n, infos(replies[:first])); err != nil {
		return err
	}
	var lacks []string
	for i, r := range replies[first:] {
		err, bad := r.(redigo.Error)
		name := calls[first+i][0].(string)
		switch {
		case !bad && name == "WAIT" && r.(int64) < int64(s.replicas):
			return redigo.Error(fmt.Sprintf("NOREPLICAS %d of %d replicas that Options.WaitReplicas counts are there", r, s.replicas))
		case !bad, replied(err, "NOSCRIPT"), replied(err, "OOM"):
		case strings.Contains(err.Error(), "executing the script can"): // named below
		case strings.Contains(err.Error(), "NOPERM") && strings.Contains(err.Error(), "to run"):
			if !slices.Contains(lacks, name) {
				lacks = append(lacks, name)
			}
		case replied(err, "NOPERM"):
			return lacksKeys(s.prefix)
		case strings.HasPrefix(err.Error(), "EXECABORT"), strings.HasPrefix(err.Error(), "ERR EXEC without MULTI"): // for MULTI has failed
		case s.cluster == nil && (replied(err, "MOVED") || replied(err, "CROSSSLOT") || replied(err, "ASK") || replied(err, "CLUSTERDOWN")):
			return refused("Mode", "%s is a node of a Redis Cluster; make it cluster", n.name())
		case replied(err, "READONLY"):
			return refused("url", "%s is a replica, which takes no writes; give the address of the master, or Options.Mode", n.name())
		default:
			return scrub(err)
		}
	}
	if len(lacks) > 0 {
		return lacking("the user", lacks)
	}
	// The script may be permitted, and what it does not.
	reply, err = s.useNode(ctx, n, twice, func(c conn) (any, error) { return c.do("EVAL", permits, 1, key) })
	if text, _ := redigo.String(reply, err); text != "" {
		return lacking("the user's scripts", []string{text})
	}
	return err
}

// lacking is the error about commands that are not permitted.
func lacking(who string, commands []string) error {
	lower := "+" + strings.ToLower(strings.Join(commands, " +"))
	return redigo.Error(fmt.Sprintf("NOPERM %s may not run %s; allow it by %s", who, strings.Join(commands, ", "), lower))
}

// lacksKeys is the error about keys that are not permitted.
func lacksKeys(prefix string) error {
	return redigo.Error(fmt.Sprintf("NOPERM the user may not use keys that begin with %q; allow them by ~%s*", prefix, prefix))
}

// permits tries what the scripts do, where there is no key.
const permits = `
for _, c in ipairs({{'GET'}, {'SET', '', 'XX', 'PX', '1000'}, {'DEL'}, {'PEXPIRE', '1000'}, {'EXISTS'}}) do
	local name = table.remove(c, 1)
	local reply = redis.pcall(name, KEYS[1], unpack(c))
	if type(reply) == 'table' and reply.err and (string.find(reply.err, 'NOPERM') or string.find(reply.err, "can't run")) then
		return name
	end
end
return ''`

// infos returns the fields of the replies to INFO, as far as they are permitted.
func infos(replies []any) map[string]string {
	fields := make(map[string]string)
	for _, r := range replies {
		text, err := redigo.String(r, nil)
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				fields[name] = value
			}
		}
	}
	return fields
}

// suits returns an error if a server says that it is of another kind than Options.Mode.
func (s *Store) suits(n *node, info map[string]string) error {
	switch {
	case info["redis_mode"] == "sentinel":
		return refused("Mode", "%s is a Sentinel, which has no sessions; make it sentinel, with Options.MasterName", n.name())
	case s.cluster == nil && info["redis_mode"] == "cluster" && (info["role"] == "slave" || slot(s.prefix+"1") == slot(s.prefix+"2")):
		// Else it shows, without INFO too, by keys of two slots; a proxy may take them.
		return refused("Mode", "%s is a node of a Redis Cluster; make it cluster", n.name())
	case s.cluster == nil && info["role"] == "slave":
		return refused("url", "%s is a replica; give the address of its master, or Options.Mode with the Sentinels", n.name())
	}
	return nil
}

func (n *node) name() string {
	if n.addr == "" {
		return "the server"
	}
	return "the server at " + n.addr
}

// notCluster explains why a server does not answer CLUSTER SLOTS.
func notCluster(addr string, err error) error {
	switch text := err.Error(); {
	case strings.HasPrefix(text, "ERR This instance has cluster support disabled"):
		return refused("Mode", "the server at %s is no node of a cluster; drop the mode", addr)
	case strings.HasPrefix(text, "ERR unknown command"):
		return refused("Mode", "the server at %s does not know the command CLUSTER, and so is no node of a cluster; drop the mode", addr)
	case strings.HasPrefix(text, "NOPERM"):
		return redigo.Error("NOPERM the user may not run CLUSTER SLOTS and CLUSTER NODES; allow them by +cluster|slots +cluster|nodes")
	}
	return fmt.Errorf("the node at %s: %w", addr, err)
}
