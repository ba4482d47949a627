package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"
)

// A state stream is a checkpoint's files one after another. All numbers are
// little-endian.
//
//	8    "HFSTATE" and the version, 1
//	for each file:
//	  2    length of the name, over 0
//	  n    name, without a separator
//	  8    size
//	  size the bytes
//	  8    XXH3-64 of the bytes
//	2    0, the end
const streamMagic = "HFSTATE\x01"

var errStream = errors.New("consensus: malformed state stream")

// stream reads a checkpoint as a state stream and removes it when closed.
type stream struct {
	io.Reader
	fs    vfs.FS
	dir   string
	size  int64
	files []vfs.File
}

func newStream(fs vfs.FS, dir string) (*stream, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	s := &stream{fs: fs, dir: dir}
	parts := []io.Reader{strings.NewReader(streamMagic)}
	s.size = int64(len(streamMagic)) + 2
	for _, name := range names {
		f, err := fs.Open(fs.PathJoin(dir, name), vfs.SequentialReadsOption)
		if err != nil {
			return nil, errors.Join(err, s.closeFiles())
		}
		s.files = append(s.files, f)
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, s.closeFiles())
		}
		head := binary.LittleEndian.AppendUint16(nil, uint16(len(name)))
		head = binary.LittleEndian.AppendUint64(append(head, name...), uint64(info.Size()))
		sum := &summer{r: io.LimitReader(f, info.Size())}
		parts = append(parts, strings.NewReader(string(head)), sum, &lateSum{s: sum})
		s.size += int64(len(head)) + info.Size() + 8
	}
	s.Reader = io.MultiReader(append(parts, strings.NewReader("\x00\x00"))...)
	return s, nil
}

func (s *stream) closeFiles() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Close implements io.Closer.
func (s *stream) Close() error {
	return errors.Join(s.closeFiles(), s.fs.RemoveAll(s.dir))
}

type summer struct {
	r io.Reader
	h xxh3.Hasher
}

func (s *summer) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	_, _ = s.h.Write(b[:n])
	return n, err
}

// lateSum gives the checksum once the bytes before it were read.
type lateSum struct {
	s    *summer
	rest []byte
	made bool
}

func (l *lateSum) Read(b []byte) (int, error) {
	if !l.made {
		l.rest, l.made = binary.LittleEndian.AppendUint64(nil, l.s.h.Sum64()), true
	}
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// receive writes a state stream's files to dir, which it makes anew. They and
// the directory are durable on nil.
func receive(r io.Reader, fs vfs.FS, dir string) error {
	if err := fs.RemoveAll(dir); err != nil {
		return err
	}
	if err := makeDir(fs, dir); err != nil {
		return err
	}
	magic := make([]byte, len(streamMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != streamMagic {
		return errors.Join(fmt.Errorf("%w: head", errStream), err)
	}
	for {
		name, err := readName(r)
		if err != nil {
			return err
		}
		if name == "" {
			break
		}
		if err := receiveFile(r, fs, fs.PathJoin(dir, name)); err != nil {
			return fmt.Errorf("consensus: file %q of a state stream: %w", name, err)
		}
	}
	if _, err := io.ReadFull(r, make([]byte, 1)); err != io.EOF {
		return fmt.Errorf("%w: bytes after the end", errStream)
	}
	return syncDir(fs, dir)
}

func readName(r io.Reader) (string, error) {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", errors.Join(errStream, err)
	}
	name := make([]byte, binary.LittleEndian.Uint16(n[:]))
	if _, err := io.ReadFull(r, name); err != nil {
		return "", errors.Join(errStream, err)
	}
	return string(name), checkName(string(name))
}

// checkName refuses names that are not a file's of a directory. An empty one
// ends a stream.
func checkName(s string) error {
	if len(s) > 255 || strings.ContainsAny(s, "/\\\x00") || s == "." || s == ".." {
		return fmt.Errorf("%w: name %q", errStream, s)
	}
	return nil
}

func receiveFile(r io.Reader, fs vfs.FS, path string) (err error) {
	var n [8]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return errors.Join(errStream, err)
	}
	size := binary.LittleEndian.Uint64(n[:])
	if size > 1<<62 {
		return fmt.Errorf("%w: size", errStream)
	}
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := &summer{r: io.LimitReader(r, int64(size))}
	if m, err := io.Copy(onlyWriter{f}, sum); err != nil || uint64(m) != size {
		return errors.Join(fmt.Errorf("%w: cut after %d of %d bytes", errStream, m, size), err)
	}
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return errors.Join(errStream, err)
	}
	if binary.LittleEndian.Uint64(n[:]) != sum.h.Sum64() {
		return fmt.Errorf("%w: checksum", errStream)
	}
	return f.Sync()
}

// onlyWriter hides what else a file can do from io.Copy.
type onlyWriter struct{ io.Writer }

// copyState copies a checkpoint's files to dir of another file system. They
// are durable on nil.
func copyState(ctx context.Context, from vfs.FS, src string, to vfs.FS, dir string) error {
	s, err := newStream(from, src)
	if err != nil {
		return err
	}
	return errors.Join(receive(&ctxReader{ctx, s}, to, dir), s.closeFiles())
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// makeDir makes dir and its parents, durably.
func makeDir(fs vfs.FS, dir string) error {
	var missing []string
	for d := dir; ; d = fs.PathDir(d) {
		if _, err := fs.Stat(d); err == nil || fs.PathDir(d) == d {
			break
		}
		missing = append(missing, d)
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, d := range missing {
		if err := syncDir(fs, fs.PathDir(d)); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
