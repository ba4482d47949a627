package remote

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/internal/fault"
	"holdfast/internal/rpc"
	"holdfast/storage"
	"holdfast/tracker"
)

// Tracker is what Services serves.
type Tracker interface {
	tracker.Catalog
	tracker.Scheduler
	tracker.Administration
}

// ServerConfig says what is served.
type ServerConfig struct {
	// Tracker answers tracker.ErrNotLeader at once where it does not lead.
	Tracker Tracker
	// Leader returns the address of the tracker that leads, "" if that is not
	// known.
	Leader func() string
	// Reads is told by which gateway an object has been read for how long, 0
	// for none; it may be nil.
	Reads func(gateway [16]byte, oldest time.Duration)
	// Held is asked before every call of the catalog and for every place: its
	// error is the answer. It may be nil.
	Held  func(ctx context.Context) error
	Clock clock.Clock
	Log   zerolog.Logger
}

// server answers calls by a tracker of this process.
type server struct {
	ServerConfig
	t    Tracker
	boot [16]byte
	held func(ctx context.Context) error
}

// Services serves a tracker.
func Services(cfg ServerConfig) []*rpc.Service {
	s := &server{ServerConfig: cfg, t: cfg.Tracker, held: free}
	_, _ = rand.Read(s.boot[:])
	return []*rpc.Service{s.ofClients().catalog(cfg.Log), s.scheduler(cfg.Log), s.administration(cfg.Log)}
}

// told adds the leader's address to an error that says somebody else leads.
func (s *server) told(err error) error {
	if fault.KindOf(err) == fault.NotLeader {
		return &notLeader{s.Leader()}
	}
	return err
}

// ofClients is s for what clients of S3 ask: nothing while the catalog is held.
func (s *server) ofClients() *server {
	c := *s
	if c.held = s.Held; c.held == nil {
		c.held = free
	}
	return &c
}

func free(context.Context) error { return nil }

// ask serves a call that changes nothing.
func ask[Req, Resp any](s *server, to *rpc.Service, method string, f func(context.Context, *Req) (*Resp, error)) {
	rpc.Handle(to, method, func(ctx context.Context, r *Req) (*Resp, error) {
		if err := s.held(ctx); err != nil {
			return nil, s.told(err)
		}
		out, err := f(ctx, r)
		return out, s.told(err)
	})
}

// change serves a mutation: its NotAfter comes as the milliseconds left.
func change[Req, Resp any, P mutating[Req]](s *server, to *rpc.Service, method string, f func(context.Context, P) (*Resp, error)) {
	rpc.Handle(to, method, func(ctx context.Context, r *Req) (*Resp, error) {
		if err := s.held(ctx); err != nil {
			return nil, s.told(err)
		}
		m := P(r).Stamp()
		m.NotAfter += s.Clock.Now().UnixMilli()
		out, err := f(ctx, P(r))
		return out, s.told(err)
	})
}

// only makes a mutation without an answer one with an empty answer.
func only[P any](f func(context.Context, P) error) func(context.Context, P) (*none, error) {
	return func(ctx context.Context, r P) (*none, error) { return &none{}, f(ctx, r) }
}

func (s *server) catalog(log zerolog.Logger) *rpc.Service {
	to, t := rpc.NewService(catalogService, log), s.t
	change(s, to, "CreateBucket", t.CreateBucket)
	change(s, to, "DeleteBucket", only(t.DeleteBucket))
	ask(s, to, "Bucket", func(ctx context.Context, r *nameRequest) (*tracker.Bucket, error) { return t.Bucket(ctx, r.Name) })
	ask(s, to, "ListBuckets", t.ListBuckets)
	change(s, to, "SetVersioning", only(t.SetVersioning))
	ask(s, to, "Usage", func(ctx context.Context, r *usageRequest) (*tracker.Usage, error) {
		u, err := t.Usage(ctx, r.Bucket)
		return &u, err
	})
	s.objects(to)
	s.uploads(to)
	return to
}

func (s *server) objects(to *rpc.Service) {
	t := s.t
	change(s, to, "PutObject", t.PutObject)
	ask(s, to, "GetObject", t.GetObject)
	change(s, to, "SetTags", func(ctx context.Context, r *tracker.SetTags) (*tagsAnswer, error) {
		v, err := t.SetTags(ctx, r)
		return &tagsAnswer{v}, err
	})
	ask(s, to, "Extents", func(ctx context.Context, r *extentsRequest) (*extentsAnswer, error) {
		e, err := t.Extents(ctx, r.Ref, r.Offset, r.Max)
		return &extentsAnswer{e}, err
	})
	ask(s, to, "Parts", func(ctx context.Context, r *partsRequest) (*partsAnswer, error) {
		p, err := t.Parts(ctx, r.Ref, r.After, r.Max)
		return &partsAnswer{p}, err
	})
	change(s, to, "DeleteObject", t.DeleteObject)
	change(s, to, "DeleteObjects", func(ctx context.Context, r *tracker.DeleteObjects) (*deleted, error) {
		res, err := t.DeleteObjects(ctx, r)
		out := &deleted{Results: res, Faults: make([]rpc.Fault, len(res))}
		for i := range res {
			out.Faults[i] = rpc.FaultOf(s.told(res[i].Err))
			res[i].Err = nil
		}
		return out, err
	})
	ask(s, to, "ListObjects", t.ListObjects)
	ask(s, to, "ListVersions", t.ListVersions)
}

