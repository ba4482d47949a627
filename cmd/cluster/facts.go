package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/peer"
	"holdfast/internal/rpc"
)

const processService = "Process"

// Facts is what a process of the cluster says of itself to the others, and to
// holdfast healthcheck.
type Facts struct {
	Role   peer.Role
	Ready  bool
	Why    string // it is not ready, for people
	Level  uint64 // feature level of the catalog that it knows; 0 where it is no tracker
	Clock  int64  // ms since 1970 by its machine
	Leader bool
}

// err is why the process cannot do its work, nil if it can.
func (f *Facts) err() error {
	if f.Ready {
		return nil
	}
	return errors.New(f.Why)
}

type none struct{}

// factsService serves what f says.
func factsService(log zerolog.Logger, f func(context.Context) *Facts) *rpc.Service {
	s := rpc.NewService(processService, log)
	rpc.Handle(s, "Facts", func(ctx context.Context, _ *none) (*Facts, error) { return f(ctx), nil })
	return s
}

func askFacts(ctx context.Context, c *rpc.Client) (*Facts, error) {
	return rpc.Call[none, Facts](ctx, c, processService, "Facts", &none{})
}

// CheckHealth asks the process of a role at addr whether it can do its work.
func CheckHealth(ctx context.Context, a Access, role peer.Role, addr string) error {
	c, err := rpc.NewClient(addr, a.dial(role, peer.Control), nil)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	f, err := askFacts(ctx, c)
	if err != nil {
		return err
	}
	if !f.Ready {
		return fmt.Errorf("%s at %s is not ready: %s", role, addr, f.Why)
	}
	return nil
}

// clockTolerance is how far apart the clocks of two trackers may be and agree.
const clockTolerance = 30 * time.Second
