package worker

import (
	"context"
	"math"
	"time"

	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

const (
	// trimRows is how many rows one look at outcomes or changes reads.
	trimRows = 1000
	// outcomesEvery is how often ended uploads are looked at.
	outcomesEvery = time.Hour
)

// Trim implements Store. It reads before it proposes, so that a catalog with
// nothing to trim writes nothing.
func (s *CatalogStore) Trim(ctx context.Context) (more bool, err error) {
	var results, outcomes bool
	var after, last []byte
	var changes uint64
	s.mu.Lock()
	after = s.mu.outcomes
	round := s.mu.outcomesNext
	s.mu.Unlock()
	v, err := s.view(ctx, func(r kv.Reader, v View) (err error) {
		if results, err = catalog.ResultsDue(r, v.Now); err != nil {
			return err
		}
		if v.Now >= round {
			if outcomes, last, err = catalog.OutcomesDue(r, after, v.Now, trimRows); err != nil {
				return err
			}
		}
		changes, more, err = s.passed(r, v.Now)
		return err
	})
	if err != nil {
		return false, err
	}
	if results {
		st, err := s.step(ctx, catalog.TrimResults{})
		if err != nil {
			return false, err
		}
		more = more || st.More
	}
	if outcomes {
		if _, err := s.step(ctx, catalog.TrimOutcomes{After: after}); err != nil {
			return false, err
		}
	}
	if changes > 0 {
		if _, err := s.do(ctx, catalog.TrimChanges{UpTo: changes}); err != nil {
			return false, err
		}
	}
	if v.Now >= round {
		s.mu.Lock()
		s.mu.outcomes = last
		if last == nil {
			s.mu.outcomesNext = v.Now + outcomesEvery.Milliseconds()
		}
		s.mu.Unlock()
		more = more || last != nil
	}
	return more, nil
}

// passed finds the newest index of the change log that every consumer has
// passed and that is old enough to go, 0 if there is none, and whether there
// may be more after it.
func (s *CatalogStore) passed(r kv.Reader, now int64) (index uint64, more bool, err error) {
	cursors, err := catalog.Cursors(r)
	if err != nil {
		return 0, false, err
	}
	least := uint64(math.MaxUint64)
	for _, c := range cursors {
		least = min(least, c.Index)
	}
	rows, err := catalog.Changes(r, 0, 0, trimRows)
	if err != nil {
		return 0, false, err
	}
	for i := range rows {
		at := catalog.SeqTime(rows[i].Seq)
		dead := at < now-s.keep.Dead.Milliseconds()
		if !dead && (rows[i].Index >= least || at >= now-s.keep.Changes.Milliseconds()) {
			return index, false, nil
		}
		index = rows[i].Index
	}
	return index, len(rows) == trimRows && index > 0, nil
}
