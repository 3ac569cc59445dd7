package redis

import (
	"errors"
	"fmt"
	"strings"

	redigo "github.com/gomodule/redigo/redis"
)

// replied reports whether err is an error reply with that code.
func replied(err error, code string) bool {
	var reply redigo.Error
	if !errors.As(err, &reply) {
		return false
	}
	// Redis 6.2 puts the code of an error in a script after other text.
	text := string(reply)
	return strings.HasPrefix(text, code+" ") || strings.HasPrefix(text, "ERR Error running script") && strings.Contains(text, "-"+code+" ")
}

// meanings are the error replies that say something about the server, rather than about
// the command. The command has not run.
var meanings = []struct {
	code, why string
	passing   bool // Open waits until it is over
	moved     bool // another node of the cluster may serve the key
}{
	{code: "LOADING", why: "the server is still reading its data from disk", passing: true},
	{code: "BUSY", why: "a script or a module keeps the server from answering", passing: true},
	{code: "CLUSTERDOWN", why: "the cluster has no master for some of the keys", passing: true, moved: true},
	{code: "MASTERDOWN", why: "the server is a replica that has lost its master", moved: true},
	{code: "READONLY", why: "the server is a replica, which takes no writes; give the address of its master, or that of the Sentinels or of the cluster with the mode", moved: true},
	{code: "NOREPLICAS", why: "fewer replicas are connected than the server's min-replicas-to-write", passing: true},
	{code: "TRYAGAIN", why: "the keys are being moved to another node of the cluster"},
	{code: "OOM", why: "the server has reached its maxmemory, and evicts too little"},
	{code: "MISCONF", why: "the server can't write to its disk, and so takes no writes"},
	{code: "ASK", why: "the key is being moved to another node of the cluster"},
	{code: "MOVED", why: "the server is a node of a cluster; give Options.Mode cluster, in a file store.mode"},
	{code: "CROSSSLOT", why: "the keys are on different nodes of a cluster"},
	{code: "NOAUTH", why: "the server wants a password"},
	{code: "WRONGPASS", why: "the server knows no such user with this password"},
	{code: "NOPERM", why: "the user lacks a permission"},
	{code: "WRONGTYPE", why: "the key holds something else than a record"},
}

// failed adds the operation's name to err, and returns nil for nil.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	if replied(err, "MOVED") || replied(err, "ASK") {
		err = scrub(err)
	}
	return fmt.Errorf("redis: %s: %w", op, err)
}

// scrub returns an error reply without what may be a session id, a record or the name of
// a key. A server quotes what it was sent, such as the arguments of a command that it
// doesn't know; the slot of a key is part of its hash.
func scrub(err error) error {
	var reply redigo.Error
	if !errors.As(err, &reply) {
		return err
	}
	said := string(reply)
	text := said
	// All that a server quotes is cut off, up to the end, as what it quotes may have
	// quotes itself.
	if i := strings.IndexAny(text, "'\"`"); i >= 0 {
		text = strings.TrimRight(text[:i], " ") + " …"
	}
	if strings.HasPrefix(said, "ERR unknown command") {
		text = "ERR unknown command"
		if name := quoted(said); known(name) { // else it is not what this package has sent
			text += " '" + name + "'"
		}
		return redigo.Error(text + " (Redis 6.2 or later, or Valkey, is required)")
	}
	for _, m := range meanings {
		if replied(err, m.code) {
			return redigo.Error(m.code + " (" + m.why + ")")
		}
	}
	if strings.HasPrefix(said, "ERR Error running script") {
		text = "ERR Error running script"
	}
	return redigo.Error(text)
}

// quoted returns what stands in the first quotes of a text.
func quoted(text string) string {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == '\'' || r == '`' })
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

// known reports whether a name is that of a command that this package sends.
func known(name string) bool {
	for _, c := range needed {
		if strings.EqualFold(c.name, name) {
			return true
		}
	}
	return strings.EqualFold(name, "SENTINEL") || strings.EqualFold(name, "CLUSTER") || strings.EqualFold(name, "WAIT")
}

// passing reports whether an error reply will be over without anybody changing a setting.
func passing(err error) bool {
	for _, m := range meanings {
		if m.passing && replied(err, m.code) {
			return true
		}
	}
	return false
}
