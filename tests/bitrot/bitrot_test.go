// Package bitrot damages shards on disk: bits flip, blocks turn to zero, files
// are cut or vanish. Reads stay right, the scrubber finds every damaged shard,
// repair restores it; where more is lost than the scheme bears, a read fails
// and never gives wrong bytes.
package bitrot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/cmd/allinone"
	"holdfast/storage/node"
	"holdfast/tests/harness"
)

// rig is a server whose scrubber never rests, and its objects.
type rig struct {
	*harness.Local
	t       *testing.T
	rng     *rand.Rand
	raw     *harness.Raw
	objects map[string]*harness.Pattern
}

// The shards of the first are packed in volumes, those of the second are
// files of their own.
var (
	packed = []int64{9_000, 20_000, 65_536, 70_000, 131_072, 200_000, 500_000, 1 << 20, 1<<20 + 1}
	filed  = []int64{3 << 20, 3<<20 + 77, 5 << 20}
)

const scrubEvery = 250 * time.Millisecond

func newRig(t *testing.T, o harness.Options) *rig {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := harness.StartLocal(t, harness.LocalOptions{Options: o, Tune: allinone.Tune{Ballast: -1, Grace: time.Second,
		Node: node.Limits{ScrubEvery: scrubEvery, ScrubRate: -1, SpaceEvery: 200 * time.Millisecond, OpenFiles: 4}}})
	r := &rig{Local: l, t: t, rng: rand.New(rand.NewPCG(seed, 0)), raw: l.Raw(), objects: map[string]*harness.Pattern{}}
	r.raw.Must(t, 200, "PUT", "/rot", "", nil)
	for i, n := range slices.Concat(packed, filed) {
		path := fmt.Sprintf("/rot/%d-%d", i, n)
		r.objects[path] = &harness.Pattern{Seed: uint64(i + 1), N: n}
		if err := r.raw.Upload(path, r.objects[path]); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) verify(when string) {
	r.t.Helper()
	for path, p := range r.objects {
		if err := r.raw.Verify(path, p); err != nil {
			r.t.Errorf("%s: %v", when, err)
		}
	}
}

// found counts the bad shards that reads and the scrubber met.
func (r *rig) found() float64 { return harness.Sum(r.Metrics(), "holdfast_node_bad_shards_total") }

// healed waits until the scrubber has found at least n bad shards since
// before, and repair has had nothing to do for several of its passes. The bad
// ones stay on disk, and are found, until their grace is over.
func (r *rig) healed(before float64, n int) {
	r.t.Helper()
	harness.Until(r.t, 30*time.Second, fmt.Sprintf("the scrubber finds %d bad shards", n), func() bool { return r.found()-before >= float64(n) })
	since := time.Now()
	harness.Until(r.t, 60*time.Second, "repair", func() bool {
		if st := r.Status(); st.BlobsBelow != 0 || st.Queues["repair"].Length != 0 {
			since = time.Now()
		}
		return time.Since(since) > 5*scrubEvery
	})
}

// place is where a shard's bytes lie.
type place struct {
	shard  harness.StoredShard
	path   string
	offset int64
	packed bool
}

// newest leaves out the shards that a repair has taken the place of.
func newest(all []harness.StoredShard) []harness.StoredShard {
	key := func(s harness.StoredShard) string { return fmt.Sprintf("%s/%d", s.Info.ID.Blob, s.Info.ID.Index) }
	gens := map[string]uint32{}
	for _, s := range all {
		gens[key(s)] = max(gens[key(s)], s.Info.ID.Gen)
	}
	return slices.DeleteFunc(all, func(s harness.StoredShard) bool { return s.Info.ID.Gen != gens[key(s)] })
}

// shards lists a stopped server's shards.
func (r *rig) shards() []harness.StoredShard {
	r.t.Helper()
	return newest(harness.StoredShards(r.t, r.Dirs[0]))
}

// locate finds shards in the files on disk. A shard that was just moved to
// another volume may be in two: the later one counts.
func (r *rig) locate(shards []harness.StoredShard) (out []place) {
	r.t.Helper()
	files := map[string][]byte{}
	for _, d := range r.Dirs {
		for _, sub := range []string{"volumes", "blobs"} {
			err := filepath.WalkDir(filepath.Join(d, sub), func(path string, e os.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() {
					files[path], err = os.ReadFile(path)
				}
				if os.IsNotExist(err) {
					err = nil // removed meanwhile
				}
				return err
			})
			if err != nil {
				r.t.Fatal(err)
			}
		}
	}
	paths := slices.Sorted(maps.Keys(files))
	for _, s := range shards {
		at := place{shard: s}
		for _, path := range paths {
			if !strings.HasPrefix(path, s.Dir+string(filepath.Separator)) {
				continue
			}
			if i := bytes.Index(files[path], s.Head); i >= 0 && len(s.Head) > 0 {
				at.path, at.offset, at.packed = path, int64(i), strings.HasSuffix(path, ".vol")
			}
		}
		if at.path == "" {
			r.t.Fatalf("shard %s is in no file of %s", s.Info.ID, s.Dir)
		}
		out = append(out, at)
	}
	return out
}

// rested waits until a server that has just started moves no more volumes.
func (r *rig) rested() {
	r.t.Helper()
	var subs []string
	for _, d := range r.Dirs {
		subs = append(subs, filepath.Join(d, "volumes"), filepath.Join(d, "blobs"))
	}
	last, since := harness.DiskUse(r.t, subs...), time.Now()
	harness.Until(r.t, 30*time.Second, "the volumes come to rest", func() bool {
		if now := harness.DiskUse(r.t, subs...); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

// damage is a way to spoil stored bytes. It returns the number of shards that
// it must have hit.
type damage struct {
	name   string
	packed bool
	live   bool // may be done under a running server
	do     func(t *testing.T, rng *rand.Rand, hit []place) int
}

var damages = []damage{
	{"flip a bit in files", false, true, flip},
	{"flip a bit in volumes", true, true, flip},
	{"zero a block of files", false, true, zero},
	{"zero a block of volumes", true, true, zero},
	{"truncate files", false, true, truncateFiles},
	{"truncate volumes", true, true, truncateVolumes},
	{"delete files", false, true, remove},
	{"delete volumes", true, false, remove},
}

func edit(t *testing.T, path string, f func(f *os.File) error) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f(file), file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, rng *rand.Rand, hit []place) int {
	for _, p := range hit {
		edit(t, p.path, func(f *os.File) error {
			at, b := p.offset+rng.Int64N(p.shard.Info.Seal.Length), make([]byte, 1)
			if _, err := f.ReadAt(b, at); err != nil {
				return err
			}
			b[0] ^= 1 << rng.IntN(8)
			_, err := f.WriteAt(b, at)
			return err
		})
	}
	return len(hit)
}

func zero(t *testing.T, rng *rand.Rand, hit []place) int {
	for _, p := range hit {
		edit(t, p.path, func(f *os.File) error {
			n := min(p.shard.Info.Seal.Length, 4096)
			_, err := f.WriteAt(make([]byte, n), p.offset+rng.Int64N(p.shard.Info.Seal.Length-n+1))
			return err
		})
	}
	return len(hit)
}

func truncateFiles(t *testing.T, rng *rand.Rand, hit []place) int {
	for _, p := range hit {
		if err := os.Truncate(p.path, rng.Int64N(p.shard.Info.Seal.Length)); err != nil {
			t.Fatal(err)
		}
	}
	return len(hit)
}

// truncateVolumes cuts each volume in the middle of one of its shards.
func truncateVolumes(t *testing.T, _ *rand.Rand, hit []place) int {
	cut := map[string]int64{}
	for _, p := range hit {
		at := p.offset + p.shard.Info.Seal.Length/2
		if old, ok := cut[p.path]; !ok || at < old {
			cut[p.path] = at
		}
	}
	for path, at := range cut {
		if err := os.Truncate(path, at); err != nil {
			t.Fatal(err)
		}
	}
	return len(hit)
}

func remove(t *testing.T, _ *rand.Rand, hit []place) int {
	for _, p := range hit {
		if err := os.Remove(p.path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return len(hit)
}

// choose picks shards of two of the four nodes, so that rs-2+2 bears it.
func (r *rig) choose(all []place, packed bool, each int) (hit []place) {
	nodes := r.rng.Perm(len(r.Dirs))[:2]
	for _, n := range nodes {
		var here []place
		for _, p := range all {
			if p.shard.Dir == r.Dirs[n] && p.packed == packed && p.shard.Info.Quarantined == 0 {
				here = append(here, p)
			}
		}
		r.rng.Shuffle(len(here), func(i, j int) { here[i], here[j] = here[j], here[i] })
		hit = append(hit, here[:min(each, len(here))]...)
	}
	return hit
}

// TestRotIsFoundAndRepaired does every damage, to a stopped and to a running
// server. Every other time nothing is read before the scrubber has come by.
func TestRotIsFoundAndRepaired(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	r := newRig(t, harness.Options{Dirs: 4, Scheme: "rs-2+2"})
	round := 0
	for i := range damages {
		d := &damages[i]
		for _, live := range []bool{false, true} {
			if live && !d.live {
				continue
			}
			round++
			r.round(d, live, round%2 == 0)
			if t.Failed() {
				t.Fatalf("after: %s, server running: %v", d.name, live)
			}
		}
	}
}

func (r *rig) round(d *damage, live, read bool) {
	r.t.Helper()
	r.Stop()
	shards, before := r.shards(), 0.0
	if live {
		r.Launch()
		r.rested()
		before = r.found()
	}
	n := d.do(r.t, r.rng, r.choose(r.locate(shards), d.packed, 3))
	if !live {
		r.Launch()
	}
	what := fmt.Sprintf("%s, server running: %v", d.name, live)
	if read {
		r.verify(what)
	}
	r.healed(before, n)
	r.verify(what + ", repaired")
	r.Stop()
	harness.TakeCensus(r.t, r.Dirs[0]).Clean(r.t)
	r.t.Logf("%s: %d shards damaged, found and repaired", what, n)
	r.Launch()
}

// TestBeyondRepair loses more shards of two objects than the scheme bears.
func TestBeyondRepair(t *testing.T) {
	t.Parallel()
	for _, o := range []harness.Options{{Dirs: 4, Scheme: "rs-2+2"}, {Dirs: 2, Scheme: "rep-2"}, {Dirs: 1, Scheme: "rep-1"}} {
		t.Run(o.Scheme, func(t *testing.T) {
			t.Parallel()
			for _, d := range []struct {
				name string
				do   func(t *testing.T, rng *rand.Rand, hit []place) int
			}{{"flipped", flip}, {"zeroed", zero}, {"gone", nil}} {
				r := newRig(t, o)
				r.Stop()
				lost := r.destroy(d.do)
				r.Launch()
				for path, p := range r.objects {
					if slices.Contains(lost, path) {
						r.fails(path, p, d.name)
					} else if err := r.raw.Verify(path, p); err != nil {
						t.Errorf("%s, an object beside: %v", d.name, err)
					}
				}
				if lines := r.Panics(); len(lines) > 0 {
					t.Errorf("%s: %s", d.name, lines[0])
				}
				r.Stop()
			}
		})
	}
}

// destroy spoils M+1 shards of one packed and one filed blob, the first frame
// of each, and returns the objects' paths. Without a way to spoil, files are
// removed, and packed shards zeroed whole.
func (r *rig) destroy(do func(*testing.T, *rand.Rand, []place) int) (lost []string) {
	r.t.Helper()
	byBlob := map[string][]place{}
	for _, p := range r.locate(r.shards()) {
		id := p.shard.Info.ID.Blob.String()
		byBlob[id] = append(byBlob[id], p)
	}
	for path, o := range r.objects {
		if o.N != packed[len(packed)-1] && o.N != filed[0] {
			continue
		}
		for _, shards := range byBlob {
			if !r.isOf(shards, o) {
				continue
			}
			lost = append(lost, path)
			for _, p := range shards[:len(shards)/2+1] {
				// Only the first frame: what stands behind it must not be
				// given out under its name.
				p.shard.Info.Seal.Length = min(p.shard.Info.Seal.Length, 60_000)
				switch {
				case do != nil:
					do(r.t, r.rng, []place{p})
				case p.packed:
					zero(r.t, r.rng, []place{p})
				default:
					remove(r.t, r.rng, []place{p})
				}
			}
		}
	}
	if len(lost) != 2 {
		r.t.Fatalf("%d objects destroyed, want 2", len(lost))
	}
	return lost
}

// isOf tells whether the shards are of an object: shard 0 begins with its bytes.
func (r *rig) isOf(shards []place, o *harness.Pattern) bool {
	head := make([]byte, 64)
	if _, err := io.ReadFull(&harness.Pattern{Seed: o.Seed, N: o.N}, head); err != nil {
		return false
	}
	for _, p := range shards {
		if p.shard.Info.ID.Index == 0 && bytes.HasPrefix(p.shard.Head, head) {
			return true
		}
	}
	return false
}

// fails reads an object that is lost: a status of 5xx, or a body that breaks
// off, and no wrong byte before that.
func (r *rig) fails(path string, p *harness.Pattern, how string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", r.Endpoint()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	sigv4.Sign(req, harness.User, harness.Password, "us-east-1", sigv4.UnsignedPayload, time.Now())
	resp, err := r.HTTPClient().Do(req)
	if err != nil {
		return // broken off before the answer
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 5 {
		return
	}
	if resp.StatusCode != http.StatusOK {
		r.t.Errorf("%s, %s: status %d, want 5xx", path, how, resp.StatusCode)
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		r.t.Errorf("%s, %s: read to its end, %d bytes", path, how, len(body))
	}
	if _, err := (&harness.Pattern{Seed: p.Seed, N: p.N}).Write(body); err != nil {
		r.t.Errorf("%s, %s: wrong bytes: %v", path, how, err)
	}
}
