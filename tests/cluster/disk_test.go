package cluster

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"holdfast/cmd/cluster"
	"holdfast/tests/harness"
)

// rolesLoad is a load through the gateways of roles.
func rolesLoad(t *testing.T, r *harness.Roles, clients int, classes ...string) *load {
	t.Helper()
	var raws []*harness.Raw
	for _, g := range r.Gateways {
		raws = append(raws, g.Raw())
	}
	return loadAt(t, raws, clients, classes...)
}

// rolesCensus is census of roles.
func rolesCensus(t *testing.T, r *harness.Roles, bucket string) {
	t.Helper()
	var disks []disk
	for _, p := range r.Storage {
		disks = append(disks, disk{p.Dir, p.Stop, p.Start})
	}
	censusOf(t, r.Gateways[0].Raw(), disks, bucket)
}

// TestSickDisk gives one node of a group of copies, and one of a group of
// Reed-Solomon shards, a disk that takes 300 ms for each write and sync, and
// then one that hangs, for writes and for all, under load: no acknowledged
// write is lost, no byte is wrong, and no request fails for good. Once the
// disk is well the node goes on without a restart and lacks nothing.
func TestSickDisk(t *testing.T) {
	lengthy(t)
	disks := map[string]*harness.SickDisk{"fast1": {}, "bulk1": {}}
	r := harness.StartRoles(t, harness.RolesOptions{Gateways: 2,
		Groups: []harness.GroupSpec{{Name: "fast", Scheme: "rep-3", Nodes: 3}, {Name: "bulk", Scheme: "rs-2+2", Class: "STANDARD_IA", Nodes: 5}},
		Common: func(name string, c *cluster.Common) {
			if d := disks[name]; d != nil {
				c.FS = d.FS()
			}
		}})
	// Before the roles are stopped, which a disk that hangs would keep from it.
	t.Cleanup(func() {
		for _, d := range disks {
			d.Heal()
		}
	})
	l := rolesLoad(t, r, 6, "STANDARD", "STANDARD_IA")
	n := scaled(150)
	l.enter("control")
	l.wait(n)
	for _, f := range []struct {
		name, node string
		do         func(d *harness.SickDisk)
	}{
		{"slow disk of rep-3", "fast1", func(d *harness.SickDisk) { d.Slow(300 * time.Millisecond) }},
		{"disk of rep-3 hangs for writes", "fast1", func(d *harness.SickDisk) { d.Hang(false) }},
		{"disk of rep-3 hangs", "fast1", func(d *harness.SickDisk) { d.Hang(true) }},
		{"slow disk of rs-2+2", "bulk1", func(d *harness.SickDisk) { d.Slow(300 * time.Millisecond) }},
		{"disk of rs-2+2 hangs for writes", "bulk1", func(d *harness.SickDisk) { d.Hang(false) }},
		{"disk of rs-2+2 hangs", "bulk1", func(d *harness.SickDisk) { d.Hang(true) }},
	} {
		l.enter(f.name)
		f.do(disks[f.node])
		l.wait(n)
		disks[f.node].Heal()
		l.enter("after: " + f.name)
		l.wait(n / 3)
	}
	l.end()
	convergedBy(t, r.Status, len(r.Trackers))
	rolesCensus(t, r, "load")
}

// TestRepairPassesOverAHangingDisk: a node hangs and tells of itself all the
// same. What could not be written to it is made elsewhere while it hangs.
func TestRepairPassesOverAHangingDisk(t *testing.T) {
	lengthy(t)
	sick := &harness.SickDisk{}
	r := harness.StartRoles(t, harness.RolesOptions{
		Groups: []harness.GroupSpec{{Name: "default", Scheme: "rs-2+2", Nodes: 5}},
		Common: func(name string, c *cluster.Common) {
			if name == "default1" {
				c.FS = sick.FS()
			}
		},
		Tracker: func(_ string, c *cluster.TrackerConfig) { c.Tune.HoleDelay = time.Second },
	})
	t.Cleanup(sick.Heal)
	raw := r.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	sick.Hang(true)
	for i := range 40 {
		key := fmt.Sprint(i)
		raw.Must(t, http.StatusOK, "PUT", harness.Path("bucket", key), "", body(key, 100_000+i*50_000))
	}
	// The holes are known: the tracker was told with the commits.
	harness.Until(t, 2*time.Minute, "what the disk did not take is made elsewhere", func() bool {
		st, err := r.Status()
		return err == nil && st.BlobsBelow == 0 && st.Queues["repair"].Length == 0
	})
	sick.Heal()
	convergedBy(t, r.Status, len(r.Trackers))
	rolesCensus(t, r, "bucket")
}
