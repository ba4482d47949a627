package s3

import (
	"context"
	"net/http"

	"holdfast/tracker"
)

// deleteObject serves DeleteObject. Deleting what is not there succeeds, as S3
// has it, unless a condition asks for something.
func deleteObject(c *call) error {
	var err error
	r := &tracker.DeleteObject{Name: c.bucket, Key: c.key}
	if r.Version, err = c.versionID(); err != nil {
		return c.inBucket(err)
	}
	if r.Conditions, err = c.deleteConditions(); err != nil {
		return c.inBucket(err)
	}
	var b *tracker.Bucket
	if c.header("X-Amz-Expected-Bucket-Owner") != "" {
		if b, err = c.bucketInfo(); err != nil {
			return err
		}
		r.Bucket = b.ID
	}
	var res *tracker.DeleteResult
	err = c.commit(func(ctx context.Context, m tracker.Mutation) (err error) {
		r.Mutation = m
		res, err = c.s.deps.Catalog.DeleteObject(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	h := c.w.Header()
	if res.Marker {
		h["X-Amz-Delete-Marker"] = []string{"true"}
	}
	if b == nil {
		b = res.In
	}
	if res.VersionID != "" && b.Versioning != tracker.Unversioned {
		h["X-Amz-Version-Id"] = []string{res.VersionID}
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// deleteConditions reads If-Match and its companions for time and size.
func (c *call) deleteConditions() (cond tracker.Conditions, err error) {
	cond.IfMatch = strongTags(c.conditionHeader("If-Match"), true)
	if v := c.header("X-Amz-If-Match-Last-Modified-Time"); v != "" {
		t, ok := parseTime(v)
		if !ok {
			return cond, errArgument("x-amz-if-match-last-modified-time is not a valid time", "x-amz-if-match-last-modified-time", v)
		}
		cond.IfModifiedTime = &t
	}
	if v := c.header("X-Amz-If-Match-Size"); v != "" {
		n, ok := parseDigits(v)
		if !ok || n == maxInt64 {
			return cond, errArgument("x-amz-if-match-size is not a valid size", "x-amz-if-match-size", v)
		}
		cond.IfSize = &n
	}
	return cond, nil
}
