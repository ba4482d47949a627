// Package s3 is the S3 HTTP front end: it routes, authenticates, authorises,
// and turns requests into calls of the tracker and the storage nodes. One
// function authorises, one reads bodies, one writes errors.
//
// Its goroutines are those of net/http, one for each request, those that a
// body's upload starts and waits for, and up to 32 idle ones that read the
// catalog for a request whose body is to come (see asides). It keeps no file
// and no state that a second gateway would need.
package s3

import (
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/gateway/route"
	"holdfast/gateway/s3err"
	"holdfast/tracker"
)

// call is one request on its way through the gateway. It is used by one
// goroutine.
type call struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	op     *route.Operation
	bucket string // "" at service level
	key    string // "" at bucket level; opaque bytes
	query  route.Query
	auth   *sigv4.Result
	id     string // request id
	now    time.Time
	log    zerolog.Logger // the server's; add c.id as "req"

	res     response
	body    stallReader
	code    s3err.Code // of the error that was answered, "" for none
	refused string     // what is not implemented, for the log
}

// handler serves one operation. An error is rendered by the one adapter;
// after the first body byte it aborts the connection instead.
type handler func(c *call) error

// header returns a request header, or the query parameter of the same name in
// any letter case where a presigner hoisted it (x-amz-*, Content-MD5,
// Content-Type, Cache-Control, ...).
func (c *call) header(name string) string {
	if v := c.r.Header.Get(name); v != "" {
		return v
	}
	return c.hoisted(name)
}

// hoisted returns the query parameter that stands for a header.
func (c *call) hoisted(name string) string {
	for i := range c.query {
		if k := c.query[i].Key; len(k) == len(name) && strings.EqualFold(k, name) {
			return c.query[i].Value
		}
	}
	return ""
}

// bucketInfo reads the call's bucket from the catalog and checks
// x-amz-expected-bucket-owner.
func (c *call) bucketInfo() (*tracker.Bucket, error) {
	var b *tracker.Bucket
	err := c.aside(func() (err error) {
		b, err = c.s.deps.Catalog.Bucket(c.r.Context(), c.bucket)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, c.checkOwner(b, c.header("X-Amz-Expected-Bucket-Owner"))
}

// lookUp answers q, of the call's bucket, and says what bucket that is: with
// one question to the catalog where the client expects no owner. The bucket is
// nil where there is none, and may be where err is not of a delete marker.
func (c *call) lookUp(q *tracker.GetObject) (b *tracker.Bucket, obj *tracker.Object, err error) {
	if c.header("X-Amz-Expected-Bucket-Owner") != "" {
		if b, err = c.bucketInfo(); err != nil {
			return nil, nil, err
		}
		q.Bucket = b.ID
		obj, err = c.s.deps.Catalog.GetObject(c.r.Context(), q)
		return b, obj, err
	}
	q.Name = c.bucket
	if obj, err = c.s.deps.Catalog.GetObject(c.r.Context(), q); obj != nil {
		b = obj.In
	}
	return b, obj, err
}

// inBucket is err, unless there is something wrong with the call's bucket,
// which clients are told first.
func (c *call) inBucket(err error) error {
	if _, wrong := c.bucketInfo(); wrong != nil {
		return wrong
	}
	return err
}

// checkOwner refuses a bucket of another owner than the client expects.
func (c *call) checkOwner(b *tracker.Bucket, expected string) error {
	if expected == "" || expected == b.Owner {
		return nil
	}
	return s3err.AccessDenied
}

// authorize asks the one authorisation function for an action beside that of
// the operation: the source of a copy, a key of DeleteObjects. An empty key
// means the bucket.
func (c *call) authorize(action, bucket, key string) error {
	return auth.Authorize(c.auth.Identity, action, resource(bucket, key))
}

func resource(bucket, key string) string {
	if key == "" {
		return bucket
	}
	return bucket + "/" + key
}

// owner is the name under which the caller owns what it makes.
func (c *call) owner() string {
	if c.auth.Identity.Root {
		return "root"
	}
	return c.auth.Identity.AccessKey
}
