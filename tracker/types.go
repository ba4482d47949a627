package tracker

import (
	"holdfast/erasure"
	"holdfast/internal/checksum"
	"holdfast/storage"
)

// BucketID names a bucket for ever; a bucket created again under the same
// name has another.
type BucketID uint64

// Versioning is a bucket's versioning state.
type Versioning uint8

// The versioning states; they never go back to Unversioned.
const (
	Unversioned Versioning = iota
	VersioningEnabled
	VersioningSuspended
)

// Bucket is a bucket's core. Times are milliseconds since 1970.
type Bucket struct {
	ID         BucketID
	Name       string
	Owner      string // access key of the owner; root's is "root"
	Created    int64
	Location   string // LocationConstraint as given, "" for none
	Versioning Versioning
}

// Usage counts a bucket exactly.
type Usage struct{ Objects, Versions, Bytes, Uploads int64 }

// CreateBucket asks for a bucket.
type CreateBucket struct {
	Mutation
	Name, Owner, Location string
}

// DeleteBucket asks for a bucket's end.
type DeleteBucket struct {
	Mutation
	Name string
}

// SetVersioning changes versioning; Unversioned is not allowed.
type SetVersioning struct {
	Mutation
	Bucket BucketID
	State  Versioning
}

// ListBuckets asks for a page of buckets with names over After.
type ListBuckets struct {
	Prefix, After string
	Max           int // 1 to 10,000
}

// BucketPage is a page of buckets.
type BucketPage struct {
	Buckets   []Bucket
	Truncated bool
}

// Field is a header kept with an object: lower-case name and value as sent;
// or a tag: key and value.
type Field struct{ Name, Value string }

// Checksum is an additional checksum of an object or part.
type Checksum struct {
	Algorithm checksum.Algorithm
	Composite bool   // of parts' checksums; else of the whole bytes
	Value     []byte // raw digest; nil if there is none
}

// Meta is what a client says of an object, kept and given back.
type Meta struct {
	ETag      string // without quotes
	Size      int64
	Class     string // "" is STANDARD
	Headers   []Field
	Checksum  Checksum
	CRC64NVME uint64 // of all the bytes, valid if HasCRC64
	HasCRC64  bool
	Tags      []Field // of the object, at most MaxTags; not in listings
}

// MaxTags is how many tags the catalog takes for one version.
const MaxTags = 50

// Version is one version of a key.
type Version struct {
	Meta
	Seq      uint64 // commit order
	ID       string // version id; "null" where the bucket was not versioning when it was written
	Modified int64  // catalog time in ms
	Marker   bool   // a delete marker: Meta is empty
	Current  bool
	Parts    int // number of parts, 0 if it was not a multipart upload
}

// Ref names a version exactly.
type Ref struct {
	Bucket BucketID
	Key    string
	Seq    uint64
}

// Blob is a blob's row: enough to read it.
type Blob struct {
	ID     storage.BlobID
	Scheme erasure.Scheme
	Length int64
	Shards []storage.Placement // by index; the zero value is a hole
}

// Extent is a run of an object's bytes.
type Extent struct {
	Offset     int64 // in the object
	Length     int64
	BlobOffset int64
	Blob       Blob
}

// NewBlob is a blob that was written under a ticket and is now committed.
type NewBlob struct {
	Blob
	Expiry int64 // of the ticket; at or under the fence it is ErrFenced
}

// Conditions are judged against the current version when the command is
// applied. ETags are without quotes; "*" matches any existing object.
type Conditions struct {
	IfMatch        []string
	IfNoneMatch    []string
	IfSize         *int64
	IfModifiedTime *int64 // ms; compared to the second
}

// Empty reports whether there is no condition.
func (c *Conditions) Empty() bool {
	return len(c.IfMatch) == 0 && len(c.IfNoneMatch) == 0 && c.IfSize == nil && c.IfModifiedTime == nil
}

// PutObject commits a version. Exactly one of Inline, Blobs and Source gives
// its bytes (all empty: an object of no bytes). Blobs are whole extents in order.
type PutObject struct {
	Mutation
	Bucket BucketID
	Name   string // the bucket's, where Bucket is 0
	Key    string
	Meta
	Conditions
	Inline []byte
	Blobs  []NewBlob
	// Source shares the data of an existing version (copy by reference):
	// Meta.Size, parts and CRC64 come from it. ErrNoSuchKey if it is gone,
	// ErrTooLarge if it is in too many blobs, ErrPinnedElsewhere if a policy
	// wants it in another group.
	Source *Ref
}

// PutResult tells what was committed.
type PutResult struct {
	Seq       uint64
	VersionID string // "" where the bucket does not version
	Modified  int64
	ETag      string
	Meta      *Meta // set by CompleteUpload and by copies
}

// GetObject asks for a version; Version "" is the current one. Data says
// whether extents (the first 8) and inline bytes are wanted too.
type GetObject struct {
	Bucket  BucketID
	Name    string // the bucket's, where Bucket is 0
	Key     string
	Version string
	Data    bool
}

