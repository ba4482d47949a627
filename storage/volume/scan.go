package volume

import (
	"fmt"
	"io"

	"holdfast/internal/vfs"
)

// window is how much a Scanner reads at once while records lie close.
const window = 256 << 10

// Scanner reads the records of a volume in order. One goroutine at a time.
type Scanner struct {
	f     vfs.File
	nonce uint64
	off   int64 // of the next record
	end   int64 // of the file
	buf   []byte
	base  int64 // offset of buf in the file
}

// NewScanner starts at offset from, which is HeaderSize or where a record
// ended.
func NewScanner(f vfs.File, h Header, from int64) (*Scanner, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	return &Scanner{f: f, nonce: h.Nonce, off: from, end: size}, nil
}

// Offset is where the next record is looked for: after an error the end of
// the last good one.
func (s *Scanner) Offset() int64 { return s.off }

// view returns n bytes at off, from the window if they are there. The bytes
// are good until the next call.
func (s *Scanner) view(off, n int64) ([]byte, error) {
	if off < s.base || off+n > s.base+int64(len(s.buf)) {
		if want := max(n, window); int64(cap(s.buf)) < want {
			s.buf = make([]byte, want)
		}
		s.buf, s.base = s.buf[:cap(s.buf)], off
		m, err := s.f.ReadAt(s.buf, off)
		s.buf = s.buf[:m]
		if int64(m) < n && err != nil {
			return s.buf, err
		}
	}
	return s.buf[off-s.base:][:n], nil
}

// Next returns the next record that is not a filler, and its offset. io.EOF
// at the end of the file; an error that wraps ErrFormat where no record is,
// which is a torn tail in the last volume and damage in any other.
func (s *Scanner) Next() (Record, int64, error) {
	for {
		if s.off >= s.end {
			return Record{}, s.off, io.EOF
		}
		b, err := s.view(s.off, min(RecordSize, s.end-s.off))
		if err != nil && err != io.EOF {
			return Record{}, s.off, err
		}
		r, err := DecodeRecord(b, s.nonce, s.off)
		if err != nil {
			return Record{}, s.off, err
		}
		if s.off+r.Span > s.end {
			return Record{}, s.off, fmt.Errorf("offset %d: record is cut: %w", s.off, ErrFormat)
		}
		at := s.off
		s.off += r.Span
		if r.Kind != Filler {
			return r, at, nil
		}
	}
}

// Frames returns the stored frames of a packed record that Next returned at
// off. They are good until the next call.
func (s *Scanner) Frames(r *Record, off int64) ([]byte, error) {
	return s.view(off+RecordSize, r.Seal.Length)
}

// Resync looks for the next good record at or after the present offset and
// reports whether there is one. It is for volumes whose middle is damaged.
func (s *Scanner) Resync() (bool, error) {
	for off := (s.off + Slot) &^ (Slot - 1); off < s.end; off += Slot {
		b, err := s.view(off, min(RecordSize, s.end-off))
		if err != nil && err != io.EOF {
			return false, err
		}
		if r, err := DecodeRecord(b, s.nonce, off); err == nil && off+r.Span <= s.end {
			s.off = off
			return true, nil
		}
	}
	s.off = s.end
	return false, nil
}

// ReadHeader reads and checks the header of an open volume.
func ReadHeader(f vfs.File, cluster string) (Header, error) {
	b := make([]byte, HeaderSize)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return Header{}, err
	}
	return DecodeHeader(b, cluster)
}
