package service

import (
	"context"
	"errors"
	"fmt"

	"holdfast/tracker"
	"holdfast/tracker/catalog"
	"holdfast/tracker/kv"
)

// completeTries bounds how often the parts of an upload may change between
// reading them and the commit.
const completeTries = 10

// CreateUpload implements tracker.Uploads.
func (c *Catalog) CreateUpload(ctx context.Context, r *tracker.CreateUpload) (*tracker.Upload, error) {
	if err := checkKey(r.Key); err != nil {
		return nil, err
	}
	res, err := c.Do(ctx, r.Mutation, catalog.CreateUpload{CreateUpload: r}, true)
	if err != nil {
		return nil, err
	}
	u := res.(*tracker.Upload)
	u.Meta, u.Owner = r.Meta, r.Owner
	return u, nil
}

// GetUpload implements tracker.Uploads.
func (c *Catalog) GetUpload(ctx context.Context, ref tracker.UploadRef) (*tracker.Upload, error) {
	return view(ctx, c, func(r kv.Reader) (*tracker.Upload, error) { return catalog.GetUpload(r, ref) })
}

// PutPart implements tracker.Uploads.
func (c *Catalog) PutPart(ctx context.Context, r *tracker.PutPart) error {
	if err := checkUpload(&r.UploadRef); err != nil {
		return err
	}
	_, err := c.Do(ctx, r.Mutation, catalog.PutPart{PutPart: r}, true)
	return err
}

func checkUpload(r *tracker.UploadRef) error {
	if err := checkKey(r.Key); err != nil {
		return err
	}
	if r.Upload == "" || r.Upload == "null" || !catalog.GoodVersion(r.Upload) {
		return fmt.Errorf("%q: %w", r.Upload, tracker.ErrNoSuchUpload)
	}
	return nil
}

// CompleteUpload implements tracker.Uploads. What the object is made of is
// computed here from a read; the commit is refused, and this begins anew, if
// a part changed since.
func (c *Catalog) CompleteUpload(ctx context.Context, r *tracker.CompleteUpload) (*tracker.PutResult, error) {
	if err := checkUpload(&r.UploadRef); err != nil {
		return nil, err
	}
	m := r.Mutation
	if m.RequestID == (tracker.RequestID{}) {
		m.RequestID = newRequestID()
	}
	for tries := 1; ; tries++ {
		var cmd *catalog.Complete
		var done *tracker.PutResult
		err := c.View(ctx, func(v kv.Reader) (err error) {
			cmd, done, err = catalog.PrepareComplete(v, r)
			return err
		})
		if err != nil || done != nil {
			return done, err
		}
		res, err := c.Do(ctx, m, cmd, true)
		if err == nil {
			return res.(*tracker.PutResult), nil
		}
		if !errors.Is(err, tracker.ErrConflict) || tries == completeTries {
			return nil, err
		}
	}
}

// AbortUpload implements tracker.Uploads.
func (c *Catalog) AbortUpload(ctx context.Context, r *tracker.AbortUpload) error {
	if err := checkUpload(&r.UploadRef); err != nil {
		return err
	}
	_, err := c.Do(ctx, r.Mutation, catalog.Abort{AbortUpload: r}, false)
	return err
}

// ListParts implements tracker.Uploads.
func (c *Catalog) ListParts(ctx context.Context, ref tracker.UploadRef, after, max int) (*tracker.PartPage, error) {
	return view(ctx, c, func(r kv.Reader) (*tracker.PartPage, error) { return catalog.ListParts(r, ref, after, max) })
}

// ListUploads implements tracker.Uploads.
func (c *Catalog) ListUploads(ctx context.Context, q *tracker.ListUploads) (*tracker.UploadPage, error) {
	return view(ctx, c, func(r kv.Reader) (*tracker.UploadPage, error) { return catalog.ListUploads(r, q) })
}

// Parts implements tracker.Objects.
func (c *Catalog) Parts(ctx context.Context, ref tracker.Ref, after, max int) ([]tracker.Part, error) {
	return view(ctx, c, func(r kv.Reader) ([]tracker.Part, error) { return catalog.Parts(r, ref, after, max) })
}

// ListVersions implements tracker.Objects.
func (c *Catalog) ListVersions(ctx context.Context, q *tracker.ListVersions) (*tracker.VersionPage, error) {
	return view(ctx, c, func(r kv.Reader) (*tracker.VersionPage, error) { return catalog.ListVersions(r, q) })
}
