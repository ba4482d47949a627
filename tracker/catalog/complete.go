package catalog

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"

	"holdfast/internal/checksum"
	"holdfast/tracker"
	"holdfast/tracker/kv"
)

// maxObject is the size of the largest object in bytes (50 TB).
const maxObject = 50 << 40

// PrepareComplete reads an upload's parts and makes the command that
// completes it. If the upload was completed before, done is its answer and
// there is no command.
func PrepareComplete(r kv.Reader, q *tracker.CompleteUpload) (cmd *Complete, done *tracker.PutResult, err error) {
	core, err := readCore(r, q.Bucket)
	if err != nil {
		return nil, nil, err
	}
	id, ok := parseID(q.Upload)
	if !ok {
		return nil, nil, tracker.ErrNoSuchUpload
	}
	v, ok, err := r.Get(keyUpload(nil, rowOutcome, q.Bucket, q.Key, id), nil)
	if err != nil {
		return nil, nil, err
	}
	var out outcomeRow
	if ok {
		if err := out.decode(v); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case !ok || out.state == uploadAborted:
		return nil, nil, tracker.ErrNoSuchUpload
	case out.state == uploadCompleted:
		return nil, out.result(&bucketState{core: *core}), nil
	}
	if v, ok, err = r.Get(keyUpload(nil, rowUpload, q.Bucket, q.Key, id), nil); err != nil {
		return nil, nil, err
	}
	var up uploadRow
	if !ok {
		return nil, nil, badRow("open upload without a row")
	}
	if err := up.decode(v); err != nil {
		return nil, nil, err
	}
	j := joiner{q: q, up: &up, cmd: &Complete{ref: q.UploadRef, changes: out.seq, cond: q.Conditions, parts: len(q.Parts), headers: up.headers}}
	if err := j.join(r, id); err != nil {
		return nil, nil, err
	}
	return j.cmd, nil, nil
}

// joiner makes one object of many parts.
type joiner struct {
	q   *tracker.CompleteUpload
	up  *uploadRow
	cmd *Complete

	md5s    []byte
	sums    []checksum.Part // of the asked algorithm
	crcs    []checksum.Part
	extents extentWriter
	buf     []byte // of the piece of parts being made
	inPiece int
	runs    [][2]int
}

// join walks the parts' rows beside the client's list.
func (j *joiner) join(r kv.Reader, id uploadID) (err error) {
	q := j.q
	if len(q.Parts) == 0 || len(q.Parts) > maxParts {
		return fmt.Errorf("%d parts: %w", len(q.Parts), tracker.ErrInvalid)
	}
	for i := range q.Parts {
		if n := q.Parts[i].Number; n < 1 || n > maxParts {
			return fmt.Errorf("part %d: %w", n, tracker.ErrInvalidPart)
		}
		if i > 0 && q.Parts[i].Number <= q.Parts[i-1].Number {
			return fmt.Errorf("part %d after %d: %w", q.Parts[i].Number, q.Parts[i-1].Number, tracker.ErrInvalidPartList)
		}
	}
	j.extents = extentWriter{keep: true, emit: func(end int64, val []byte) {
		j.cmd.pieces = append(j.cmd.pieces, piece{pieceExtents, be64(nil, uint64(end)), bytes.Clone(val)})
	}}
	prefix := keyUpload(nil, rowPart, q.Bucket, q.Key, id)
	it, err := r.Iter(be32(bytes.Clone(prefix), uint32(q.Parts[0].Number)), keyAfter(nil, prefix))
	if err != nil {
		return err
	}
	defer closeIter(it, &err)
	ok := it.First()
	for i := range q.Parts {
		want := &q.Parts[i]
		for ok && partNumber(it.Key()) < want.Number {
			ok = it.Next()
		}
		if !ok || partNumber(it.Key()) != want.Number {
			return fmt.Errorf("part %d: %w", want.Number, tracker.ErrInvalidPart)
		}
		var p partRow
		if err := p.decode(it.Value()); err != nil {
			return err
		}
		if err := j.add(want, &p, i == len(q.Parts)-1); err != nil {
			return err
		}
	}
	return j.finish()
}

