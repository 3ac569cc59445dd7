package frameworks

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/samesid/samesid/tests/frameworks/visits"
)

// visitsServer is the gRPC server in the gateway's own process.
type visitsServer struct {
	visits.UnimplementedVisitsServer
	*deps
}

func (s *visitsServer) Visit(ctx context.Context, _ *emptypb.Empty) (*wrapperspb.Int64Value, error) {
	return wrapperspb.Int64(int64(s.visit(ctx))), nil // the session is in its context
}

func (s *visitsServer) Panic(ctx context.Context, _ *emptypb.Empty) (*wrapperspb.Int64Value, error) {
	s.visit(ctx)
	panic("a mistake")
}

func (s *visitsServer) Fail(ctx context.Context, _ *emptypb.Empty) (*wrapperspb.Int64Value, error) {
	s.visit(ctx)
	return nil, status.Error(codes.AlreadyExists, "in conflict")
}

func newGateway(d *deps) http.Handler {
	sessions, users := d.sessions, d.users
	ctx, server := context.Background(), &visitsServer{deps: d}

	gateway := runtime.NewServeMux()
	err := visits.RegisterVisitsHandlerServer(ctx, gateway, server)
	mux := http.NewServeMux()
	mux.Handle("/", gateway)
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	handler := sessions.LoadAndSave(mux)

	if err != nil {
		panic(err)
	}
	mux.Handle("GET /protected", users.Restricted(http.HandlerFunc(d.protected)))
	return chimiddleware.Recoverer(handler)
}

// remoteServer is a gRPC server in another process: it has metadata, and no session.
type remoteServer struct {
	visits.UnimplementedVisitsServer
	seen chan metadata.MD
}

func (s *remoteServer) Account(ctx context.Context, _ *emptypb.Empty) (*wrapperspb.Int64Value, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.seen <- md
	id := md.Get("user-id")
	if len(id) != 1 {
		return nil, status.Error(codes.Unauthenticated, "nobody is signed in")
	}
	n, err := strconv.ParseInt(id[0], 10, 64)
	return wrapperspb.Int64(n), err
}

func newRemoteGateway(d *deps, conn *grpc.ClientConn) http.Handler {
	sessions, users := d.sessions, d.users
	ctx := context.Background()

	gateway := runtime.NewServeMux(
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithMetadata(func(ctx context.Context, _ *http.Request) metadata.MD {
			u, err := users.User(ctx)
			if err != nil {
				return nil
			}
			return metadata.Pairs("user-id", strconv.Itoa(u.ID))
		}))
	err := visits.RegisterVisitsHandler(ctx, gateway, conn)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", gateway)
	mux.Handle("POST /login", users.Login())
	return sessions.LoadAndSave(mux)
}

// serveRemote runs a gRPC server, and returns a connection to it.
func serveRemote(t *testing.T) (*grpc.ClientConn, *remoteServer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	remote := &remoteServer{seen: make(chan metadata.MD, 1)}
	srv := grpc.NewServer()
	visits.RegisterVisitsServer(srv, remote)
	ended := make(chan error)
	go func() { ended <- srv.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return conn, remote
}

// send sends a request as it is.
func (b *browser) send(r *http.Request) (status int, text string) {
	b.t.Helper()
	status, _, text = b.answer(r)
	return status, text
}

// A gRPC server elsewhere learns from the gateway who is signed in, and neither the cookie
// nor a user that the client has made up.
func TestGatewayMetadata(t *testing.T) {
	conn, remote := serveRemote(t)
	d, _ := newDeps(t)
	b := browse(t, newRemoteGateway(d, conn))
	forge := func() (int, string) {
		r, err := http.NewRequest("GET", b.url+"/account", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Grpc-Metadata-User-Id", "1")
		return b.send(r)
	}
	if status, body := forge(); status != 401 {
		t.Errorf("nobody is signed in: %d %s", status, body)
	}
	<-remote.seen
	b.do("POST", "/login", `{"username":"ann","password":"correct"}`)
	if status, body := forge(); status != 200 || !strings.Contains(body, "7") {
		t.Errorf("signed in: %d %s", status, body)
	}
	for key := range <-remote.seen {
		if strings.Contains(key, "cookie") {
			t.Errorf("the server got %s", key)
		}
	}
}

// What the gateway's own matchers of headers let through: the cookie, and, in the one that older
// releases have, a user that a client has made up.
func TestGatewayHeaders(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []runtime.ServeMuxOption
		forged  int
	}{
		{"by itself", nil, 0},
		{"as older releases", []runtime.ServeMuxOption{runtime.WithIncomingHeaderMatcher(runtime.LegacyHeaderMatcher)}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, remote := serveRemote(t)
			gateway := runtime.NewServeMux(c.options...)
			if err := visits.RegisterVisitsHandler(t.Context(), gateway, conn); err != nil {
				t.Fatal(err)
			}
			b := browse(t, gateway)
			r, err := http.NewRequest("GET", b.url+"/account", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Grpc-Metadata-User-Id", "1")
			r.Header.Set("Cookie", "a=b")
			b.send(r)
			md := <-remote.seen
			if got := len(md.Get("user-id")); got != c.forged {
				t.Errorf("the server got %d users", got)
			}
			if got := len(md.Get("grpcgateway-cookie")); got != 1 {
				t.Errorf("the server got %d cookies", got)
			}
		})
	}
}
