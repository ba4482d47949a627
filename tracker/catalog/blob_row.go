package catalog

import (
	"holdfast/erasure"
	"holdfast/storage"
	"holdfast/tracker"
)

const blobRowVersion = 1

// The flags of a blob row.
const (
	blobDying  = 1 << 0
	blobShared = 1 << 1
	blobNull   = 1 << 2 // the version that was put with it is a null version
)

// blobRow is the value of row 60:
//
//	0   1   version, 1
//	1   1   flags
//	2   8   owner: bucket
//	10  8   owner: seq
//	18  8   seq of the command that committed it
//	26  4   tag: first bytes of that command's request id
//	30  2   scheme: data, parity
//	32  4   map generation: number of changes of the map
//	36      length uvarint
//	        width u8, each node u32, generation u32
type blobRow struct {
	flags  byte
	owner  holder
	seq    uint64
	tag    [4]byte
	scheme erasure.Scheme
	mapGen uint32
	length int64
	shards []byte // 8 bytes each
}

func (r *blobRow) decode(v []byte) error {
	d := dec{p: v}
	d.version(blobRowVersion)
	r.flags = d.u8()
	r.owner = holder{tracker.BucketID(d.u64()), d.u64()}
	r.seq = d.u64()
	copy(r.tag[:], d.take(4))
	r.scheme = erasure.Scheme{Data: d.u8(), Parity: d.u8()}
	r.mapGen = d.u32()
	r.length = d.size()
	r.shards = d.take(int(d.u8()) * 8)
	if !d.done() {
		return badRow("blob row")
	}
	return nil
}

func (r *blobRow) append(dst []byte) []byte {
	dst = append(dst, blobRowVersion, r.flags)
	dst = le64(le64(le64(dst, uint64(r.owner.bucket)), r.owner.seq), r.seq)
	dst = append(append(dst, r.tag[:]...), r.scheme.Data, r.scheme.Parity)
	dst = uv(le32(dst, r.mapGen), uint64(r.length))
	return append(append(dst, byte(len(r.shards)/8)), r.shards...)
}

func (r *blobRow) width() int { return len(r.shards) / 8 }

func (r *blobRow) shard(i int) storage.Placement {
	d := dec{p: r.shards[8*i:]}
	return storage.Placement{Node: storage.NodeID(d.u32()), Gen: d.u32()}
}

func appendPlacement(dst []byte, p storage.Placement) []byte {
	return le32(le32(dst, uint32(p.Node)), p.Gen)
}

func decodePlacement(d *dec) storage.Placement {
	return storage.Placement{Node: storage.NodeID(d.u32()), Gen: d.u32()}
}

// blob makes the answer to a read.
func (r *blobRow) blob(id storage.BlobID) tracker.Blob {
	b := tracker.Blob{ID: id, Scheme: r.scheme, Length: r.length, Shards: make([]storage.Placement, r.width())}
	for i := range b.Shards {
		b.Shards[i] = r.shard(i)
	}
	return b
}
