package service

import (
	"context"
	"fmt"

	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

// CreateBucket implements tracker.Buckets.
func (c *Catalog) CreateBucket(ctx context.Context, r *tracker.CreateBucket) (*tracker.Bucket, error) {
	res, err := c.Do(ctx, r.Mutation, catalog.CreateBucket{CreateBucket: r}, true)
	if err != nil {
		return nil, err
	}
	b := res.(*catalog.BucketResult)
	if b.Existed {
		return &b.Bucket, fmt.Errorf("%q: %w", r.Name, tracker.ErrBucketExists)
	}
	return &b.Bucket, nil
}

// DeleteBucket implements tracker.Buckets.
func (c *Catalog) DeleteBucket(ctx context.Context, r *tracker.DeleteBucket) error {
	_, err := c.Do(ctx, r.Mutation, catalog.DeleteBucket{Name: r.Name}, false)
	return err
}

// Bucket implements tracker.Buckets.
func (c *Catalog) Bucket(ctx context.Context, name string) (*tracker.Bucket, error) {
	return view(ctx, c, func(r kv.Reader) (*tracker.Bucket, error) { return catalog.Bucket(r, name) })
}

// ListBuckets implements tracker.Buckets.
func (c *Catalog) ListBuckets(ctx context.Context, q *tracker.ListBuckets) (*tracker.BucketPage, error) {
	return view(ctx, c, func(r kv.Reader) (*tracker.BucketPage, error) { return catalog.ListBuckets(r, q) })
}

// SetVersioning implements tracker.Buckets.
func (c *Catalog) SetVersioning(ctx context.Context, r *tracker.SetVersioning) error {
	_, err := c.Do(ctx, r.Mutation, catalog.SetVersioning{Bucket: r.Bucket, State: r.State}, false)
	return err
}

// Usage implements tracker.Buckets.
func (c *Catalog) Usage(ctx context.Context, id tracker.BucketID) (tracker.Usage, error) {
	return view(ctx, c, func(r kv.Reader) (tracker.Usage, error) { return catalog.Usage(r, id) })
}
