//go:build unix

package testserver

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gomodule/redigo/redis"
)

// Cluster is a Redis Cluster that one test owns. Each of its masters has one replica.
type Cluster struct {
	Addrs []string // of all nodes: the masters, and then their replicas in the same order
	nodes map[string]*Server
	tb    testing.TB
}

const slots = 16384

// StartCluster starts a Redis Cluster of some masters, each with a replica, only for this
// test. A failover takes about a second. args are arguments of each redis-server.
func StartCluster(tb testing.TB, masters int, args ...string) *Cluster {
	tb.Helper()
	c := &Cluster{nodes: make(map[string]*Server), tb: tb}
	for range 2 * masters {
		// The port of the bus is 10000 above the other by default, which may be taken.
		bus, err := freePort()
		check(tb, err)
		s := StartRedis(tb, append([]string{
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "500",
			"--cluster-replica-validity-factor", "0", "--cluster-migration-barrier", "9",
			"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
		}, args...)...)
		c.Addrs = append(c.Addrs, s.Addr)
		c.nodes[s.Addr] = s
	}
	for i, addr := range c.Addrs {
		c.Do(addr, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i > 0 {
			host, port, _ := net.SplitHostPort(addr)
			bus := c.nodes[addr].arg("--cluster-port")
			c.Do(c.Addrs[0], "CLUSTER", "MEET", host, port, bus)
		}
		if i < masters {
			ranges := []any{"ADDSLOTSRANGE", i * slots / masters, (i+1)*slots/masters - 1}
			c.Do(addr, "CLUSTER", ranges...)
		}
	}
	for i, addr := range c.Addrs[masters:] {
		id := c.ID(c.Addrs[i])
		Until(c.tb, "the nodes to meet", func() bool {
			return strings.Contains(c.text(addr, "CLUSTER", "NODES"), id) && c.try(addr, "CLUSTER", "REPLICATE", id)
		})
	}
	c.Ready()
	return c
}

// Ready waits until all nodes that run agree that every slot has a master, and each master
// that has slots has as many replicas as there are, up to one, connected.
func (c *Cluster) Ready() {
	c.tb.Helper()
	Until(c.tb, "the cluster", func() bool {
		for addr, s := range c.nodes {
			if s.cmd == nil {
				continue
			}
			if !strings.Contains(c.text(addr, "CLUSTER", "INFO"), "cluster_state:ok") ||
				!strings.Contains(c.text(addr, "CLUSTER", "INFO"), fmt.Sprintf("cluster_known_nodes:%d", len(c.Addrs))) {
				return false
			}
			info := c.text(addr, "INFO", "replication")
			if strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up") {
				return false
			}
		}
		return true
	})
}

// Node returns the server with an address.
func (c *Cluster) Node(addr string) *Server { return c.nodes[addr] }

// ID returns the id of a node.
func (c *Cluster) ID(addr string) string { return c.text(addr, "CLUSTER", "MYID") }

// IsMaster reports whether a node is a master now.
func (c *Cluster) IsMaster(addr string) bool {
	return strings.Contains(c.text(addr, "INFO", "replication"), "role:master")
}

// Promoted returns once a node is a master.
func (c *Cluster) Promoted(addr string) {
	c.tb.Helper()
	Until(c.tb, "the promotion of "+addr, func() bool { return c.IsMaster(addr) })
}

// Masters returns the addresses of the masters that run now.
func (c *Cluster) Masters() (addrs []string) {
	for _, addr := range c.Addrs {
		if c.nodes[addr].cmd != nil && c.IsMaster(addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// Replica returns the address of a replica of a master.
func (c *Cluster) Replica(master string) string {
	_, port, _ := net.SplitHostPort(master)
	for _, addr := range c.Addrs {
		if info := c.text(addr, "INFO", "replication"); strings.Contains(info, "master_port:"+port+"\r\n") {
			return addr
		}
	}
	c.tb.Fatalf("testserver: %s has no replica", master)
	return ""
}

// Failover makes a replica the master without loss, as for maintenance, and returns when
// it is.
func (c *Cluster) Failover(replica string) {
	c.tb.Helper()
	c.Do(replica, "CLUSTER", "FAILOVER")
	Until(c.tb, "the failover", func() bool { return c.IsMaster(replica) })
}

// Slot returns the slot of a key.
func (c *Cluster) Slot(key string) int {
	n, err := redis.Int(c.Do(c.Addrs[0], "CLUSTER", "KEYSLOT", key), nil)
	check(c.tb, err)
	return n
}

// Open begins to move a slot from one master to another.
func (c *Cluster) Open(slot int, from, to string) {
	c.tb.Helper()
	c.Do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", c.ID(from))
	c.Do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", c.ID(to))
}

// Move moves the keys of a slot that Open has opened, up to some number, and returns how
// many it has moved.
func (c *Cluster) Move(slot int, from, to string, most int) int {
	c.tb.Helper()
	keys, err := redis.Strings(c.Do(from, "CLUSTER", "GETKEYSINSLOT", slot, most), nil)
	check(c.tb, err)
	if len(keys) == 0 {
		return 0
	}
	host, port, _ := net.SplitHostPort(to)
	args := redis.Args{host, port, "", 0, 5000, "KEYS"}.AddFlat(keys)
	c.Do(from, "MIGRATE", args...)
	return len(keys)
}

// Done ends the move of a slot whose keys have been moved.
func (c *Cluster) Done(slot int, from, to string) {
	c.tb.Helper()
	id := c.ID(to)
	for _, addr := range append([]string{to, from}, c.Masters()...) {
		c.Do(addr, "CLUSTER", "SETSLOT", slot, "NODE", id)
	}
}

// Do runs a command on a node.
func (c *Cluster) Do(addr, cmd string, args ...any) any {
	c.tb.Helper()
	reply, err := c.do(addr, cmd, args...)
	if err != nil {
		c.tb.Fatalf("testserver: %s on %s: %v", cmd, addr, err)
	}
	return reply
}

func (c *Cluster) do(addr, cmd string, args ...any) (any, error) {
	conn, err := redis.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Do(cmd, args...)
}

func (c *Cluster) try(addr, cmd string, args ...any) bool {
	_, err := c.do(addr, cmd, args...)
	return err == nil
}

// text is "" if the node does not run.
func (c *Cluster) text(addr, cmd string, args ...any) string {
	text, _ := redis.String(c.do(addr, cmd, args...))
	return text
}

// arg returns the value of an argument that the server was started with.
func (s *Server) arg(name string) string {
	for i, a := range s.args {
		if a == name {
			return s.args[i+1]
		}
	}
	return ""
}

// Pause stops the server from answering, as if the network to it were cut, until Resume.
func (s *Server) Pause() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (s *Server) Resume() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }
