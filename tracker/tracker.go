// Package tracker is the contract of the tracker: the load-balancing
// scheduler and the catalog. It alone says what exists.
//
// The package holds plain types, sentinels and the interfaces that a gateway
// sees: Catalog (Buckets, Objects, Uploads) and Scheduler. Key bytes are
// opaque here, headers are opaque name/value pairs; the tracker knows nothing
// of S3's XML or of signatures.
//
// # Order and durability
//
// Every mutation is one command of a replicated log. On a nil error it is
// durable on a majority of voters and visible to every later read through any
// gateway; its conditions were judged when it was applied, in commit order.
// On ErrUncertain the caller does not know and may ask again with the same
// request id until NotAfter has passed: the command takes effect at most once.
//
// Any other sentinel but ErrUnavailable and ErrNotLeader is a refusal. One that
// answers the only call made for a request, and is not joined with
// ErrUncertain, is final: the command has no effect and never will. What was
// written for it may then be deleted, but for ErrConflict, which may say that
// the blob is in the catalog already.
package tracker

import (
	"context"

	"holdfast/internal/fault"
)

// Sentinels of the catalog.
var (
	ErrNoSuchBucket    = fault.New(fault.NotFound, "tracker.no-such-bucket", "no such bucket")
	ErrBucketExists    = fault.New(fault.Exists, "tracker.bucket-exists", "bucket exists")
	ErrBucketNotEmpty  = fault.New(fault.Precondition, "tracker.bucket-not-empty", "bucket is not empty")
	ErrTooManyBuckets  = fault.New(fault.TooLarge, "tracker.too-many-buckets", "too many buckets")
	ErrNoSuchKey       = fault.New(fault.NotFound, "tracker.no-such-key", "no such key")
	ErrNoSuchVersion   = fault.New(fault.NotFound, "tracker.no-such-version", "no such version")
	ErrDeleteMarker    = fault.New(fault.NotFound, "tracker.delete-marker", "version is a delete marker")
	ErrPrecondition    = fault.New(fault.Precondition, "tracker.precondition", "a condition did not hold")
	ErrNoSuchUpload    = fault.New(fault.NotFound, "tracker.no-such-upload", "no such multipart upload")
	ErrInvalidPart     = fault.New(fault.Invalid, "tracker.invalid-part", "part is missing or its ETag differs")
	ErrInvalidPartList = fault.New(fault.Invalid, "tracker.invalid-part-order", "parts are not in ascending order")
	ErrPartTooSmall    = fault.New(fault.TooLarge, "tracker.part-too-small", "a part other than the last is under the minimum")
	ErrObjectTooLarge  = fault.New(fault.TooLarge, "tracker.object-too-large", "object is over the maximum size")
	ErrObjectLocked    = fault.New(fault.Denied, "tracker.object-locked", "object is locked")
	ErrQuota           = fault.New(fault.NoSpace, "tracker.quota", "bucket quota is exceeded")
	ErrCatalogFull     = fault.New(fault.NoSpace, "tracker.catalog-full", "a catalog disk is nearly full; deletes still work")
	ErrFenced          = fault.New(fault.Precondition, "tracker.fenced", "ticket expired before the commit; write again under a new grant")
	ErrExpired         = fault.New(fault.Deadline, "tracker.expired", "request reached the catalog after its time")
	ErrUncertain       = fault.New(fault.Unavailable, "tracker.uncertain", "outcome unknown; ask again with the same request id")
	ErrUnavailable     = fault.New(fault.Unavailable, "tracker.unavailable", "catalog cannot answer now")
	ErrHeld            = fault.New(fault.Unavailable, "tracker.held", "the catalog answers no client until a person has decided: storage nodes with data belong to another one; see holdfast admin status")
	ErrNotLeader       = fault.New(fault.NotLeader, "tracker.not-leader", "this tracker does not lead")
	ErrNoPlacement     = fault.New(fault.Unavailable, "tracker.no-placement", "not enough nodes take writes")
	ErrNoSuchClass     = fault.New(fault.Invalid, "tracker.no-such-class", "no group carries this storage class")
	ErrNoSuchGroup     = fault.New(fault.NotFound, "tracker.no-such-group", "no such storage group")
	ErrWrongClass      = fault.New(fault.Invalid, "tracker.wrong-class", "a policy pins to a group that carries another storage class")
	ErrPinnedElsewhere = fault.New(fault.Precondition, "tracker.pinned-elsewhere", "a policy pins the copy to another group than its source's data is in; write it anew")
	ErrTooManyPolicies = fault.New(fault.TooLarge, "tracker.too-many-policies", "too many placement policies")
	ErrTooFewNodes     = fault.New(fault.Precondition, "tracker.too-few-nodes", "too few nodes would take writes")
	ErrNoSuchTracker   = fault.New(fault.NotFound, "tracker.no-such-tracker", "no such tracker")
	ErrForeign         = fault.New(fault.Denied, "tracker.foreign", "process or directory belongs to another cluster")
	ErrNoSuchNode      = fault.New(fault.NotFound, "tracker.no-such-node", "no such node")
	ErrConflict        = fault.New(fault.Precondition, "tracker.conflict", "state changed meanwhile; read again and retry")
	ErrInvalid         = fault.New(fault.Invalid, "tracker.invalid", "request is not valid")
	ErrBadChecksum     = fault.New(fault.Invalid, "tracker.bad-checksum", "checksum of the whole object differs from the one given")
	ErrTooLarge        = fault.New(fault.TooLarge, "tracker.command-too-large", "command is over 4 MiB")
)

