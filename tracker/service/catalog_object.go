package service

import (
	"context"
	"fmt"
	"sync"

	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

// maxDeletes is how many keys one DeleteObjects may name.
const maxDeletes = 1000

// checkKey refuses a key that no object can have.
func checkKey(key string) error {
	if len(key) == 0 || len(key) > catalog.MaxKey {
		return fmt.Errorf("key of %d bytes: %w", len(key), tracker.ErrInvalid)
	}
	return nil
}

// PutObject implements tracker.Objects.
func (c *Catalog) PutObject(ctx context.Context, r *tracker.PutObject) (*tracker.PutResult, error) {
	if err := checkKey(r.Key); err != nil {
		return nil, err
	}
	if r.Bucket == 0 && r.Name != "" {
		b, err := c.Bucket(ctx, r.Name)
		if err != nil {
			return nil, err
		}
		known := *r
		known.Bucket = b.ID
		r = &known
	}
	res, err := c.Do(ctx, r.Mutation, catalog.Put{PutObject: r}, true)
	if err != nil {
		return nil, err
	}
	return res.(*tracker.PutResult), nil
}

// GetObject implements tracker.Objects.
func (c *Catalog) GetObject(ctx context.Context, q *tracker.GetObject) (*tracker.Object, error) {
	return view(ctx, c, func(r kv.Reader) (*tracker.Object, error) {
		if q.Bucket != 0 || q.Name == "" {
			return catalog.GetObject(r, q)
		}
		b, err := catalog.Bucket(r, q.Name)
		if err != nil {
			return nil, err
		}
		known := *q
		known.Bucket = b.ID
		o, err := catalog.GetObject(r, &known)
		if o != nil {
			o.In = b
		}
		return o, err
	})
}

// SetTags implements tracker.Objects.
func (c *Catalog) SetTags(ctx context.Context, r *tracker.SetTags) (string, error) {
	if err := checkKey(r.Key); err != nil {
		return "", err
	}
	if !catalog.GoodVersion(r.Version) {
		return "", fmt.Errorf("%q: %w", r.Version, tracker.ErrNoSuchVersion)
	}
	res, err := c.Do(ctx, r.Mutation, catalog.SetTags{SetTags: r}, len(r.Tags) > 0)
	if err != nil {
		return "", err
	}
	return res.(string), nil
}

// Extents implements tracker.Objects.
func (c *Catalog) Extents(ctx context.Context, ref tracker.Ref, offset int64, max int) ([]tracker.Extent, error) {
	return view(ctx, c, func(r kv.Reader) ([]tracker.Extent, error) { return catalog.Extents(r, ref, offset, max) })
}

// DeleteObject implements tracker.Objects.
func (c *Catalog) DeleteObject(ctx context.Context, r *tracker.DeleteObject) (*tracker.DeleteResult, error) {
	if err := checkKey(r.Key); err != nil {
		return nil, err
	}
	if !catalog.GoodVersion(r.Version) {
		return nil, fmt.Errorf("%q: %w", r.Version, tracker.ErrNoSuchVersion)
	}
	var in *tracker.Bucket
	if r.Bucket == 0 && r.Name != "" {
		var err error
		if in, err = c.Bucket(ctx, r.Name); err != nil {
			return nil, err
		}
		known := *r
		known.Bucket = in.ID
		r = &known
	}
	res, err := c.Do(ctx, r.Mutation, catalog.Delete{DeleteObject: r}, false)
	if err != nil {
		return nil, err
	}
	out := *res.(*tracker.DeleteResult)
	out.In = in
	return &out, nil
}

// DeleteObjects implements tracker.Objects. The entries travel in as many
// commands as their bounds ask for, at once; what hinders one command is the
// error of each of its entries.
func (c *Catalog) DeleteObjects(ctx context.Context, r *tracker.DeleteObjects) ([]tracker.DeleteResult, error) {
	if len(r.Entries) > maxDeletes {
		return nil, fmt.Errorf("%d keys in one request: %w", len(r.Entries), tracker.ErrInvalid)
	}
	for i := range r.Entries {
		e := &r.Entries[i]
		if err := checkKey(e.Key); err != nil {
			return nil, err
		}
		if !catalog.GoodVersion(e.Version) {
			return c.deleteGood(ctx, r)
		}
	}
	m := r.Mutation
	if m.RequestID == (tracker.RequestID{}) {
		m.RequestID = newRequestID()
	}
	results := make([]tracker.DeleteResult, len(r.Entries))
	var wg sync.WaitGroup
	for from := 0; from < len(r.Entries); {
		to := cut(r.Entries, from)
		cmd := catalog.DeleteMany{Bucket: r.Bucket, First: from, Entries: r.Entries[from:to]}
		part := results[from:to]
		one := func() {
			res, err := c.Do(ctx, m, cmd, false)
			if err != nil {
				for i := range part {
					part[i].Err = err
				}
				return
			}
			copy(part, res.([]tracker.DeleteResult))
		}
		if from = to; from == len(r.Entries) {
			one()
		} else {
			wg.Go(one)
		}
	}
	wg.Wait()
	return results, nil
}

// deleteGood deletes the entries of r whose version can be one; the others get
// their error.
func (c *Catalog) deleteGood(ctx context.Context, r *tracker.DeleteObjects) ([]tracker.DeleteResult, error) {
	results := make([]tracker.DeleteResult, len(r.Entries))
	good := &tracker.DeleteObjects{Mutation: r.Mutation, Bucket: r.Bucket}
	var index []int
	for i, e := range r.Entries {
		if !catalog.GoodVersion(e.Version) {
			results[i].Err = fmt.Errorf("%.100q: %w", e.Version, tracker.ErrNoSuchVersion)
			continue
		}
		good.Entries, index = append(good.Entries, e), append(index, i)
	}
	if len(index) == 0 {
		return results, nil
	}
	done, err := c.DeleteObjects(ctx, good)
	if err != nil {
		return nil, err
	}
	for j, i := range index {
		results[i] = done[j]
	}
	return results, nil
}

// cut returns the end of the run of entries from from on that one command takes.
func cut(entries []tracker.DeleteEntry, from int) int {
	size := 0
	for to := from; to < len(entries); to++ {
		e := &entries[to]
		size += len(e.Key) + 32
		for _, list := range [][]string{e.IfMatch, e.IfNoneMatch} {
			for _, etag := range list {
				size += len(etag) + 2
			}
		}
		if to-from == catalog.MaxDeletes || size > catalog.MaxDeleteBytes && to > from {
			return to
		}
	}
	return len(entries)
}

// ListObjects implements tracker.Objects.
func (c *Catalog) ListObjects(ctx context.Context, q *tracker.ListObjects) (*tracker.ObjectPage, error) {
	return view(ctx, c, func(r kv.Reader) (*tracker.ObjectPage, error) { return catalog.ListObjects(r, q) })
}
