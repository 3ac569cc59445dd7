//go:build unix

package testserver

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// StartNginx starts an nginx that serves HTTPS with a certificate, only for this test. conf
// is what its server block has beside that.
func StartNginx(tb testing.TB, cert tls.Certificate, conf string) *Server {
	tb.Helper()
	path, err := findProgram("nginx")
	check(tb, err)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	check(tb, err)
	s, err := launch(func(port int) (*Server, error) {
		s := &Server{name: "nginx", path: path, stop: syscall.SIGTERM, kill: syscall.SIGKILL}
		if err := s.makeDir(); err != nil {
			return s, err
		}
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		s.URL = "https://" + s.Addr
		s.ready = func(string) error {
			c, err := net.Dial("tcp", s.Addr)
			if err == nil {
				c.Close()
			}
			return err
		}
		if err := s.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))); err != nil {
			return s, err
		}
		if err := s.write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))); err != nil {
			return s, err
		}
		temp := ""
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temp += fmt.Sprintf("  %s_temp_path %s;\n", kind, filepath.Join(s.Dir, kind))
		}
		// One process, so that nothing stays when it is killed.
		err := s.write("nginx.conf", fmt.Sprintf("daemon off;\nmaster_process off;\npid %[1]s/nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\n"+
			"  access_log off;\n%[2]s  server {\n  listen %[3]s ssl;\n  ssl_certificate %[1]s/cert.pem;\n  ssl_certificate_key %[1]s/key.pem;\n%[4]s\n  }\n}\n",
			s.Dir, temp, s.Addr, conf))
		if err != nil {
			return s, err
		}
		s.args = []string{"-e", "stderr", "-p", s.Dir, "-c", filepath.Join(s.Dir, "nginx.conf")}
		return s, s.start()
	})
	check(tb, err)
	return s.own(tb)
}
