package consensus

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// A group's recovery number says how often it was forced to go on without a
// majority: in the upper 32 bits the count, in the lower ones a number drawn by
// that recovery, which tells two recoveries apart that were made of the same
// group without knowing of each other. Of groups recovered before there was
// such a number, the count alone is in the lower bits.

// nextRecovery is the number of a recovery of a group that has number was.
func nextRecovery(was uint64) uint64 {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return (was>>32+1)<<32 | uint64(binary.LittleEndian.Uint32(b[:]))
}

// outranks reports whether a group of number a was recovered from one of
// number b, or from one of the same count, so that b's replicas are left out.
func outranks(a, b uint64) bool {
	if a>>32 == 0 && b>>32 == 0 {
		return a > b
	}
	return a>>32 > b>>32
}

// apart reports whether a and b are recoveries that did not know of each other.
func apart(a, b uint64) bool { return a != b && !outranks(a, b) && !outranks(b, a) }

// besideEvery is how often a leader asks trackers that are told of but are no
// members whether one of them leads another recovery of the group.
const besideEvery = time.Second

// lookBeside asks the trackers that this one was told of beforehand and that
// are no members: where two were recovered apart, neither knows the other
// otherwise, and each would serve the clients that happen to ask it.
func (r *Replica) lookBeside(v *voter) {
	if v.serving.Load() == 0 || v.recovery == 0 || r.cfg.Clock.Now().Sub(r.besideAt) < besideEvery || !r.besideBusy.CompareAndSwap(false, true) {
		return
	}
	r.besideAt = r.cfg.Clock.Now()
	conf, _ := r.others.members()
	member := map[string]bool{r.cfg.ID: true}
	for _, s := range conf {
		member[s.ID] = true
	}
	r.wg.Go(func() {
		defer r.besideBusy.Store(false)
		for _, m := range r.cfg.Members {
			if member[m.ID] || m.Addr == r.cfg.Advertise {
				continue
			}
			if st, _, err := r.askState(ServerInfo{ID: m.ID, Addr: m.Addr}); err == nil {
				r.judge(v, st)
			}
		}
	})
}

// meet ends this replica where it leads and meets the leader of a recovery
// that knew nothing of its own. That one meets this one in the same call, and
// ends too: which of the two is kept is for a person to say.
func (r *Replica) meet(v *voter, recovery uint64, leads bool) {
	if leads && v.serving.Load() != 0 && apart(recovery, v.recovery) {
		v.fail(ErrApart)
	}
}