// RequestID names one intent of a client across retries.
type RequestID [16]byte

// Mutation is embedded in every request that changes the catalog. A zero
// RequestID or NotAfter is filled in by the tracker (one attempt).
type Mutation struct {
	RequestID RequestID
	NotAfter  int64 // catalog time in ms; refused when applied later
}

// Stamp returns the mutation itself, for what fills it in on its way.
func (m *Mutation) Stamp() *Mutation { return m }

// Buckets is the part of the catalog that knows buckets.
type Buckets interface {
	// CreateBucket makes a bucket. ErrBucketExists comes with the existing bucket.
	CreateBucket(ctx context.Context, r *CreateBucket) (*Bucket, error)
	// DeleteBucket removes a bucket without versions or markers
	// (ErrBucketNotEmpty); open uploads are aborted in the same step.
	DeleteBucket(ctx context.Context, r *DeleteBucket) error
	// Bucket reads a bucket by name.
	Bucket(ctx context.Context, name string) (*Bucket, error)
	// ListBuckets returns a page in name order.
	ListBuckets(ctx context.Context, r *ListBuckets) (*BucketPage, error)
	// SetVersioning changes a bucket's versioning state.
	SetVersioning(ctx context.Context, r *SetVersioning) error
	// Usage returns the exact counters of a bucket.
	Usage(ctx context.Context, id BucketID) (Usage, error)
}

// Objects is the part of the catalog that knows object versions.
type Objects interface {
	// PutObject commits a new current version (also a copy by reference).
	PutObject(ctx context.Context, r *PutObject) (*PutResult, error)
	// GetObject reads a version. On ErrDeleteMarker the object is returned
	// too, with its Version.Marker set.
	GetObject(ctx context.Context, r *GetObject) (*Object, error)
	// SetTags replaces the tags of a version and leaves its data, ETag, time
	// and order as they are. It returns the version's id, "" where the bucket
	// does not version. ErrNoSuchKey, ErrNoSuchVersion, ErrDeleteMarker.
	SetTags(ctx context.Context, r *SetTags) (versionID string, err error)
	// Extents returns the extents of a version from the one that covers
	// offset on, at most max (1 to 1,000). Used when Object.Extents is not all.
	Extents(ctx context.Context, ref Ref, offset int64, max int) ([]Extent, error)
	// Parts returns the parts of a version that was made by a multipart
	// upload, after the given part number, at most max.
	Parts(ctx context.Context, ref Ref, after, max int) ([]Part, error)
	// DeleteObject removes a version or the current object (or adds a marker).
	DeleteObject(ctx context.Context, r *DeleteObject) (*DeleteResult, error)
	// DeleteObjects deletes up to 1,000 keys and answers each in order; not
	// atomic across keys. Each entry's Err is nil or a sentinel.
	DeleteObjects(ctx context.Context, r *DeleteObjects) ([]DeleteResult, error)
	// ListObjects returns a page of current objects in byte order of keys.
	ListObjects(ctx context.Context, r *ListObjects) (*ObjectPage, error)
	// ListVersions returns a page of versions and markers, keys in byte
	// order, newest version first.
	ListVersions(ctx context.Context, r *ListVersions) (*VersionPage, error)
}

// Uploads is the part of the catalog that knows multipart uploads.
type Uploads interface {
	// CreateUpload starts an upload; its id orders as text as it orders in time.
	CreateUpload(ctx context.Context, r *CreateUpload) (*Upload, error)
	// GetUpload reads an open upload.
	GetUpload(ctx context.Context, r UploadRef) (*Upload, error)
	// PutPart commits a part, replacing one of the same number.
	PutPart(ctx context.Context, r *PutPart) error
	// CompleteUpload makes the object from the listed parts. Completing
	// again with the same id answers as the first time, for 7 days.
	CompleteUpload(ctx context.Context, r *CompleteUpload) (*PutResult, error)
	// AbortUpload ends an upload and frees its parts. Aborting a completed
	// one is ErrNoSuchUpload and touches no data.
	AbortUpload(ctx context.Context, r *AbortUpload) error
	// ListParts returns parts after a number, at most max.
	ListParts(ctx context.Context, r UploadRef, after, max int) (*PartPage, error)
	// ListUploads returns a page of open uploads by key, then by upload id.
	ListUploads(ctx context.Context, r *ListUploads) (*UploadPage, error)
}

// Catalog is what exists. Implementations are safe for concurrent use; byte
// slices in requests are not kept, those in answers belong to the caller.
type Catalog interface {
	Buckets
	Objects
	Uploads
}
