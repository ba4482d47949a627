package s3

import (
	"context"
	"encoding/xml"
	"net/http"
	"strings"

	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// initiateResult answers CreateMultipartUpload.
type initiateResult struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
	Bucket   string
	Key      clientText
	UploadID string `xml:"UploadId"`
}

// createMultipartUpload serves CreateMultipartUpload.
func createMultipartUpload(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	fields, err := c.objectHeaders()
	if err != nil {
		return err
	}
	tags, err := c.newTags()
	if err != nil {
		return err
	}
	class, err := c.storageClass()
	if err != nil {
		return err
	}
	sum, err := uploadChecksum(c.header("X-Amz-Checksum-Algorithm"), c.header("X-Amz-Checksum-Type"))
	if err != nil {
		return err
	}
	r := &tracker.CreateUpload{Bucket: b.ID, Key: c.key, Owner: c.owner(),
		Meta: tracker.Meta{Class: class, Headers: fields, Checksum: sum, Tags: tags}}
	var up *tracker.Upload
	err = c.commit(func(ctx context.Context, m tracker.Mutation) (err error) {
		r.Mutation = m
		up, err = c.s.deps.Catalog.CreateUpload(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	if sum.Algorithm != checksum.None {
		h := c.w.Header()
		h["X-Amz-Checksum-Algorithm"] = []string{sum.Algorithm.String()}
		h["X-Amz-Checksum-Type"] = []string{checksumType(sum.Composite)}
	}
	return c.writeXML(http.StatusOK, &initiateResult{Bucket: c.bucket, Key: textOf(c.key), UploadID: up.Upload})
}

// checksumType names the type of a checksum as S3 does.
func checksumType(composite bool) string {
	if composite {
		return checksum.Composite.String()
	}
	return checksum.FullObject.String()
}

// parseType reads x-amz-checksum-type, checksum.NoType if it is absent.
func parseType(v string) (checksum.Type, error) {
	if v == "" {
		return checksum.NoType, nil
	}
	t, err := checksum.ParseType(strings.ToUpper(v))
	if err != nil {
		return t, errInvalid("Value for x-amz-checksum-type header is invalid.")
	}
	return t, nil
}

// uploadChecksum reads the algorithm and the type that an upload asks for.
func uploadChecksum(algorithm, kind string) (sum tracker.Checksum, err error) {
	t, err := parseType(kind)
	if err != nil {
		return sum, err
	}
	if algorithm == "" {
		if t != checksum.NoType {
			return sum, errInvalid("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return sum, nil
	}
	if sum.Algorithm, err = checksum.Parse(algorithm); err != nil {
		return sum, errUnknownAlgorithm()
	}
	if t == checksum.NoType {
		t = sum.Algorithm.DefaultType()
	}
	if !sum.Algorithm.Multipart(t) {
		return sum, errInvalid("The " + t.String() + " checksum type cannot be used with the " +
			strings.ToLower(sum.Algorithm.String()) + " checksum algorithm.")
	}
	sum.Composite = t == checksum.Composite
	return sum, nil
}

// uploadRef names the upload of the call.
func (c *call) uploadRef(b *tracker.Bucket) (tracker.UploadRef, error) {
	id := c.query.Get("uploadId")
	if id == "" {
		return tracker.UploadRef{}, tracker.ErrNoSuchUpload
	}
	return tracker.UploadRef{Bucket: b.ID, Key: c.key, Upload: id}, nil
}
