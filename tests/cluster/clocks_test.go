package cluster

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/cmd/cluster"
	"holdfast/storage"
	"holdfast/tests/harness"
)

// TestClocksApart runs a cluster in which no two clocks agree: one tracker,
// node and gateway is an hour ahead, one an hour behind. Order is the commit
// order all the same, through every gateway and over changes of leaders, and
// nothing that a clock ends is ended early: no shard of an open upload, no
// upload, no quarantine, no ticket.
//
// A client must sign by its gateway's clock, within the 15 minutes that S3
// allows: the raw clients here do.
func TestClocksApart(t *testing.T) {
	lengthy(t)
	// Catalog time begins with the clock of the tracker that begins the
	// catalog. The others are an hour and two hours ahead of that one, and must
	// not drag catalog time along when they lead.
	offset := map[string]time.Duration{"tracker1": -time.Hour, "tracker2": time.Hour, "default1": time.Hour, "default2": -time.Hour,
		"gateway1": time.Hour, "gateway2": -time.Hour}
	clocks := map[string]*harness.Clock{}
	for _, name := range []string{"tracker1", "tracker2", "tracker3", "default1", "default2", "default3", "gateway1", "gateway2", "gateway3"} {
		clocks[name] = harness.NewClock()
		clocks[name].Jump(offset[name])
	}
	r := harness.StartRoles(t, harness.RolesOptions{Gateways: 3, Groups: []harness.GroupSpec{{Name: "default", Scheme: "rep-3", Nodes: 3}},
		Common: func(name string, c *cluster.Common) { c.Clock = clocks[name] },
		// A ticket lives, and a quarantine lasts, for less than the clocks are apart.
		Tracker: func(_ string, c *cluster.TrackerConfig) { c.Tune.TicketLife = 30 * time.Minute },
		Storage: func(_ string, c *cluster.StorageConfig) { c.Limits.Quarantine = 30 * time.Minute },
	})
	var raws []*harness.Raw
	for _, g := range r.Gateways {
		raws = append(raws, g.Raw())
	}
	raws[0].Must(t, http.StatusOK, "PUT", "/bucket", "", nil)

	// An upload with a part, and an object, from before.
	path := harness.Path("bucket", "upload")
	a := raws[1].Must(t, http.StatusOK, "POST", path, harness.Query("uploads", ""), nil)
	var up struct{ UploadId string }
	if err := xml.Unmarshal(a.Body, &up); err != nil {
		t.Fatal(err)
	}
	part := body("part", 5<<20+1000)
	etag := raws[0].Must(t, http.StatusOK, "PUT", path, harness.Query("partNumber", "1", "uploadId", up.UploadId), part).Header.Get("ETag")
	old := body("old", 3<<20)
	raws[2].Must(t, http.StatusOK, "PUT", harness.Path("bucket", "old"), "", old)

	l := rolesLoad(t, r, 6, "STANDARD")
	n := scaled(60)
	l.enter("control of clocks apart")
	l.wait(n)
	led := map[string]bool{}
	for round := range 3 {
		ordered(t, raws, round)
		lead := r.Leader()
		led[lead.Name] = true
		l.enter(fmt.Sprintf("%d: leader stopped: %s", round+1, lead.Name))
		// A body under way, whose ticket was granted by a leader of another clock.
		slow := body(fmt.Sprintf("slow-%d", round), 6<<20)
		from, to := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			ended <- raws[round%3].Stream(harness.Path("bucket", fmt.Sprintf("slow-%d", round)), from, int64(len(slow)))
		}()
		if _, err := to.Write(slow[:4<<20]); err != nil {
			t.Fatal(err)
		}
		lead.Stop()
		l.wait(n)
		if _, err := to.Write(slow[4<<20:]); err != nil {
			t.Fatal(err)
		}
		_ = to.Close()
		if err := <-ended; err != nil {
			t.Errorf("a body that came while the leader changed: %v", err)
		}
		if a := try(t, raws[0], http.StatusOK, "GET", harness.Path("bucket", fmt.Sprintf("slow-%d", round)), "", nil); a != nil && !bytes.Equal(a.Body, slow) {
			t.Errorf("slow-%d has other bytes", round)
		}
		lead.Start()
		l.enter(fmt.Sprintf("%d: after", round+1))
		r.WaitReady()
		l.wait(n / 3)
	}
	ordered(t, raws, 100)
	l.end()

	// Two of the three copies of an object are disowned by mistake. Whatever
	// the nodes' clocks say, which go on by hours here, the quarantine lasts by
	// catalog time, and they are revived.
	extent := inspect(t, raws[0], "bucket", "old").Extents[0]
	var blob storage.BlobID
	if n, err := hex.Decode(blob[:], []byte(extent.Blob)); err != nil || n != len(blob) {
		t.Fatal(extent.Blob, err)
	}
	for _, s := range extent.Shards {
		for _, name := range []string{"default1", "default2"} {
			if nodeBy(t, r.Status, r.Role(name).Addr).ID != s.Node {
				continue
			}
			api, err := r.Role(name).Storage().Shards(s.Node)
			if err != nil {
				t.Fatal(err)
			}
			id := storage.ShardID{Blob: blob, Index: uint8(s.Index), Gen: s.Generation}
			if err := api.Disown(t.Context(), []storage.ShardID{id}, time.UnixMilli(r.Leader().Tracker().Service().Now())); err != nil {
				t.Fatal(err)
			}
		}
	}
	jumps := 0
	harness.Until(t, time.Minute, "the nodes look for quarantines that ended", func() bool {
		clocks["default1"].Jump(11 * time.Minute)
		clocks["default2"].Jump(11 * time.Minute)
		jumps++
		return jumps == 20
	})

	// A whole comparison of catalog and nodes revives these, and finds no shard
	// that is nobody's: no ticket has expired by catalog time.
	workers := r.Leader().Tracker().Workers()
	passes := workers.Findings().Passes
	workers.Reconcile(0)
	harness.Until(t, time.Minute, "a whole pass of reconcile", func() bool { return workers.Findings().Passes > passes })
	if f := workers.Findings(); f.Disowned != 0 || f.Revived < 2 || f.Missing != 0 || f.Ranges == 0 {
		t.Errorf("reconcile found %+v", f)
	}

	// The part is there, and the upload can be completed.
	done := fmt.Sprintf("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>", etag)
	raws[2].Must(t, http.StatusOK, "POST", path, harness.Query("uploadId", up.UploadId), []byte(done))
	for key, want := range map[string][]byte{"upload": part, "old": old} {
		for i, raw := range raws {
			if a := raw.Must(t, http.StatusOK, "GET", harness.Path("bucket", key), "", nil); !bytes.Equal(a.Body, want) {
				t.Errorf("%s has other bytes through gateway %d", key, i+1)
			}
		}
	}
	if st, err := r.Status(); err != nil {
		t.Error(err)
	} else if ahead := time.UnixMilli(st.Fence).Sub(time.Now().Add(-time.Hour)); ahead > 5*time.Minute {
		t.Errorf("the fence is %v ahead of the clock that catalog time began with", ahead)
	}
	t.Logf("leaders: %v", led)
	convergedBy(t, r.Status, len(r.Trackers))
	rolesCensus(t, r, "load")
	rolesCensus(t, r, "bucket")
}

