//go:build unix

package testserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Server is a server that one test owns. It is stopped, and its folder removed,
// when the test ends. Its methods are not safe for concurrent use.
type Server struct {
	URL    string // for a client on TCP
	Addr   string // host:port of URL; the same after a restart
	Socket string // path of its unix socket
	Dir    string // its temporary folder; the data outlives a restart

	tb    testing.TB
	name  string
	ready func(socket string) error
	path  string
	args  []string
	cred  *syscall.Credential
	stop  syscall.Signal
	kill  syscall.Signal
	cmd   *exec.Cmd

	// The watchdog ends the server when this pipe closes: with this process, or
	// with the garbage collection of a Server that nobody holds any more.
	leash    io.Closer
	watchdog *exec.Cmd
}

// startTimeout is long enough for a machine that is busy with other tests.
const startTimeout = time.Minute

// makeDir makes the server's folder, together with a watchdog: a process that
// ends the server and removes the folder once this process is gone, however it
// went. It waits for the end of a pipe whose other end closes with us.
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
	// A group of its own: a Ctrl-C in the terminal is not for the watchdog.
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

// remove ends the server and its watchdog, and with that goes the folder.
func (s *Server) remove() {
	s.Stop()
	if s.watchdog != nil {
		s.leash.Close()
		_ = s.watchdog.Wait()
	}
}

// start runs the server and returns once it answers on its socket. That proves
// that the TCP port is its own too: both servers take it first, and end if they
// cannot.
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
		// Asked of the system rather than waited for in a goroutine, which a
		// test that looks for leaked goroutines would find.
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

// signal ends the server and waits until it is gone.
func (s *Server) signal(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	// A server that is gone already is what the caller wants.
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

// Stop shuts the server down in good order and returns when it has ended.
// Connected clients do not keep it.
func (s *Server) Stop() { s.signal(s.stop) }

// Kill ends the server at once and returns when it has ended. As in a crash,
// nothing is written any more.
func (s *Server) Kill() { s.signal(s.kill) }

// Log returns what the server has logged since it was last started.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// own hands the server to a test.
func (s *Server) own(tb testing.TB) *Server {
	s.tb = tb
	tb.Cleanup(s.remove)
	return s
}

// launch starts a server on a free port, and on another if somebody else takes
// that one first.
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
		s.remove()
		errs = errors.Join(errs, err)
	}
	return nil, errs
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
