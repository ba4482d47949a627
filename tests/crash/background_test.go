package crash

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/vfs"
	"holdfast/storage"
	"holdfast/tracker"
	"holdfast/tracker/catalog"
)

// spare is a shape with a directory more than its scheme is wide.
var spare = shape{"rs-2+2", 5}

func background() []scenario {
	return []scenario{
		{"repair", []shape{coded}, false, repair},
		{"replace a voter", []shape{coded}, false, func(x *run) { replace(x, 0) }},
		{"replace a node", []shape{coded}, false, func(x *run) { replace(x, 3) }},
		{"forget a directory", []shape{spare}, false, forget},
		{"rewrite of volumes", both, false, rewrite},
		{"snapshot and log", both, true, snapshot},
	}
}

// patience is how long background work may take on a busy machine.
const patience = time.Minute

// whole lets time pass until every blob has all its shards. What is missing
// is reported once, as a scrub would: a read need not meet it.
func (r *rig) whole() error {
	var wrong []string
	told := false
	if r.lapse(patience, func() bool {
		var damage []storage.Damage
		if wrong, damage = r.survey(true, ""); !told {
			_ = r.srv.Catalog().(tracker.Scheduler).ReportDamage(r.ctx, damage) // never fails
			told = true
		}
		return len(wrong) == 0
	}) {
		return nil
	}
	st, err := r.srv.Status(r.ctx)
	if err != nil {
		return err
	}
	return fmt.Errorf("repair does not end: %s; %d blobs are known to be below their target, queues are %+v", strings.Join(wrong[:min(len(wrong), 5)], "; "), st.BlobsBelow, st.Queues)
}

// repair loses shards, which reads find, and puts them back.
func repair(x *run) {
	x.start()
	for i := range 3 {
		x.put(fmt.Sprint("p", i), packed)
	}
	x.put("f", x.shape.file())
	x.settle = func(r *rig, _ *vfs.Mem) error { return r.whole() }
	x.record(func() {
		fatal(x.t, x.dropShards(0))
		x.observe()
		fatal(x.t, x.rig.whole())
	})
}

// dropShards deletes the shards of an index on their nodes, as rot would.
func (r *rig) dropShards(index int) error {
	snap, release, err := r.srv.Snapshot(r.ctx)
	if err != nil {
		return err
	}
	defer release()
	var errs []error
	n := 0
	err = catalog.Blobs(snap, storage.IDRange{}, func(b *catalog.BlobState) bool {
		p := b.Shards[index]
		api, err := r.srv.Nodes().Shards(p.Node)
		if err == nil {
			err = api.Delete(r.ctx, []storage.ShardID{{Blob: b.ID, Index: uint8(index), Gen: p.Gen}})
		}
		errs = append(errs, err)
		n++
		return true
	})
	if n == 0 {
		errs = append(errs, errors.New("no blob"))
	}
	return errors.Join(append(errs, err)...)
}

// fillDisks writes a bit of everything.
func fillDisks(x *run) {
	for i := range 4 {
		x.put(fmt.Sprint("p", i), packed)
	}
	x.put("i", inline)
	x.put("f", x.shape.file())
}

// restored lets time pass until all blobs are whole, given that as many nodes
// and catalog copies work as should.
func (r *rig) restored(nodes int) error {
	n, v, err := r.members()
	if err == nil && (n < nodes || v != 3) {
		err = fmt.Errorf("%d nodes work of %d, %d copies of the catalog of 3", n, nodes, v)
	}
	if err != nil {
		return err
	}
	return r.whole()
}

// emptied tells a story up to the restart after a directory lost its content.
func emptied(x *run, dir string) {
	x.start()
	fillDisks(x)
	x.halt()
	fatal(x.t, empty(x.mem, dir))
	x.launch()
}

// replace empties a directory and has it replaced. A crash may cut the call
// off: a person then repeats it.
func replace(x *run, index int) {
	dir := x.shape.paths()[index]
	emptied(x, dir)
	x.settle = func(r *rig, _ *vfs.Mem) error {
		return r.again(x.shape.dirs, func() error { return r.srv.ReplaceDisk(r.ctx, dir) })
	}
	x.record(func() {
		fatal(x.t, x.srv.ReplaceDisk(x.ctx, dir))
		fatal(x.t, x.restored(x.shape.dirs))
	})
}

// again repeats a call that a crash cut off where that is needed.
func (r *rig) again(nodes int, call func() error) error {
	if n, v, err := r.members(); err != nil || n < nodes || v != 3 {
		if err := call(); err != nil {
			st, e := r.srv.Status(r.ctx)
			if e != nil {
				return e
			}
			return fmt.Errorf("%d nodes and %d copies of the catalog work (%+v), and the call cannot be repeated: %w", n, v, st.Voters, err)
		}
	}
	return r.restored(nodes)
}

