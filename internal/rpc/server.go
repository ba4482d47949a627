package rpc

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"sort"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"holdfast/internal/fault"
)

// Service is a named set of methods. Fill it with Handle before it is served.
type Service struct {
	name    string
	log     zerolog.Logger
	methods map[string]grpc.MethodHandler
}

// NewService returns a service without methods.
func NewService(name string, log zerolog.Logger) *Service {
	return &Service{name: name, log: log, methods: map[string]grpc.MethodHandler{}}
}

// Handle adds a method. f gets a context that ends with the caller's deadline
// or its connection; its request is its own, and its answer is not used by it
// afterwards. f may answer and fail at once. A panic of f is an internal error
// of that call alone.
func Handle[Req, Resp any](s *Service, method string, f func(context.Context, *Req) (*Resp, error)) {
	if _, ok := s.methods[method]; ok {
		panic("rpc: method " + method + " is there already")
	}
	s.methods[method] = func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		req := new(Req)
		if err := decode(req); err != nil {
			return nil, err
		}
		body, err := guarded(ctx, s, method, req, f)
		return &reply[Resp]{Body: body, Err: problemOf(err)}, nil
	}
}

var errPanic = fault.New(fault.Internal, "rpc.panic", "internal error")

func guarded[Req, Resp any](ctx context.Context, s *Service, method string, req *Req, f func(context.Context, *Req) (*Resp, error)) (body *Resp, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error().Str("method", s.name+"/"+method).Str("panic", fmt.Sprint(r)).Bytes("stack", debug.Stack()).Msg("call failed by a mistake of the program")
			body, err = nil, errPanic
		}
	}()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	return f(ctx, req)
}

// Server serves services. It is made by NewServer.
type Server struct{ g *grpc.Server }

// maxStreams bounds the calls in flight on one connection.
const maxStreams = 1024

// NewServer returns a server of some services.
func NewServer(services ...*Service) (*Server, error) {
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	g := grpc.NewServer(
		grpc.NumStreamWorkers(uint32(2*runtime.GOMAXPROCS(0))),
		grpc.ForceServerCodec(c), grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage), grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 2 * time.Second, PermitWithoutStream: true}),
	)
	for _, s := range services {
		d := &grpc.ServiceDesc{ServiceName: "holdfast." + s.name, HandlerType: (*any)(nil)}
		for m, h := range s.methods {
			d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: m, Handler: h})
		}
		sort.Slice(d.Methods, func(i, j int) bool { return d.Methods[i].MethodName < d.Methods[j].MethodName })
		g.RegisterService(d, s)
	}
	return &Server{g}, nil
}

// Serve takes connections of l until Close; their peers are known already.
func (s *Server) Serve(l net.Listener) error { return s.g.Serve(l) }

// Close stops taking calls and waits for those in flight, at most for grace;
// what runs still is then cut off.
func (s *Server) Close(grace time.Duration) {
	t := time.AfterFunc(grace, s.g.Stop)
	defer t.Stop()
	s.g.GracefulStop()
}
