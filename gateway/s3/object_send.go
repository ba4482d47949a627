package s3

import (
	"errors"
	"fmt"
	"hash"

	"github.com/minio/crc64nvme"

	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

// sendObject sends the range of the object as the answer's body. Nothing is
// sent before the first bytes are there and good, so that an error until then
// is answered as one; w holds the headers, which are taken back in that case.
// A whole object is compared with its CRC64NVME before its last bytes go out,
// so that a mismatch cuts the answer short.
func (c *call) sendObject(w *headerWriter, b *tracker.Bucket, obj *tracker.Object, status int, r byteRange) error {
	whole := r.n == obj.Size && obj.HasCRC64
	if isInline(obj) {
		if int64(len(obj.Inline)) != obj.Size || whole && crc64nvme.Checksum(obj.Inline) != obj.CRC64NVME {
			w.undo()
			return fmt.Errorf("inline bytes: %w", storage.ErrCorrupt)
		}
		c.w.WriteHeader(status)
		_, _ = c.w.Write(obj.Inline[r.off : r.off+r.n]) // an error is the client's going away
		return nil
	}
	out := &objectSender{w: &c.res, status: status, left: r.n}
	if whole {
		out.crc, out.want = crc64nvme.New(), obj.CRC64NVME
	}
	reads, share := c.s.blobs.reads, min(2*r.n, readShare)
	if err := reads.take(c.r.Context(), share); err != nil {
		w.undo()
		return err
	}
	defer reads.sem.Release(share)
	src := c.readObject(b, c.key, obj, r)
	defer src.Close()
	_, err := src.WriteTo(out)
	switch {
	case err != nil && !out.started:
		w.undo()
	case errors.Is(err, errClientGone) || c.r.Context().Err() != nil:
		return nil // nobody is left to be told
	}
	return err
}

// errClientGone says that the client took no more of an answer.
var errClientGone = fault.New(fault.Canceled, "s3.client-gone", "client went away")

// sendError marks an error of the client's connection.
func sendError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errClientGone, err)
}

// objectSender writes an object to the client and checks it on the way. It is
// a blob.VecWriter.
type objectSender struct {
	w       *response
	status  int
	started bool
	left    int64
	crc     hash.Hash64 // nil: not compared
	want    uint64
}

// WriteVec implements blob.VecWriter.
func (s *objectSender) WriteVec(bufs [][]byte) (int64, error) {
	for _, p := range bufs {
		s.left -= int64(len(p))
		if s.crc != nil {
			s.crc.Write(p)
		}
	}
	if s.crc != nil && s.left == 0 && s.crc.Sum64() != s.want {
		return 0, fmt.Errorf("CRC64NVME of the whole object: %w", storage.ErrCorrupt)
	}
	if !s.started {
		s.started = true
		s.w.WriteHeader(s.status)
	}
	n, err := s.w.WriteVec(bufs)
	return n, sendError(err)
}

// Write implements io.Writer.
func (s *objectSender) Write(p []byte) (int, error) {
	n, err := s.WriteVec([][]byte{p})
	return int(n), err
}
