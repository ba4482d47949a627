package remote

import (
	"context"
	"fmt"

	"holdfast/internal/rpc"
	"holdfast/tracker"
)

// CreateBucket implements tracker.Catalog.
func (c *Client) CreateBucket(ctx context.Context, r *tracker.CreateBucket) (*tracker.Bucket, error) {
	return mutate[tracker.CreateBucket, tracker.Bucket](ctx, c, "CreateBucket", r)
}

// DeleteBucket implements tracker.Catalog.
func (c *Client) DeleteBucket(ctx context.Context, r *tracker.DeleteBucket) error {
	_, err := mutate[tracker.DeleteBucket, none](ctx, c, "DeleteBucket", r)
	return err
}

// Bucket implements tracker.Catalog.
func (c *Client) Bucket(ctx context.Context, name string) (*tracker.Bucket, error) {
	return read[nameRequest, tracker.Bucket](ctx, c, catalogService, "Bucket", &nameRequest{name})
}

// ListBuckets implements tracker.Catalog.
func (c *Client) ListBuckets(ctx context.Context, r *tracker.ListBuckets) (*tracker.BucketPage, error) {
	return read[tracker.ListBuckets, tracker.BucketPage](ctx, c, catalogService, "ListBuckets", r)
}

// SetVersioning implements tracker.Catalog.
func (c *Client) SetVersioning(ctx context.Context, r *tracker.SetVersioning) error {
	_, err := mutate[tracker.SetVersioning, none](ctx, c, "SetVersioning", r)
	return err
}

// Usage implements tracker.Catalog.
func (c *Client) Usage(ctx context.Context, id tracker.BucketID) (tracker.Usage, error) {
	u, err := read[usageRequest, tracker.Usage](ctx, c, catalogService, "Usage", &usageRequest{id})
	if err != nil || u == nil {
		return tracker.Usage{}, err
	}
	return *u, nil
}

// PutObject implements tracker.Catalog.
func (c *Client) PutObject(ctx context.Context, r *tracker.PutObject) (*tracker.PutResult, error) {
	return mutate[tracker.PutObject, tracker.PutResult](ctx, c, "PutObject", r)
}

// GetObject implements tracker.Catalog.
func (c *Client) GetObject(ctx context.Context, r *tracker.GetObject) (*tracker.Object, error) {
	return read[tracker.GetObject, tracker.Object](ctx, c, catalogService, "GetObject", r)
}

// SetTags implements tracker.Catalog.
func (c *Client) SetTags(ctx context.Context, r *tracker.SetTags) (string, error) {
	a, err := mutate[tracker.SetTags, tagsAnswer](ctx, c, "SetTags", r)
	if a == nil {
		return "", err
	}
	return a.Version, err
}

// Extents implements tracker.Catalog.
func (c *Client) Extents(ctx context.Context, ref tracker.Ref, offset int64, max int) ([]tracker.Extent, error) {
	a, err := read[extentsRequest, extentsAnswer](ctx, c, catalogService, "Extents", &extentsRequest{ref, offset, max})
	if a == nil {
		return nil, err
	}
	return a.Extents, err
}

// Parts implements tracker.Catalog.
func (c *Client) Parts(ctx context.Context, ref tracker.Ref, after, max int) ([]tracker.Part, error) {
	a, err := read[partsRequest, partsAnswer](ctx, c, catalogService, "Parts", &partsRequest{ref, after, max})
	if a == nil {
		return nil, err
	}
	return a.Parts, err
}

// DeleteObject implements tracker.Catalog.
func (c *Client) DeleteObject(ctx context.Context, r *tracker.DeleteObject) (*tracker.DeleteResult, error) {
	return mutate[tracker.DeleteObject, tracker.DeleteResult](ctx, c, "DeleteObject", r)
}

// DeleteObjects implements tracker.Catalog.
func (c *Client) DeleteObjects(ctx context.Context, r *tracker.DeleteObjects) ([]tracker.DeleteResult, error) {
	a, err := mutate[tracker.DeleteObjects, deleted](ctx, c, "DeleteObjects", r)
	if a == nil {
		return nil, err
	}
	if len(a.Faults) != len(a.Results) {
		return nil, fmt.Errorf("DeleteObjects: %d results and %d errors: %w", len(a.Results), len(a.Faults), rpc.ErrProtocol)
	}
	for i := range a.Results {
		a.Results[i].Err = a.Faults[i].Err(c.known)
	}
	return a.Results, err
}

// ListObjects implements tracker.Catalog.
func (c *Client) ListObjects(ctx context.Context, r *tracker.ListObjects) (*tracker.ObjectPage, error) {
	return read[tracker.ListObjects, tracker.ObjectPage](ctx, c, catalogService, "ListObjects", r)
}

// ListVersions implements tracker.Catalog.
func (c *Client) ListVersions(ctx context.Context, r *tracker.ListVersions) (*tracker.VersionPage, error) {
	return read[tracker.ListVersions, tracker.VersionPage](ctx, c, catalogService, "ListVersions", r)
}

// CreateUpload implements tracker.Catalog.
func (c *Client) CreateUpload(ctx context.Context, r *tracker.CreateUpload) (*tracker.Upload, error) {
	return mutate[tracker.CreateUpload, tracker.Upload](ctx, c, "CreateUpload", r)
}

// GetUpload implements tracker.Catalog.
func (c *Client) GetUpload(ctx context.Context, r tracker.UploadRef) (*tracker.Upload, error) {
	return read[tracker.UploadRef, tracker.Upload](ctx, c, catalogService, "GetUpload", &r)
}

// PutPart implements tracker.Catalog.
func (c *Client) PutPart(ctx context.Context, r *tracker.PutPart) error {
	_, err := mutate[tracker.PutPart, none](ctx, c, "PutPart", r)
	return err
}

// CompleteUpload implements tracker.Catalog.
func (c *Client) CompleteUpload(ctx context.Context, r *tracker.CompleteUpload) (*tracker.PutResult, error) {
	return mutate[tracker.CompleteUpload, tracker.PutResult](ctx, c, "CompleteUpload", r)
}

// AbortUpload implements tracker.Catalog.
func (c *Client) AbortUpload(ctx context.Context, r *tracker.AbortUpload) error {
	_, err := mutate[tracker.AbortUpload, none](ctx, c, "AbortUpload", r)
	return err
}

// ListParts implements tracker.Catalog.
func (c *Client) ListParts(ctx context.Context, r tracker.UploadRef, after, max int) (*tracker.PartPage, error) {
	return read[listPartsRequest, tracker.PartPage](ctx, c, catalogService, "ListParts", &listPartsRequest{r, after, max})
}

// ListUploads implements tracker.Catalog.
func (c *Client) ListUploads(ctx context.Context, r *tracker.ListUploads) (*tracker.UploadPage, error) {
	return read[tracker.ListUploads, tracker.UploadPage](ctx, c, catalogService, "ListUploads", r)
}
