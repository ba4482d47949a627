package s3

import (
	"context"
	"errors"
	"net/http"

	"holdfast/gateway"
	"holdfast/gateway/s3err"
	"holdfast/tracker"
)

// deleteObjects serves DeleteObjects. Each key is judged by itself: its
// authorisation, its conditions, its length. It answers 200 once the document
// was understood.
func deleteObjects(c *call) error {
	bucket, err := c.bucketInfo()
	if err != nil {
		return err
	}
	asked, err := c.askedChecksum()
	if err != nil {
		return err
	}
	if !asked.required() {
		return errInvalid("Missing required header for this request: Content-Md5 OR x-amz-checksum-*")
	}
	doc, err := c.readDocument(gateway.MaxLargeXML)
	if err != nil {
		return err
	}
	req, err := parseDelete(doc)
	if err != nil {
		return err
	}
	results, err := c.deleteAll(bucket, req)
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	b := append(*buf, xmlHeader+`<DeleteResult xmlns="`+namespace+`">`...)
	for i := range req.entries {
		e, res := &req.entries[i], &results[i]
		switch {
		case res.Err != nil:
			b = c.appendDeleteError(b, e, res.Err)
		case !req.quiet:
			b = appendDeleted(b, e, res)
		}
	}
	*buf = appendClose(b, "DeleteResult")
	return c.writeDocument(http.StatusOK, *buf)
}

// deleteAll deletes what may be deleted and returns a result for each entry.
func (c *call) deleteAll(bucket *tracker.Bucket, req *deleteRequest) ([]tracker.DeleteResult, error) {
	entries := req.entries
	results := make([]tracker.DeleteResult, len(entries))
	index := make([]int, 0, len(entries))
	r := &tracker.DeleteObjects{Bucket: bucket.ID, Entries: make([]tracker.DeleteEntry, 0, len(entries))}
	for i := range entries {
		if results[i].Err = c.mayDelete(&entries[i]); results[i].Err == nil {
			results[i].Err = req.refused[i]
		}
		if results[i].Err != nil {
			continue
		}
		index = append(index, i)
		r.Entries = append(r.Entries, entries[i])
	}
	if len(index) == 0 {
		return results, nil
	}
	var done []tracker.DeleteResult
	err := c.commit(func(ctx context.Context, m tracker.Mutation) (err error) {
		r.Mutation = m
		done, err = c.s.deps.Catalog.DeleteObjects(ctx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(done) != len(index) {
		return nil, errors.New("the catalog answered another number of deletions than asked")
	}
	for j, i := range index {
		results[i] = done[j]
		if errors.Is(done[j].Err, tracker.ErrNoSuchKey) && r.Entries[j].Conditions.Empty() {
			results[i].Err = nil // deleting what is not there succeeds
		}
	}
	return results, nil
}

func (c *call) mayDelete(e *tracker.DeleteEntry) error {
	if len(e.Key) > gateway.MaxKey {
		return s3err.KeyTooLong
	}
	action := "s3:DeleteObject"
	if e.Version != "" {
		action = "s3:DeleteObjectVersion"
	}
	return c.authorize(action, c.bucket, e.Key)
}

func appendDeleted(b []byte, e *tracker.DeleteEntry, res *tracker.DeleteResult) []byte {
	b = appendText(appendOpen(b, "Deleted"), "Key", e.Key)
	if e.Version != "" {
		b = appendText(b, "VersionId", e.Version)
	}
	if res.Marker {
		b = appendBool(b, "DeleteMarker", true)
		id := res.VersionID
		if id == "" {
			id = e.Version
		}
		if id != "" {
			b = appendText(b, "DeleteMarkerVersionId", id)
		}
	}
	return appendClose(b, "Deleted")
}

func (c *call) appendDeleteError(b []byte, e *tracker.DeleteEntry, err error) []byte {
	shown := s3err.From(err)
	if shown.Code == s3err.InternalError {
		c.log.Error().Err(err).Str("req", c.id).Str("bucket", c.bucket).Str("key", e.Key).Msg("key was not deleted")
	}
	b = appendText(appendOpen(b, "Error"), "Key", e.Key)
	if e.Version != "" {
		b = appendText(b, "VersionId", e.Version)
	}
	b = appendText(b, "Code", string(shown.Code))
	b = appendText(b, "Message", shown.Message)
	return appendClose(b, "Error")
}
