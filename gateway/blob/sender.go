package blob

import (
	"context"
	"time"

	"holdfast/erasure/stripe"
	"holdfast/storage"
)

// phase is the state of a shard that is being written.
type phase uint8

const (
	running phase = iota
	sealed        // durable
	failed        // err tells why
	dropped       // given up; its node may still hang
)

// sender writes one shard. Its run is the only user of the shard's writer.
type sender struct {
	u      *upload
	index  uint8
	place  storage.Placement
	first  job
	jobs   chan job // after the first; capacity 2: never blocks, there are two batches
	ctx    context.Context
	cancel context.CancelFunc // nil: ctx is the upload's

	// Guarded by upload.mu.
	state   phase
	exited  bool      // run has returned: it holds no batch
	sealing bool      // the seal was asked for: the shard may exist
	done    int       // number of batches written
	at      time.Time // of the last progress, or of the last batch handed over
	err     error
	expiry  int64 // that the shard's header carries
}

// job is a batch to write, and to seal after.
type job struct {
	run  []byte
	n    int // of the batch, from 1
	seal bool
	sum  storage.Seal
}

func (s *sender) id() storage.ShardID {
	return storage.ShardID{Blob: s.u.grant.Blob, Index: s.index, Gen: s.place.Gen}
}

// create opens the shard on its node.
func (s *sender) create(ctx context.Context, stored int64) (storage.ShardWriter, error) {
	node, err := s.u.nodes.Shards(s.place.Node)
	if err != nil {
		return nil, err
	}
	return node.Create(ctx, &s.u.grant.Ticket, s.id(), stored)
}

// once writes and seals a shard of one run.
func (s *sender) once(ctx context.Context, run []byte) error {
	u := s.u
	started := u.w.clock.Now()
	w, err := s.create(ctx, u.enc.Stored())
	if err != nil {
		return err
	}
	if len(run) > 0 {
		if _, err := w.Write(run); err != nil {
			w.Abort()
			return err
		}
	}
	if err := s.seal(ctx, w, u.seal(int(s.index))); err != nil {
		return err
	}
	u.w.groups.get(u.grant.Blob.Group()).observe(u.w.clock.Now().Sub(started))
	return nil
}

// run writes the shard's batches as they are handed over, then seals it.
func (s *sender) run() {
	defer s.u.w.wg.Done()
	expiry, err := s.send()
	u := s.u
	u.mu.Lock()
	s.exited = true
	if err == nil {
		// A straggler's time counts too, once it is known; while it is not,
		// it must not, or one hung node would make every write wait longer.
		u.w.groups.get(u.grant.Blob.Group()).observe(u.w.clock.Now().Sub(s.at))
	}
	switch {
	case s.state == dropped: // whatever came of it, the blob does without
	case err != nil:
		s.state, s.err = failed, err
	default:
		s.state, s.expiry = sealed, expiry
	}
	wake := s.state != sealed || u.count(func(s *sender) bool { return s.state == sealed }) >= u.grant.Scheme.Quorum()
	orphan := u.failed && s.sealing
	u.mu.Unlock()
	if wake {
		u.signal()
	}
	if orphan {
		_ = remove(context.WithoutCancel(s.ctx), u.nodes, s.doomed())
	}
}

// count counts senders. u.mu is held.
func (u *upload) count(is func(*sender) bool) (n int) {
	for i := range u.senders {
		if is(&u.senders[i]) {
			n++
		}
	}
	return n
}

func (s *sender) send() (expiry int64, err error) {
	stored := int64(-1)
	if s.u.size >= 0 {
		stored = s.u.grant.Scheme.ShardSize(s.u.size)
	}
	w, err := s.create(s.ctx, stored)
	if err != nil {
		return 0, err
	}
	for j := s.first; ; {
		if len(j.run) > 0 {
			if _, err := w.Write(j.run); err != nil {
				w.Abort()
				return 0, err
			}
		}
		if !j.seal {
			s.progress(j.n)
			select {
			case j = <-s.jobs:
			case <-s.ctx.Done():
				w.Abort()
				return 0, s.ctx.Err()
			}
			continue
		}
		// A node that was given up must not leave a shard behind if it can
		// be helped; one that seals all the same is an orphan, or adopted.
		if err := s.ctx.Err(); err != nil {
			w.Abort()
			return 0, err
		}
		expiry := s.renew(w)
		return expiry, s.seal(s.ctx, w, j.sum)
	}
}

// progress notes that batch n was written, and so is nobody's any more. The
// upload need not know before a quorum is as far.
func (s *sender) progress(n int) {
	u := s.u
	u.mu.Lock()
	s.done, s.at = n, u.w.clock.Now()
	wake := u.count(func(s *sender) bool { return s.done >= n }) >= u.grant.Scheme.Quorum()
	u.mu.Unlock()
	if wake {
		u.signal()
	}
}

// renew hands the newest ticket to the shard's writer, and returns the expiry
// that its header will carry.
func (s *sender) renew(w storage.ShardWriter) int64 {
	s.u.mu.Lock()
	t := s.u.ticket
	s.u.mu.Unlock()
	first := s.u.grant.Ticket.Expiry
	if t.Expiry <= first {
		return first
	}
	if r, ok := w.(storage.Renewer); ok && r.Renew(&t) == nil {
		return t.Expiry
	}
	return first
}

// start starts a sender for each shard, with the first batch, whose
// contexts are apart if there are more: one that is given up is cancelled at
// once while the others go on.
func (u *upload) start(ctx context.Context, b *stripe.Batch, last bool) {
	ctx, u.cancel = context.WithCancel(ctx)
	now := u.w.clock.Now()
	for i := range u.senders {
		s := &u.senders[i]
		s.ctx, s.at, s.first = ctx, now, u.job(s, b, 1, last)
		if !last {
			s.jobs = make(chan job, 2)
			s.ctx, s.cancel = context.WithCancel(ctx)
		}
	}
	u.w.wg.Add(len(u.senders))
	for i := range u.senders {
		go u.senders[i].run()
	}
}

// hand gives batch n, after the first, to every sender that is still wanted.
func (u *upload) hand(b *stripe.Batch, n int, last bool) {
	now := u.w.clock.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.senders {
		s := &u.senders[i]
		if s.state != running {
			u.enc.Drop(s.index)
			continue
		}
		if s.done == n-1 {
			s.at = now // it was waiting for us
		}
		s.jobs <- u.job(s, b, n, last)
	}
}

func (u *upload) job(s *sender, b *stripe.Batch, n int, last bool) job {
	j := job{run: b.Shard(int(s.index)), n: n, seal: last}
	if last {
		j.sum = u.seal(int(s.index))
	}
	return j
}

func (u *upload) seal(i int) storage.Seal {
	return storage.Seal{Frames: u.enc.Frames(), Length: u.enc.Stored(), Sum: u.enc.Sum(i)}
}

func (u *upload) signal() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}
