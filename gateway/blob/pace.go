package blob

import (
	"bytes"
	"context"
	"io"
	"time"

	"holdfast/erasure/frame"
	"holdfast/erasure/stripe"
)

// slowRate is the number of bytes a second under which a source is slow.
const slowRate = 128 << 10

// first returns the batch for the first bytes of the source.
func (u *upload) first() *stripe.Batch {
	if u.stripes() == 1 {
		return u.pool.sized(1)
	}
	return u.pool.get(u.size)
}

// stripes returns how many stripes the next batch is to have, and may.
func (u *upload) stripes() int {
	if u.memory == nil {
		if u.fast {
			return u.pool.full
		}
		return 1
	}
	if u.fast && u.memory.Try(2*int64(u.pool.full)*u.stripe()) {
		return u.pool.full
	}
	u.memory.Try(u.stripe())
	return 1
}

// stripe is what a batch of one stripe takes in bytes.
func (u *upload) stripe() int64 { return int64(u.grant.Scheme.Width()) * frame.Stride }

// ahead reads the first bytes of src and finds out how fast it is.
func (u *upload) ahead(ctx context.Context, m Memory, src io.Reader) (io.Reader, func(), error) {
	if _, held := src.(*bytes.Reader); held {
		return src, func() {}, nil
	}
	started := u.w.clock.Now()
	h, err := u.w.ahead(src, u.size, func(n int64) error {
		if m == nil {
			return nil
		}
		u.memory = m
		asked := u.w.clock.Now()
		err := m.Take(ctx, max(n, u.stripe()))
		started = started.Add(u.w.clock.Now().Sub(asked)) // the wait is not the source's
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	u.head = h
	u.measure(h.left(), started)
	return h, h.release, nil
}

// fill fills a batch and finds out how fast that went, if any of it had not
// been read ahead.
func (u *upload) fill(src io.Reader, b *stripe.Batch) (last bool, err error) {
	if u.head == nil {
		return u.enc.Fill(src, b)
	}
	started, ahead := u.w.clock.Now(), u.head.left()
	last, err = u.enc.Fill(src, b)
	if b.Bytes > ahead {
		u.measure(b.Bytes-ahead, started)
	}
	return last, err
}

func (u *upload) measure(bytes int64, started time.Time) {
	took := u.w.clock.Now().Sub(started)
	u.fast = took < time.Duration(bytes)*(time.Second/slowRate)
}

// reuse returns a batch to fill: one that was sent, if it has the right size
// and no node that was given up holds it still. The last keep of those handed
// out are being sent. held is then what nodes may be reading.
func (u *upload) reuse(held []*stripe.Batch, keep, sent int) (*stripe.Batch, []*stripe.Batch) {
	sentOnes, held := held[:len(held)-keep], held[len(held)-keep:]
	want := u.stripes()
	var found *stripe.Batch
	if u.free(sent) {
		for _, b := range sentOnes {
			if found == nil && b.Cap() == want {
				found = b
			} else {
				u.pool.put(b)
			}
		}
	}
	if found == nil {
		found = u.pool.sized(want)
	}
	return found, held
}

// free reports whether no sender holds batch n or one before it.
func (u *upload) free(n int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.senders {
		if s := &u.senders[i]; s.done < n && !s.exited {
			return false
		}
	}
	return true
}
