package node

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"

	"holdfast/internal/vfs"
	"holdfast/storage/volume"
)

// volumes is the set of volumes. The active one belongs to the committer's
// leader.
type volumes struct {
	active *activeVolume // nil: the next append makes one
	mu     struct {
		sync.Mutex
		sizes  map[uint32]int64 // of closed volumes, in bytes
		number uint32           // the highest ever used
		active uint32           // 0 if there is none
	}
}

// activeVolume is the volume that is appended to.
type activeVolume struct {
	header volume.Header
	f      vfs.File
	tail   int64
}

// writer returns the active volume with room for a record, making a new one
// if needed. Only the committer's leader calls it.
func (vs *volumes) writer(n *Node, payload, span int64) (*activeVolume, error) {
	if v := vs.active; v != nil {
		if volume.Place(v.tail, payload, span)+span <= n.limits.VolumeSize {
			return v, nil
		}
		if err := vs.roll(); err != nil {
			return nil, err
		}
	}
	v, err := n.createVolume()
	if err != nil {
		return nil, err
	}
	vs.active = v
	return v, nil
}

// roll closes the active volume for appends. All its records are durable. Only
// the committer's leader calls it.
func (vs *volumes) roll() error {
	v := vs.active
	if v == nil {
		return nil
	}
	vs.active = nil
	vs.mu.Lock()
	vs.mu.sizes[v.header.Number] = v.tail
	vs.mu.active = 0
	vs.mu.Unlock()
	return v.f.Close()
}

func (vs *volumes) close() error {
	if vs.active == nil {
		return nil
	}
	return vs.roll()
}

// createVolume makes the next volume. It is durable, name and header, before
// a record goes into it: a file without a good header holds nothing.
func (n *Node) createVolume() (*activeVolume, error) {
	vs := &n.volumes
	vs.mu.Lock()
	vs.mu.number++
	num := vs.mu.number
	vs.mu.Unlock()
	var nonce [8]byte
	rand.Read(nonce[:])
	h := volume.Header{Number: num, Node: n.cfg.Node, Cluster: n.cfg.Cluster,
		Nonce: binary.LittleEndian.Uint64(nonce[:]), Created: n.clock.Now().UnixMilli()}
	path := n.volumePath(num)
	f, err := n.fs.OpenFile(path, vfs.CreateNew)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(h.Encode(), 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = n.fs.SyncDir(n.path("volumes"))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), n.fs.Remove(path))
	}
	vs.mu.Lock()
	vs.mu.active = num
	vs.mu.Unlock()
	return &activeVolume{header: h, f: f, tail: volume.HeaderSize}, nil
}

// closed returns the sizes of the volumes that are not active.
func (vs *volumes) closed() map[uint32]int64 {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return maps.Clone(vs.mu.sizes)
}

// removeVolume unlinks a closed volume to which the durable index does not
// refer. Readers that have it open keep it until they leave.
func (n *Node) removeVolume(num uint32) error {
	if s := n.index.Volume(num); s.Records != 0 {
		return fmt.Errorf("volume %d has %d records: not removed", num, s.Records)
	}
	if err := n.index.DropVolume(num); err != nil {
		return err
	}
	n.files.forget(fileKey{volume: num})
	if err := n.fs.Remove(n.volumePath(num)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	n.volumes.mu.Lock()
	defer n.volumes.mu.Unlock()
	delete(n.volumes.mu.sizes, num)
	return nil
}
