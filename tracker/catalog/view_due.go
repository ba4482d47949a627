package catalog

import (
	"bytes"

	"holdfast/tracker/kv"
)

// ResultsDue tells whether TrimResults would forget anything, so that an idle
// catalog proposes nothing.
func ResultsDue(r kv.Reader, now int64) (due bool, err error) {
	it, err := r.Iter([]byte{rowTrim}, []byte{rowTrim + 1})
	if err != nil {
		return false, err
	}
	defer closeIter(it, &err)
	if !it.First() {
		return false, nil
	}
	d := dec{p: it.Value()}
	d.version(1)
	expiry := int64(d.u64())
	if d.bad {
		return false, badRow("trim row")
	}
	return expiry < now, nil
}

// OutcomesDue looks at up to max uploads that ended, after a key (nil: from
// the first). It tells whether TrimOutcomes would forget one of them, and the
// last key it looked at, nil at the end.
func OutcomesDue(r kv.Reader, after []byte, now int64, max int) (due bool, last []byte, err error) {
	lower := []byte{rowOutcome, 0}
	if len(after) > 0 {
		lower = append(bytes.Clone(after), 0)
	}
	it, err := r.Iter(lower, []byte{rowOutcome + 1})
	if err != nil {
		return false, nil, err
	}
	defer closeIter(it, &err)
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n > max {
			return due, last, nil
		}
		var o outcomeRow
		if err := o.decode(it.Value()); err != nil {
			return false, nil, err
		}
		due = due || o.state != uploadOpen && seqTime(o.seq)+outcomeLife < now
		last = bytes.Clone(it.Key())
	}
	return due, nil, nil
}
