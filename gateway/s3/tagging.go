package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"

	"holdfast/gateway"
	"holdfast/tracker"
)

// taggingResult answers GetObjectTagging. The set is there when it is empty.
type taggingResult struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ Tagging"`
	TagSet  tagSet
}

type tagSet struct {
	Tags []tag `xml:"Tag"`
}

type tag struct{ Key, Value string }

// getObjectTagging serves GetObjectTagging.
func getObjectTagging(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	version, err := c.versionID()
	if err != nil {
		return err
	}
	obj, err := c.s.deps.Catalog.GetObject(c.r.Context(), &tracker.GetObject{Bucket: b.ID, Key: c.key, Version: version})
	if err != nil {
		return c.missing(b, version, obj, err)
	}
	out := &taggingResult{}
	for _, f := range obj.Tags {
		out.TagSet.Tags = append(out.TagSet.Tags, tag{f.Name, f.Value})
	}
	if b.Versioning != tracker.Unversioned {
		c.w.Header()["X-Amz-Version-Id"] = []string{obj.ID}
	}
	return c.writeXML(http.StatusOK, out)
}

// putObjectTagging serves PutObjectTagging: the tags given are all that the
// version has then.
func putObjectTagging(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	doc, err := c.readDocument(gateway.MaxXML)
	if err != nil {
		return err
	}
	tags, err := parseTagging(doc)
	if err != nil {
		return err
	}
	if err := c.setTags(b, tags); err != nil {
		return err
	}
	c.w.Header()["Content-Length"] = []string{"0"}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// deleteObjectTagging serves DeleteObjectTagging.
func deleteObjectTagging(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	if err := c.setTags(b, nil); err != nil {
		return err
	}
	return c.noContent()
}

// setTags replaces the tags of the version that the call names.
func (c *call) setTags(b *tracker.Bucket, tags []tracker.Field) error {
	version, err := c.versionID()
	if err != nil {
		return err
	}
	r := &tracker.SetTags{Bucket: b.ID, Key: c.key, Version: version, Tags: tags}
	id := ""
	err = c.commit(func(ctx context.Context, m tracker.Mutation) (err error) {
		r.Mutation = m
		id, err = c.s.deps.Catalog.SetTags(ctx, r)
		return err
	})
	h := c.w.Header()
	switch {
	case errors.Is(err, tracker.ErrDeleteMarker) && r.Version != "":
		h["Allow"] = []string{http.MethodDelete}
		return errMarker(c.r.Method)
	case errors.Is(err, tracker.ErrDeleteMarker):
		h["X-Amz-Delete-Marker"] = []string{"true"}
		return tracker.ErrNoSuchKey
	case err != nil:
		return err
	}
	if id != "" {
		h["X-Amz-Version-Id"] = []string{id}
	}
	return nil
}

// newTags reads x-amz-tagging: the tags of a version that is about to be made.
// They need a permission of their own.
func (c *call) newTags() ([]tracker.Field, error) {
	v := joined(c.r.Header, "X-Amz-Tagging")
	if v == "" && len(c.query) > 0 {
		v = c.hoisted("X-Amz-Tagging")
	}
	if v == "" {
		return nil, nil
	}
	tags, err := parseTagHeader(v)
	if err != nil || len(tags) == 0 {
		return nil, err
	}
	return tags, c.authorize("s3:PutObjectTagging", c.bucket, c.key)
}

// copiedTags are the tags of a copy: by the directive those of the source, or
// those of the request.
func (c *call) copiedTags(src *copied) ([]tracker.Field, error) {
	if c.header("X-Amz-Tagging-Directive") == "REPLACE" {
		return c.newTags()
	}
	if len(src.obj.Tags) == 0 {
		return nil, nil
	}
	action := "s3:GetObjectTagging"
	if src.version != "" {
		action = "s3:GetObjectVersionTagging"
	}
	if err := c.authorize(action, src.bucket, src.key); err != nil {
		return nil, err
	}
	return src.obj.Tags, c.authorize("s3:PutObjectTagging", c.bucket, c.key)
}
