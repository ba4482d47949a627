package cluster

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/gateway"
	"holdfast/storage"
	"holdfast/tests/harness"
	"holdfast/tracker"
)

// place is a shard at its node, as the catalog has it.
type place struct {
	node  storage.NodeID
	shard string
}

// placed asks for every object of a bucket where its shards are, down to
// their generations, and fails for a blob with a hole.
func placed(t *testing.T, raw *harness.Raw, bucket string) map[place]string {
	t.Helper()
	a := raw.Must(t, http.StatusOK, "GET", "/"+bucket, harness.Query("list-type", "2"), nil)
	var page struct{ Contents []struct{ Key string } }
	if err := xml.Unmarshal(a.Body, &page); err != nil {
		t.Fatal(err)
	}
	out := map[place]string{}
	for _, k := range page.Contents {
		i := inspect(t, raw, bucket, k.Key)
		for _, e := range i.Extents {
			for _, s := range e.Shards {
				if s.Node == 0 {
					t.Errorf("%s: blob %s has a hole at %d", k.Key, e.Blob, s.Index)
					continue
				}
				out[place{s.Node, fmt.Sprintf("%s/%d.%d", e.Blob, s.Index, s.Generation)}] = k.Key
			}
		}
	}
	return out
}

// inspect asks for an object down to its shards.
func inspect(t *testing.T, raw *harness.Raw, bucket, key string) (i gateway.Inspection) {
	t.Helper()
	q, err := json.Marshal(map[string]string{"bucket": bucket, "key": key})
	if err != nil {
		t.Fatal(err)
	}
	a := raw.Must(t, http.StatusOK, "POST", "/-/admin/v1/inspect", "", q)
	if err := json.Unmarshal(a.Body, &i); err != nil {
		t.Fatal(err)
	}
	return i
}

// disk is a node's directory, and who has it open.
type disk struct {
	dir         string
	stop, start func()
}

// census stops the storage processes and finds every shard that the catalog
// names on the disk of its node, whole: it trusts no worker's word.
func census(t *testing.T, c *harness.Cluster, bucket string, gone ...*harness.Process) {
	t.Helper()
	var disks []disk
	for _, p := range c.Storage {
		if !slices.Contains(gone, p) {
			disks = append(disks, disk{p.Dir, p.Stop, p.Launch})
		}
	}
	censusOf(t, c.Gateways[0].Raw(), disks, bucket)
}

// censusOf is census of the given disks.
func censusOf(t *testing.T, raw *harness.Raw, disks []disk, bucket string) {
	t.Helper()
	want := placed(t, raw, bucket)
	all := len(want)
	unknown := 0
	for _, d := range disks {
		d.stop()
		id, shards := harness.NodeShards(t, d.dir)
		for s, err := range shards {
			at := place{id, s.String()}
			if err != nil {
				t.Errorf("shard %s on node %d: %v", s, id, err)
			}
			if _, ok := want[at]; !ok {
				unknown++
			}
			delete(want, at)
		}
		d.start()
	}
	for at, key := range want {
		t.Errorf("%s: shard %s is not on node %d", key, at.shard, at.node)
	}
	t.Logf("census: %d shards named by the catalog, %d not found; %d on disk that it does not name", all, len(want), unknown)
}

// TestRepair loses a node for good and kills the tracker that leads again and
// again while its shards are rebuilt. When repair says that it is done, a
// census of the disks finds full redundancy; the bytes went from node to node,
// and no node sent much more than the others.
func TestRepair(t *testing.T) {
	lengthy(t)
	c := harness.StartCluster(t, harness.ClusterOptions{Groups: []harness.GroupSpec{{Name: "default", Scheme: "rs-2+2", Nodes: 6}}})
	raw := c.Gateways[0].Raw()
	raw.Must(t, http.StatusOK, "PUT", "/bucket", "", nil)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 30 {
				key := fmt.Sprintf("%d/%d", w, i)
				a, err := raw.Do("PUT", harness.Path("bucket", key), "", body(key, 200_000+i*20_000))
				if err != nil || a.Status != http.StatusOK {
					t.Errorf("%s: %v %v", key, err, a)
				}
			}
		})
	}
	wg.Wait()
	lost := c.Process("default3")
	id := nodeAt(t, c, lost.Addr)
	before := traffic(t, c)
	lost.Kill()
	if err := os.RemoveAll(lost.Dir); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, time.Minute, "the node can be given up", func() bool {
		_, err := c.Gateways[0].Admin("node", "forget", id)
		return err == nil
	})
	for range 4 { // whichever step repair is at
		name := leader(t, c)
		c.Process(name).Restart()
		c.Gateways[0].Raw().Must(t, http.StatusOK, "GET", "/bucket", harness.Query("list-type", "2", "max-keys", "1"), nil)
	}
	settled(t, c)
	out, err := c.Gateways[0].Admin("repair")
	if err != nil {
		t.Fatal(err, out)
	}
	t.Logf("holdfast admin repair:\n%s", strings.TrimSpace(out))
	after := traffic(t, c)
	var sum, most uint64
	for node, sent := range after {
		d := sent - before[node]
		t.Logf("%s sent %d kB for repair", node, d>>10)
		sum, most = sum+d, max(most, d)
	}
	if mean := sum / uint64(max(len(after), 1)); most > 2*mean {
		t.Errorf("a node sent %d bytes, the mean is %d", most, mean)
	}
	census(t, c, "bucket", lost)
}

// traffic is the bytes that each live node has sent.
func traffic(t *testing.T, c *harness.Cluster) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	// The figures come with the heartbeats: wait for one of each.
	began := time.Now().UnixMilli()
	harness.Until(t, 30*time.Second, "a heartbeat of every node", func() bool {
		st, err := c.Gateways[0].Status()
		if err != nil {
			return false
		}
		for _, n := range st.Map.Nodes {
			if n.State != tracker.NodeActive {
				continue
			}
			if n.Load.At < began {
				return false
			}
			out[n.Addr] = n.Load.Sent
		}
		return true
	})
	return out
}
