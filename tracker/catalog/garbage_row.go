package catalog

import (
	"encoding/binary"

	"holdfast/storage"
	"holdfast/tracker"
)

// GarbageKind says what a garbage row asks for.
type GarbageKind uint8

// The kinds of garbage. Blobs and shards are deleted on the nodes and then
// dropped from the queue; the others are swept by commands until done.
const (
	GarbageBlob    GarbageKind = 1 // a dying blob: delete its shards
	GarbageShard   GarbageKind = 2 // a shard that was moved away: delete it at its old place
	GarbageVersion GarbageKind = 3 // rows 13 of a version that went
	GarbageUpload  GarbageKind = 4 // parts of an upload that ended
	GarbageBucket  GarbageKind = 5 // what is left of a removed bucket
)

const (
	garbageBlob    = byte(GarbageBlob)
	garbageShard   = byte(GarbageShard)
	garbageVersion = byte(GarbageVersion)
	garbageUpload  = byte(GarbageUpload)
	garbageBucket  = byte(GarbageBucket)
)

// GarbageID names a garbage row; they order as they were written.
type GarbageID struct {
	Seq uint64
	N   uint32
}

// Garbage is a garbage row:
//
//	version u8, 1; kind u8, then
//	blob: id 16
//	shard: id 16, index u8, node u32, generation u32
//	version: bucket u64, holder's seq u64, seq u64, key to the end
//	upload: bucket u64, upload 12, key block, kept parts: count uvarint, each first and length uvarint
//	bucket: bucket u64
type Garbage struct {
	GarbageID
	Kind  GarbageKind
	At    int64          // catalog time in ms since which it is garbage
	Blob  storage.BlobID // of a blob or shard
	Index uint8          // of a shard
	Place storage.Placement

	bucket tracker.BucketID
	holder uint64
	seq    uint64
	upload uploadID
	key    []byte
	keep   []byte
}

// Swept reports whether Sweep commands do the work.
func (g *Garbage) Swept() bool { return g.Kind >= GarbageVersion }

func (g *Garbage) decode(key, val []byte) error {
	if len(key) != 13 {
		return badRow("garbage key")
	}
	d := dec{p: val}
	d.version(1)
	*g = Garbage{GarbageID: GarbageID{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint32(key[9:])}, Kind: GarbageKind(d.u8())}
	g.At = seqTime(g.Seq)
	switch g.Kind {
	case GarbageBlob:
		g.Blob = d.raw16()
	case GarbageShard:
		g.Blob, g.Index = d.raw16(), d.u8()
		g.Place = decodePlacement(&d)
	case GarbageVersion:
		g.bucket, g.holder, g.seq = tracker.BucketID(d.u64()), d.u64(), d.u64()
		g.key, d.p = d.p, nil
	case GarbageUpload:
		g.bucket = tracker.BucketID(d.u64())
		copy(g.upload[:], d.take(uploadIDLen))
		g.key, g.keep = d.block(), d.p
		for n := d.count(maxParts); n > 0; n-- {
			d.uv()
			d.uv()
		}
	case GarbageBucket:
		g.bucket = tracker.BucketID(d.u64())
	default:
		d.bad = true
	}
	if !d.done() {
		return badRow("garbage row")
	}
	return nil
}

// maxParts is the number of the last part an upload may have.
const maxParts = 10000

// kept reports whether the part's data went into an object.
func (g *Garbage) kept(part int) bool {
	d := dec{p: g.keep}
	for n := d.count(maxParts); n > 0; n-- {
		from := int(d.uv())
		if length := int(d.uv()); part >= from && part < from+length {
			return true
		}
	}
	return false
}