func (j *joiner) add(want *tracker.CompletePart, p *partRow, last bool) error {
	a := &p.attrs
	switch {
	case a.etagString() != want.ETag:
		return fmt.Errorf("part %d has another ETag: %w", want.Number, tracker.ErrInvalidPart)
	case want.Checksum != nil && len(a.sum) > 0 && !bytes.Equal(want.Checksum, a.sum):
		return fmt.Errorf("part %d has another checksum: %w", want.Number, tracker.ErrInvalidPart)
	case !last && p.size < j.q.MinPartSize:
		return fmt.Errorf("part %d of %d bytes: %w", want.Number, p.size, tracker.ErrPartTooSmall)
	}
	j.cmd.size += p.size
	if j.cmd.size > maxObject {
		return tracker.ErrObjectTooLarge
	}
	j.md5s = append(j.md5s, p.md5[:]...)
	crc := be64(nil, a.crc)
	j.crcs = append(j.crcs, checksum.Part{Sum: crc, Size: p.size})
	switch alg := j.up.attrs.algorithm; {
	case alg == checksum.None:
	case a.algorithm == alg:
		j.sums = append(j.sums, checksum.Part{Sum: bytes.Clone(a.sum), Size: p.size})
	case alg == checksum.CRC64NVME:
		j.sums = append(j.sums, checksum.Part{Sum: crc, Size: p.size})
	default:
		return fmt.Errorf("part %d has no checksum of the upload's algorithm: %w", want.Number, tracker.ErrInvalidPart)
	}
	if n := len(j.runs); n > 0 && j.runs[n-1][0]+j.runs[n-1][1] == want.Number {
		j.runs[n-1][1]++
	} else {
		j.runs = append(j.runs, [2]int{want.Number, 1})
	}
	p.eachExtent(func(e *extent) { j.extents.add(e.blob, e.length, e.offset) })
	if j.inPiece == 0 {
		j.buf = j.buf[:0]
	}
	j.buf = p.partBody.append(uv(j.buf, uint64(want.Number)))
	if j.inPiece++; j.inPiece == partPieceMax || last {
		val := append(uv([]byte{pieceRowVersion}, uint64(j.inPiece)), j.buf...)
		j.cmd.pieces = append(j.cmd.pieces, piece{pieceParts, be32(nil, uint32(want.Number)), val})
		j.inPiece = 0
	}
	return nil
}

// finish computes what the object is as a whole.
func (j *joiner) finish() error {
	q, cmd := j.q, j.cmd
	if q.Size >= 0 && q.Size != cmd.size {
		return fmt.Errorf("object of %d bytes, %d told: %w", cmd.size, q.Size, tracker.ErrInvalid)
	}
	j.extents.flush()
	cmd.first = append([]byte{byte(min(j.extents.total, rowExtents))}, j.extents.first...)
	cmd.keep = uv(nil, uint64(len(j.runs)))
	for _, r := range j.runs {
		cmd.keep = uv(uv(cmd.keep, uint64(r[0])), uint64(r[1]))
	}
	sum := md5.Sum(j.md5s)
	m := tracker.Meta{ETag: hex.EncodeToString(sum[:]) + "-" + strconv.Itoa(len(q.Parts)), Class: j.up.attrs.classString()}
	crc, err := checksum.FullObjectSum(checksum.CRC64NVME, j.crcs)
	if err != nil {
		return fmt.Errorf("join checksums: %w", err)
	}
	m.CRC64NVME, m.HasCRC64 = binary.BigEndian.Uint64(crc), true
	alg := j.up.attrs.algorithm
	switch {
	case alg == checksum.None:
	case j.up.attrs.composite:
		if m.Checksum.Value, err = checksum.CompositeSum(alg, j.sums); err != nil {
			return fmt.Errorf("join checksums: %w", err)
		}
	default:
		if m.Checksum.Value, err = checksum.FullObjectSum(alg, j.sums); err != nil {
			return fmt.Errorf("join checksums: %w", err)
		}
	}
	m.Checksum.Algorithm, m.Checksum.Composite = alg, j.up.attrs.composite
	if err := agree(&q.Checksum, &m); err != nil {
		return err
	}
	if m.Tags, err = j.up.attrs.tagFields(); err != nil {
		return err
	}
	cmd.attrs, cmd.withTags = appendAttrs(nil, &m), len(m.Tags) > 0
	return nil
}

// agree compares a checksum the client told of the whole with ours.
func agree(told *tracker.Checksum, m *tracker.Meta) error {
	if told.Value == nil {
		return nil
	}
	have := m.Checksum.Value
	switch {
	case told.Algorithm == m.Checksum.Algorithm && told.Composite == m.Checksum.Composite:
	case told.Algorithm == checksum.CRC64NVME && !told.Composite:
		have = be64(nil, m.CRC64NVME)
	default:
		return fmt.Errorf("checksum of another kind than the upload's: %w", tracker.ErrInvalid)
	}
	if !bytes.Equal(told.Value, have) {
		return fmt.Errorf("%v of the object differs: %w", told.Algorithm, tracker.ErrBadChecksum)
	}
	return nil
}
