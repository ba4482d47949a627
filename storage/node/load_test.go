package node

import (
	"testing"
	"time"

	"holdfast/storage"
)

func TestRecentMean(t *testing.T) {
	var r recentMean
	now := time.Unix(1000, 0)
	if got := r.get(now); got != 0 {
		t.Errorf("nothing yet: %v", got)
	}
	r.add(now, 8*time.Millisecond)
	r.add(now, 16*time.Millisecond)
	if got := r.get(now); got != 9*time.Millisecond {
		t.Errorf("of 8 and then 16 ms: %v", got)
	}
	if got := r.get(now.Add(2 * fadeTime)); got != 9*time.Millisecond/4 {
		t.Errorf("after two times of fading: %v", got)
	}
	if got := r.get(now.Add(time.Hour)); got != 0 {
		t.Errorf("after an hour: %v", got)
	}
	r.add(now.Add(-time.Hour), time.Millisecond) // a clock that went back
}

// TestStatusTellsTheLoad: bytes of a shard that is being written are in
// flight until it is sealed or given up, and syncs have a time.
func TestStatusTellsTheLoad(t *testing.T) {
	n := benchNode(t)
	status := func() storage.Status {
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	blob := uint64(0)
	for _, size := range []int{16 << 10, 2 << 20} {
		for _, ends := range []func(w storage.ShardWriter, s storage.Seal) error{
			func(w storage.ShardWriter, s storage.Seal) error { return w.Seal(t.Context(), s) },
			func(w storage.ShardWriter, s storage.Seal) error { w.Abort(); return nil },
		} {
			blob++
			w, seal, err := begin(n, blob, make([]byte, size))
			if err != nil {
				t.Fatal(err)
			}
			if got := status().InFlight; got != seal.Length {
				t.Errorf("%d bytes in flight, want %d", got, seal.Length)
			}
			if err := ends(w, seal); err != nil {
				t.Error(err)
			}
			if got := status().InFlight; got != 0 {
				t.Errorf("%d bytes in flight behind the end", got)
			}
		}
	}
	if got := status().LatencyMicros; got == 0 {
		t.Error("syncs take no time")
	}
}
