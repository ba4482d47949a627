package s3

import (
	"context"
	"net/http"
	"strconv"

	"holdfast/gateway"
	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// uploadPart serves UploadPart. A part is never inline; one of no bytes has
// no blob.
func uploadPart(c *call) error {
	up, number, err := c.openPart()
	if err != nil {
		return err
	}
	ask, err := c.askedChecksum()
	if err != nil {
		return err
	}
	if err := partChecksum(&ask, up.Checksum.Algorithm); err != nil {
		return err
	}
	body, err := c.openBody(bodyOptions{max: gateway.MaxPart, ask: ask, etag: true, needLength: true})
	if err != nil {
		return err
	}
	defer body.close()
	part, err := c.storePart(body, up, number)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h["Etag"] = []string{quoted(part.ETag)}
	setChecksum(h, part.Checksum)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// openPart reads the part number and the upload of the call.
func (c *call) openPart() (*tracker.Upload, int, error) {
	number, ok := partNumber(c.query.Get("partNumber"))
	if !ok {
		return nil, 0, errArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", c.query.Get("partNumber"))
	}
	b, err := c.bucketInfo()
	if err != nil {
		return nil, 0, err
	}
	ref, err := c.uploadRef(b)
	if err != nil {
		return nil, 0, err
	}
	var up *tracker.Upload
	err = c.aside(func() (err error) {
		up, err = c.s.deps.Catalog.GetUpload(c.r.Context(), ref)
		return err
	})
	return up, number, err
}

// partNumber parses a part number, 1 to 10,000.
func partNumber(s string) (int, bool) {
	n, ok := parseDigits(s)
	if !ok || n < 1 || n > gateway.MaxParts {
		return 0, false
	}
	return int(n), true
}

// partChecksum makes what a part asks agree with what its upload asked: the
// same algorithm, or the upload's where the part names none.
func partChecksum(ask *askedChecksum, upload checksum.Algorithm) error {
	switch {
	case upload == checksum.None:
	case ask.algorithm == checksum.None:
		ask.algorithm = upload
	case ask.algorithm != upload:
		return errInvalid("Checksum Type mismatch occurred, expected checksum Type: " + upload.String() +
			", actual checksum Type: " + ask.algorithm.String())
	}
	return nil
}

// storePart writes a part's bytes and commits them.
func (c *call) storePart(body *body, up *tracker.Upload, number int) (*tracker.Part, error) {
	data, err := c.store(body, up.Bucket, up.Class, 0)
	if err != nil {
		return nil, err
	}
	r := &tracker.PutPart{UploadRef: up.UploadRef, Blobs: data.blobs,
		Part: tracker.Part{Number: number, Size: body.size, ETag: body.etagHex(), MD5: body.md5, Checksum: tracker.Checksum{Algorithm: body.ask.algorithm, Value: body.checksum}, CRC64NVME: body.crc64}}
	err = c.commit(func(ctx context.Context, m tracker.Mutation) error {
		r.Mutation = m
		return c.s.deps.Catalog.PutPart(ctx, r)
	})
	if err != nil {
		c.discard(data, err)
		return nil, err
	}
	c.reportDamage(data.holes)
	return &r.Part, nil
}

// abortMultipartUpload serves AbortMultipartUpload.
func abortMultipartUpload(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	ref, err := c.uploadRef(b)
	if err != nil {
		return err
	}
	r := &tracker.AbortUpload{UploadRef: ref}
	if v := c.header("X-Amz-If-Match-Initiated-Time"); v != "" {
		t, ok := parseTime(v)
		if !ok {
			return errArgument("x-amz-if-match-initiated-time is not a valid time", "x-amz-if-match-initiated-time", v)
		}
		r.IfInitiated = &t
	}
	err = c.commit(func(ctx context.Context, m tracker.Mutation) error {
		r.Mutation = m
		return c.s.deps.Catalog.AbortUpload(ctx, r)
	})
	if err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxItems reads a page size: absent is 1,000, more than 1,000 is cut to it.
func maxItems(s, name string) (int, error) {
	if s == "" {
		return maxPage, nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, errArgument("Argument "+name+" must be an integer between 0 and 2147483647", name, s)
	}
	return min(int(n), maxPage), nil
}

const maxPage = 1000
