//go:build unix

package testserver

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Server is a server that one test or program owns. When the test ends, the server is
// stopped and its folder is removed. Its methods are not safe for concurrent use.
type Server struct {
	URL    string // for a client on TCP
	Addr   string // host:port of URL; a restart keeps it
	Socket string // path of its unix socket
	Dir    string // its temporary folder; a restart keeps the data

	tb    testing.TB
	name  string
	ready func(socket string) error
	path  string
	args  []string
	cred  *syscall.Credential
	stop  syscall.Signal
	kill  syscall.Signal
	cmd   *exec.Cmd

	// The watchdog stops the server when this pipe closes: when this process ends,
	// or when an unreachable Server is garbage-collected.
	leash    io.Closer
	watchdog *exec.Cmd
}

// startTimeout is long enough for a machine that is busy with other tests.
const startTimeout = time.Minute

// PID returns the id of the server's process. Postgres has children beside it.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// makeDir creates the server's folder and a watchdog: a process that stops the server
// and removes the folder once this process has ended, even if it was killed. It reads
// from a pipe that closes when this process ends.
func (s *Server) makeDir() error {
	dir, err := os.MkdirTemp("", "samesid-"+s.name+"-")
	if err != nil {
		return err
	}
	const script = `read _
pid=$(cat "$1/pid") && kill -"$2" "$pid"
for i in 0 1 2 3 4 5 6 7 8 9; do kill -0 "$pid" && sleep 0.2 || break; done
kill -KILL "$pid"
rm -rf "$1"`
	w := exec.Command("/bin/sh", "-c", script, "sh", dir, strconv.Itoa(int(s.kill)))
	// A separate process group keeps a terminal's Ctrl-C from the watchdog.
	w.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := w.StdinPipe()
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return err
	}
	s.Dir, s.leash, s.watchdog = dir, leash, w
	return nil
}

// Close stops the server and its watchdog, which then removes the folder.
func (s *Server) Close() {
	s.Stop()
	if s.watchdog != nil {
		s.leash.Close()
		_ = s.watchdog.Wait()
	}
}

// start runs the server and returns once it answers on its socket. Then the TCP port is
// its own too: both servers bind it first, and exit if they can't.
func (s *Server) start() error {
	log, err := os.Create(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.path, s.args...)
	s.cmd.Dir = s.Dir
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.cred}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("testserver: %s: %w", s.name, err)
	}
	pid := s.cmd.Process.Pid
	if err := os.WriteFile(filepath.Join(s.Dir, "pid"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		return err
	}

	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(startTimeout)
	for {
		err := s.ready(s.Socket)
		if err == nil {
			return nil
		}
		// This polls instead of waiting in a goroutine, which a test for leaked
		// goroutines would find.
		if gone, _ := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); gone == pid {
			s.cmd = nil
			return fmt.Errorf("testserver: %s ended at its start:\n%s", s.name, s.Log())
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.signal(syscall.SIGKILL)
			return fmt.Errorf("testserver: %s does not answer after %v: %w\n%s", s.name, startTimeout, err, s.Log())
		}
	}
}

// signal stops the server and waits until it has exited.
func (s *Server) signal(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	// An error means that the server has already exited.
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Wait()
	s.cmd = nil
	os.Remove(filepath.Join(s.Dir, "pid"))
}

// Start starts the server again after Stop or Kill, on the same address and
// with the same folder.
func (s *Server) Start() {
	s.tb.Helper()
	if s.cmd != nil {
		s.tb.Fatalf("testserver: %s is running", s.name)
	}
	if err := s.start(); err != nil {
		s.tb.Fatal(err)
	}
}

// Stop shuts the server down gracefully and returns when it has exited. It does not wait
// for clients.
func (s *Server) Stop() { s.signal(s.stop) }

// Kill stops the server at once and returns when it has exited. As in a crash, the
// server writes nothing more.
func (s *Server) Kill() { s.signal(s.kill) }

// Log returns what the server has logged since it was last started.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// own makes the test the owner of the server.
func (s *Server) own(tb testing.TB) *Server {
	s.tb = tb
	tb.Cleanup(s.Close)
	return s
}

// launch starts a server on a free port. It tries another if the port is taken
// meanwhile.
func launch(start func(port int) (*Server, error)) (*Server, error) {
	var errs error
	for range 3 {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s, err := start(port)
		if err == nil {
			return s, nil
		}
		s.Close()
		errs = errors.Join(errs, err)
	}
	return nil, errs
}

// freePort returns a port at which nobody listens. It is none that the system gives to
// outgoing connections, as one of those could take the port while a server is restarted.
func freePort() (int, error) {
	var errs error
	for range 20 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10240+rand.IntN(32768-10240)))
		if err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port, nil
		}
		errs = errors.Join(errs, err)
	}
	return 0, errs
}

// FreeAddr returns an address at which nobody listens, for a server that a test will stop
// and start again at the same one.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", port)
}