// ordered writes one key through one gateway after the other, and reads and
// lists it through all: what was written last is there, whichever clock its
// gateway has. Writers of other keys run beside.
func ordered(t *testing.T, raws []*harness.Raw, round int) {
	t.Helper()
	var wg sync.WaitGroup
	for k := range 3 {
		wg.Go(func() {
			key := fmt.Sprintf("ordered-%d-%d", round, k)
			path := harness.Path("bucket", key)
			for i := range 12 {
				raw := raws[(i+k)%len(raws)]
				if i%4 == 3 {
					try(t, raw, http.StatusNoContent, "DELETE", path, "", nil)
				} else {
					try(t, raw, http.StatusOK, "PUT", path, "", body(fmt.Sprint(i), []int{100, 20_000}[i%2]))
				}
				for j, raw := range raws {
					want := http.StatusOK
					if i%4 == 3 {
						want = http.StatusNotFound
					}
					a := try(t, raw, want, "GET", path, "", nil)
					if a != nil && want == http.StatusOK && !bytes.Equal(a.Body, body(fmt.Sprint(i), []int{100, 20_000}[i%2])) {
						t.Errorf("%s: gateway %d does not read write %d", key, j+1, i)
					}
					a = try(t, raw, http.StatusOK, "GET", "/bucket", harness.Query("list-type", "2", "prefix", key), nil)
					if a != nil && strings.Contains(string(a.Body), "<Key>"+key+"</Key>") != (want == http.StatusOK) {
						t.Errorf("%s: gateway %d lists otherwise than write %d", key, j+1, i)
					}
				}
			}
		})
	}
	wg.Wait()
}

// try is Must from any goroutine; nil after an error.
func try(t *testing.T, raw *harness.Raw, status int, method, path, query string, b []byte) *harness.Answer {
	t.Helper()
	a, err := raw.Do(method, path, query, b)
	if err != nil || a.Status != status {
		t.Errorf("%s %s: %v %+v, want %d", method, path, err, a, status)
		return nil
	}
	return a
}
