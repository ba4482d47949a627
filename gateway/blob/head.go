package blob

import "io"

// pieceSizes are the buffers in bytes that a stream fills, one after the
// other, before it gets a batch: what a write holds is at most about five
// times what its source has given, whatever it has announced.
var pieceSizes = [...]int{1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10}

// freePieces is how many of them a stream fills before it asks for memory.
const freePieces = 3

// head is a source whose first bytes were read ahead into pieces. It gives
// each back as soon as it was read again.
type head struct {
	w      *Writer
	src    io.Reader
	pieces [len(pieceSizes)]*[]byte // from the pools of w, nil once given back
	unread [len(pieceSizes)][]byte
	err    error // io.EOF, if src ended within the pieces
}

// ahead reads the first bytes of src, whose length is size, negative if
// unknown, into pieces, so that a batch is taken for bytes that are there
// rather than for those that were announced. take is asked for what all pieces
// hold before one over the free ones is filled. An error of take, or of src
// other than io.EOF, is returned at once. release gives back what was not read
// again.
func (w *Writer) ahead(src io.Reader, size int64, take func(n int64) error) (*head, error) {
	h := &head{w: w, src: src}
	var all int64
	for _, n := range pieceSizes {
		all += int64(n)
	}
	for i, n := range pieceSizes {
		if size >= 0 {
			n = int(min(int64(n), size))
			size -= int64(n)
		}
		if n == 0 || h.err != nil {
			break
		}
		var err error
		if i == freePieces {
			err = take(all)
		}
		if err == nil {
			err = h.read(i, n)
		}
		if err != nil {
			h.release()
			return nil, err
		}
	}
	return h, nil
}

// left is the number of bytes that were read ahead, and not again.
func (h *head) left() (n int64) {
	for _, p := range h.unread {
		n += int64(len(p))
	}
	return n
}

// read fills n bytes of piece i.
func (h *head) read(i, n int) error {
	p, _ := h.w.pieces[i].Get().(*[]byte)
	if p == nil {
		b := make([]byte, pieceSizes[i])
		p = &b
	}
	h.pieces[i] = p
	got, idle := 0, 0
	for got < n && h.err == nil {
		var m int
		m, h.err = h.src.Read((*p)[got:n])
		got += m
		if m > 0 {
			idle = 0
		} else if idle++; idle > 100 && h.err == nil {
			h.err = io.ErrNoProgress
		}
	}
	h.unread[i] = (*p)[:got]
	if h.err == io.EOF {
		return nil
	}
	return h.err
}

// Read implements io.Reader.
func (h *head) Read(p []byte) (int, error) {
	for i := range h.pieces {
		if h.pieces[i] == nil {
			continue
		}
		n := copy(p, h.unread[i])
		if h.unread[i] = h.unread[i][n:]; len(h.unread[i]) == 0 {
			h.giveBack(i)
		}
		if n > 0 {
			return n, nil
		}
	}
	if h.err != nil {
		return 0, h.err
	}
	return h.src.Read(p)
}

func (h *head) giveBack(i int) {
	h.w.pieces[i].Put(h.pieces[i])
	h.pieces[i], h.unread[i] = nil, nil
}

// release gives back the pieces that are left.
func (h *head) release() {
	for i := range h.pieces {
		if h.pieces[i] != nil {
			h.giveBack(i)
		}
	}
}
