package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"holdfast/internal/clock"
	"holdfast/internal/vfs"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/consensus"
	trackerremote "holdfast/tracker/remote"
	"holdfast/tracker/service"
)

// TestInspectTracker looks at a catalog that no object was ever put into, and
// at one that was started again after a change.
func TestInspectTracker(t *testing.T) {
	t.Parallel()
	cfg := TrackerConfig{Common: Common{Access: Access{ID: "c"}, FS: vfs.NewMem(), Clock: clock.System{}, Log: zerolog.Nop()}, Dir: "/t1", ID: "t1", Advertise: "t1:9100"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nobody := func(context.Context, string) (net.Conn, error) { return nil, errors.New("there are no others") }
	run := func(do func(*service.Catalog) error) {
		t.Helper()
		peers := trackerremote.NewPeers(nobody)
		defer peers.Close()
		r, err := consensus.OpenReplica(ctx, consensus.ReplicaConfig{Voter: consensus.Voter{ID: cfg.ID, FS: cfg.FS, Dir: cfg.Dir}, ClusterID: "c",
			Advertise: cfg.Advertise, Members: []consensus.Member{{ID: cfg.ID, Addr: cfg.Advertise}}, Bootstrap: true, BallastBytes: -1,
			Listener: newDeafListener(), Dial: nobody, Peer: peers.Peer, Machine: catalog.NewMachine(), Logger: cfg.Log, Clock: cfg.Clock})
		if err != nil {
			t.Fatal(err)
		}
		for _, leads := r.LeaderEpoch(); !leads; _, leads = r.LeaderEpoch() {
			if err := pause(ctx, cfg.Clock, time.Millisecond); err != nil {
				t.Fatal("it does not lead:", err)
			}
		}
		if err := errors.Join(do(service.NewReplicated(r, cfg.Clock)), r.Close()); err != nil {
			t.Fatal(err)
		}
	}
	inspect := func() (*TrackerCopy, string) {
		t.Helper()
		c, err := InspectTracker(cfg)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return c, string(b)
	}

	run(func(c *service.Catalog) error { return c.SetIdentity(ctx, "c", "one") })
	if c, text := inspect(); !c.LastChange.IsZero() || strings.Contains(text, "LastChange") || c.Tracker != "t1" || c.Term == 0 || c.Index == 0 {
		t.Fatalf("a new catalog: %s", text)
	}
	before := time.Now().Add(-time.Second)
	run(func(c *service.Catalog) error {
		_, err := c.CreateBucket(ctx, &tracker.CreateBucket{Name: "bucket", Owner: "root"})
		return err
	})
	// However often it is started again.
	for range 3 {
		run(func(*service.Catalog) error { return nil })
		c, text := inspect()
		if c.LastChange.Before(before) || c.LastChange.After(time.Now().Add(time.Second)) || c.Incarnation != "one" {
			t.Fatalf("a catalog with a change at %v: %s", before, text)
		}
	}
}