func (s *server) uploads(to *rpc.Service) {
	t := s.t
	change(s, to, "CreateUpload", t.CreateUpload)
	ask(s, to, "GetUpload", func(ctx context.Context, r *tracker.UploadRef) (*tracker.Upload, error) { return t.GetUpload(ctx, *r) })
	change(s, to, "PutPart", only(t.PutPart))
	change(s, to, "CompleteUpload", t.CompleteUpload)
	change(s, to, "AbortUpload", only(t.AbortUpload))
	ask(s, to, "ListParts", func(ctx context.Context, r *listPartsRequest) (*tracker.PartPage, error) {
		return t.ListParts(ctx, r.Upload, r.After, r.Max)
	})
	ask(s, to, "ListUploads", t.ListUploads)
}

func (s *server) scheduler(log zerolog.Logger) *rpc.Service {
	to, t := rpc.NewService(schedulerService, log), s.t
	ask(s.ofClients(), to, "Place", t.Place)
	ask(s, to, "Renew", func(ctx context.Context, r *storage.Ticket) (*storage.Ticket, error) { return t.Renew(ctx, r) })
	ask(s, to, "Map", func(ctx context.Context, r *mapRequest) (*mapAnswer, error) {
		m, err := t.Map(ctx)
		if err != nil {
			return nil, err
		}
		if s.Reads != nil && r.Reader != ([16]byte{}) {
			s.Reads(r.Reader, time.Duration(r.ReadAge)*time.Millisecond)
		}
		out := &mapAnswer{Boot: s.boot}
		if r.Boot != s.boot || r.Version != m.Version {
			out.Map = m
		}
		return out, nil
	})
	ask(s, to, "ReportDamage", func(ctx context.Context, r *damageRequest) (*none, error) {
		return &none{}, t.ReportDamage(ctx, r.Damage)
	})
	return to
}

func (s *server) administration(log zerolog.Logger) *rpc.Service {
	to, t := rpc.NewService(adminService, log), s.t
	ask(s, to, "RegisterGroup", func(ctx context.Context, r *tracker.Group) (*tracker.Group, error) {
		g, err := t.RegisterGroup(ctx, *r)
		return &g, err
	})
	ask(s, to, "RegisterNode", func(ctx context.Context, r *tracker.Node) (*tracker.Node, error) {
		n, err := t.RegisterNode(ctx, *r)
		return &n, err
	})
	ask(s, to, "SetNodeState", func(ctx context.Context, r *stateRequest) (*none, error) {
		return &none{}, t.SetNodeState(ctx, r.Node, r.State)
	})
	ask(s, to, "SetNodeRole", func(ctx context.Context, r *roleRequest) (*tracker.Node, error) {
		n, err := t.SetNodeRole(ctx, r.Node, r.Role, r.Force)
		return &n, err
	})
	ask(s, to, "Policies", func(ctx context.Context, _ *none) (*policiesAnswer, error) {
		p, err := t.Policies(ctx)
		return &policiesAnswer{p}, err
	})
	ask(s, to, "SetPolicy", func(ctx context.Context, r *tracker.SetPolicy) (*tracker.Policy, error) {
		p, err := t.SetPolicy(ctx, r)
		return &p, err
	})
	ask(s, to, "Beat", t.Beat)
	ask(s, to, "Status", func(ctx context.Context, _ *none) (*tracker.Status, error) { return t.Status(ctx) })
	ask(s, to, "Repair", func(ctx context.Context, _ *none) (*tracker.Repair, error) { return t.Repair(ctx) })
	ask(s, to, "Fsck", func(ctx context.Context, r *fsckRequest) (*tracker.Fsck, error) { return t.Fsck(ctx, r.Adopt) })
	ask(s, to, "RemoveTracker", func(ctx context.Context, r *nameRequest) (*none, error) {
		return &none{}, t.RemoveTracker(ctx, r.Name)
	})
	ask(s, to, "AcceptClock", func(ctx context.Context, _ *none) (*none, error) { return &none{}, t.AcceptClock(ctx) })
	return to
}