// forget gives up a directory that held a copy of the catalog.
func forget(x *run) {
	dir := x.shape.paths()[0]
	emptied(x, dir)
	nodes := x.shape.dirs - 1
	x.settle = func(r *rig, _ *vfs.Mem) error {
		return r.again(nodes, func() error { return r.srv.ForgetDisk(r.ctx, dir) })
	}
	x.record(func() {
		fatal(x.t, x.srv.ForgetDisk(x.ctx, dir))
		fatal(x.t, x.restored(nodes))
	})
}

// slim is the most that a node's data takes after a rewrite: what lives is
// less than a fifth of what there was.
const slim = 600_000

// rewrite deletes most of a volume and lets the readers' grace pass: the
// shards are deleted and what is left of the volume is moved.
func rewrite(x *run) {
	x.tune.Grace = 10 * time.Second
	x.start()
	x.fill()
	x.settle = func(r *rig, fs *vfs.Mem) error { return r.slimmer(x.shape, fs, slim) }
	x.record(func() { thinOut(x) })
	if err := x.slimmer(x.shape, x.tape.mem, slim); err != nil {
		x.t.Error(err)
	}
}

// fill writes packed objects and a file, and deletes most of them.
func (x *run) fill() {
	x.t.Helper()
	const objects, left = 30, 4
	for i := range objects {
		x.put(fmt.Sprint("k", i), packed)
	}
	for i := range objects - left {
		x.del(fmt.Sprint("k", i))
	}
	x.put("f", x.shape.file())
	x.del("f")
}

// thinOut lets time pass until each node has rewritten a volume and removed a
// file.
func thinOut(x *run) {
	x.t.Helper()
	if !x.lapse(patience, func() bool { return x.gone("volume") >= x.shape.dirs && x.gone("blob") >= x.shape.dirs }) {
		x.t.Errorf("after the grace %d volumes and %d files were removed", x.gone("volume"), x.gone("blob"))
	}
}

// slimmer lets time pass until all garbage is gone and no node's data takes
// more than a number of bytes on its disk.
func (r *rig) slimmer(s shape, fs *vfs.Mem, bytes int64) error {
	var st *tracker.Status
	var most int64
	var err error
	ok := r.lapse(patience, func() bool {
		if st, err = r.srv.Status(r.ctx); err != nil {
			return false
		}
		most = 0
		for _, d := range s.paths() {
			n, e := allocated(fs, d+"/volumes")
			m, f := allocated(fs, d+"/blobs")
			most, err = max(most, n+m), errors.Join(err, e, f)
		}
		return err == nil && st.Queues["garbage"].Length == 0 && most <= bytes
	})
	if !ok {
		return fmt.Errorf("space does not come back: garbage %+v, %d bytes on a node, want %d; %w", st.Queues["garbage"], most, bytes, err)
	}
	return nil
}

// allocated adds up the blocks of the files under a directory.
func allocated(fs *vfs.Mem, dir string) (int64, error) {
	names, err := fs.List(dir)
	if err != nil {
		return 0, nil // not made yet, or removed meanwhile
	}
	var sum int64
	for _, name := range names {
		p := fs.PathJoin(dir, name)
		if fi, err := fs.Stat(p); err == nil && fi.IsDir() {
			n, err := allocated(fs, p)
			if err != nil {
				return 0, err
			}
			sum += n
			continue
		}
		f, err := fs.OpenFile(p, vfs.ReadOnly)
		if err != nil {
			continue
		}
		n, err := f.Allocated()
		if err := errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// snapshot has the catalog flushed and its log cut.
func snapshot(x *run) {
	x.tune.SnapshotBytes, x.tune.KeepBytes = 32<<10, 16<<10
	x.start()
	x.record(func() { snapshots(x) })
}

// snapshots writes until each voter has taken some.
func snapshots(x *run) {
	x.t.Helper()
	voters := uint64(min(x.shape.dirs, 3))
	for i := range 24 {
		x.put(fmt.Sprint("k", i%20), 8<<10)
		if i == 12 {
			x.settled(voters)
		}
	}
	x.settled(2 * voters)
}

// settled waits until that many snapshots were taken and the log was cut.
func (x *run) settled(snapshots uint64) {
	x.t.Helper()
	if !x.lapse(patience, func() bool {
		m := x.srv.LogMetrics()
		return m.Snapshots >= snapshots && m.HeldBytes < m.LogBytes/2
	}) {
		x.t.Errorf("no snapshot: %+v", x.srv.LogMetrics())
	}
}
