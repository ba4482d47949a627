// Package route is the closed table of S3's operations. It knows the method,
// the level, the query parameters and the headers of every operation of the
// official model, built or not, and finds the one that a request asks for.
// Nothing falls through: a sub-resource that is not built never reaches the
// handler of another operation.
//
// The package is pure: it starts no goroutine, touches no file, and knows
// nothing of signatures or of the catalog.
package route

import "holdfast/internal/fault"

// Sentinels of targets and queries.
var (
	// ErrInvalidURI: a path or query has a wrong escape or is not UTF-8.
	ErrInvalidURI = fault.New(fault.Invalid, "route.invalid-uri", "the URI cannot be parsed")
	// ErrKeyTooLong: the key is over 1,024 bytes.
	ErrKeyTooLong = fault.New(fault.Invalid, "route.key-too-long", "the key is too long")
	// ErrBadBucket: the path has a key and no bucket, or a slash in its name.
	ErrBadBucket = fault.New(fault.Invalid, "route.bad-bucket", "the bucket's name is not valid")
)

// Level says what an operation is about.
type Level uint8

// The levels.
const (
	Service Level = iota
	Bucket
	Object
)

// String returns the level's name.
func (l Level) String() string { return [...]string{"service", "bucket", "object"}[l] }

// Body says what the body of a request is.
type Body uint8

// The kinds of bodies.
const (
	NoBody   Body = iota
	Document      // XML or JSON, read whole
	Stream        // the data of an object
)

// Operation is one operation of the S3 API. Operations are shared and never
// change.
type Operation struct {
	Name   string // as in the AWS API, for instance "ListObjectsV2"
	Method string
	Level  Level
	// Path is a fixed path that stands where a bucket's name does.
	Path string
	// ByID says that only an x-id of the operation's name selects it.
	ByID bool
	// Beyond says that the operation is not of the official model.
	Beyond bool
	// Select are query keys, or key=value, that must all be there.
	Select []string
	// Need is a header that must be there, in canonical MIME form.
	Need string
	// Query are the further query parameters.
	Query []string
	// Headers are the headers beside those that every operation takes, in
	// canonical MIME form.
	Headers []string
	// Meta says that x-amz-meta-* headers are taken.
	Meta bool
	// Built says that there is a handler; else the answer is 501.
	Built bool
	// Action is what the caller must be allowed to do; VersionAction is it
	// when a versionId is given.
	Action, VersionAction string
	// Body is the kind of the request's body, and BodyLimit the most bytes
	// of it that are read, 0 when there is none.
	Body      Body
	BodyLimit int64
	// Index numbers the operations from 0 in the order of the table.
	Index int

	params  map[string]bool
	headers map[string]bool
}

// Write reports whether the operation changes something.
func (o *Operation) Write() bool { return o.Method != "GET" && o.Method != "HEAD" }

// Takes reports whether the operation's model has the header, named in
// canonical MIME form.
func (o *Operation) Takes(header string) bool { return o.headers[header] }

// ActionFor returns the action to authorise for a request with this query.
func (o *Operation) ActionFor(q Query) string {
	if o.VersionAction != "" && q.Get("versionId") != "" {
		return o.VersionAction
	}
	return o.Action
}

// twins are the deprecated operations of the model that are served by the
// route of their successor.
var twins = [...][2]string{
	{"GetBucketLifecycle", "GetBucketLifecycleConfiguration"},
	{"PutBucketLifecycle", "PutBucketLifecycleConfiguration"},
	{"GetBucketNotification", "GetBucketNotificationConfiguration"},
	{"PutBucketNotification", "PutBucketNotificationConfiguration"},
}
