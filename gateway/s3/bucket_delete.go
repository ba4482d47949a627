package s3

import (
	"context"

	"holdfast/tracker"
)

// deleteBucket serves DeleteBucket. The expected owner is checked first; the
// deletion itself is judged in the catalog's commit.
func deleteBucket(c *call) error {
	if _, err := c.bucketInfo(); err != nil {
		return err
	}
	r := &tracker.DeleteBucket{Name: c.bucket}
	err := c.commit(func(ctx context.Context, m tracker.Mutation) error {
		r.Mutation = m
		return c.s.deps.Catalog.DeleteBucket(ctx, r)
	})
	if err != nil {
		return err
	}
	return c.noContent()
}