// Object is the answer to GetObject: a manifest.
type Object struct {
	Version
	In         *Bucket // the bucket, where it was asked for by name; set with ErrDeleteMarker too
	Inline     []byte
	Extents    []Extent
	AllExtents bool // Extents is all of them
}

// SetTags replaces the tags of an existing version; none takes them away.
// Version "" is the current one.
type SetTags struct {
	Mutation
	Bucket  BucketID
	Key     string
	Version string
	Tags    []Field
}

// DeleteObject deletes a key's current object, or one version. With
// conditions, IfMatch over nothing is ErrNoSuchKey.
type DeleteObject struct {
	Mutation
	Bucket  BucketID
	Name    string // the bucket's, where Bucket is 0
	Key     string
	Version string
	Conditions
}

// DeleteEntry is a key of DeleteObjects.
type DeleteEntry struct {
	Key, Version string
	Conditions
}

// DeleteObjects deletes many keys.
type DeleteObjects struct {
	Mutation
	Bucket  BucketID
	Entries []DeleteEntry
}

// DeleteResult tells what a deletion did.
type DeleteResult struct {
	VersionID string  // of the version deleted, or of the marker made
	Marker    bool    // the version deleted is, or the one made is, a marker
	In        *Bucket // the bucket as it was just before, where it was asked for by name
	Err       error   // in DeleteObjects
}

// ListObjects asks for a page. Keys are over After; if AfterPrefix, keys that
// start with After are passed over too.
type ListObjects struct {
	Bucket                   BucketID
	Prefix, Delimiter, After string
	AfterPrefix              bool
	Max                      int // 0 to 1,000, counting prefixes
}

// Entry is a row of a listing: an object, or a common prefix.
type Entry struct {
	Key       string // or the common prefix
	Prefix    bool
	Size      int64
	ETag      string
	Modified  int64
	Class     string
	Algorithm checksum.Algorithm // 0 for none
	Composite bool
}

// ObjectPage is a page of a listing. Next and NextPrefix continue it.
type ObjectPage struct {
	Entries    []Entry
	Truncated  bool
	Next       string
	NextPrefix bool
	Steps      int // iterator steps taken, for the test that counts them
}

// ListVersions asks for a page of versions over (KeyAfter, VersionAfter).
type ListVersions struct {
	Bucket                      BucketID
	Prefix, Delimiter, KeyAfter string
	VersionAfter                string
	AfterPrefix                 bool
	Max                         int
}

// VersionEntry is a row of a version listing.
type VersionEntry struct {
	Key    string
	Prefix bool
	Version
}

// VersionPage is a page of versions.
type VersionPage struct {
	Entries     []VersionEntry
	Truncated   bool
	NextKey     string
	NextVersion string
	NextPrefix  bool
}

// UploadRef names an upload.
type UploadRef struct {
	Bucket BucketID
	Key    string
	Upload string
}

// Upload is an open multipart upload.
type Upload struct {
	UploadRef
	Meta      // headers, class, asked checksum algorithm and type (no value)
	Owner     string
	Initiated int64
}

// CreateUpload starts an upload.
type CreateUpload struct {
	Mutation
	Bucket BucketID
	Key    string
	Owner  string
	Meta
}

// Part is a part of an upload or of a completed object.
type Part struct {
	Number    int // 1 to 10,000
	Size      int64
	ETag      string
	MD5       [16]byte // of the plain bytes
	Modified  int64
	Checksum  Checksum
	CRC64NVME uint64
	Seq       uint64
}

// PutPart commits a part.
type PutPart struct {
	Mutation
	UploadRef
	Part  // Modified and Seq are the catalog's
	Blobs []NewBlob
}

// CompletePart names a part as the client saw it.
type CompletePart struct {
	Number   int
	ETag     string
	Checksum []byte // raw; nil if the client sent none
}

// CompleteUpload makes the object. Meta.ETag and Meta.Checksum are made by
// the catalog from the parts; a Checksum.Value given here must agree.
type CompleteUpload struct {
	Mutation
	UploadRef
	Parts []CompletePart
	Conditions
	Checksum    Checksum
	Size        int64 // x-amz-mp-object-size, -1 if not given
	MinPartSize int64 // of all but the last
}

// AbortUpload ends an upload; IfInitiated (ms, to the second) is a condition.
type AbortUpload struct {
	Mutation
	UploadRef
	IfInitiated *int64
}

// PartPage is a page of parts.
type PartPage struct {
	Upload    Upload
	Parts     []Part
	Truncated bool
}

// ListUploads asks for uploads over (KeyAfter, UploadAfter).
type ListUploads struct {
	Bucket                                   BucketID
	Prefix, Delimiter, KeyAfter, UploadAfter string
	AfterPrefix                              bool
	Max                                      int
}

// UploadPage is a page of uploads; Prefixes are common prefixes.
type UploadPage struct {
	Uploads    []Upload
	Prefixes   []string
	Truncated  bool
	NextKey    string
	NextUpload string
	NextPrefix bool
}
