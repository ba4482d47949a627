package s3

import (
	"net/http"
	"strconv"

	"holdfast/gateway/s3err"
	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// listing is what the listings of objects and of versions share.
type listing struct {
	tracker.ListObjects
	max int  // as asked, at most 1,000
	url bool // encoding-type=url
}

// readListing finds the bucket and reads prefix, delimiter, encoding-type and
// max-keys.
func (c *call) readListing() (b *tracker.Bucket, l listing, err error) {
	if b, err = c.bucketInfo(); err != nil {
		return nil, l, err
	}
	if l.url, err = c.urlEncoding(); err != nil {
		return nil, l, err
	}
	if l.max, err = maxItems(c.query.Get("max-keys"), "max-keys"); err != nil {
		return nil, l, err
	}
	l.Bucket, l.Max = b.ID, l.max
	l.Prefix, l.Delimiter = c.query.Get("prefix"), c.query.Get("delimiter")
	return b, l, nil
}

// page reads a page. One of no keys is empty and never truncated.
func (l *listing) page(c *call) (*tracker.ObjectPage, error) {
	if l.max == 0 {
		return &tracker.ObjectPage{}, nil
	}
	return c.s.deps.Catalog.ListObjects(c.r.Context(), &l.ListObjects)
}

// listObjectsV2 serves ListObjectsV2.
func listObjectsV2(c *call) error {
	bucket, l, err := c.readListing()
	if err != nil {
		return err
	}
	token, start := c.query.Get("continuation-token"), c.query.Get("start-after")
	scope := listScope(uint64(bucket.ID))
	l.After = start
	if c.query.Has("continuation-token") {
		var ok bool
		if l.After, l.AfterPrefix, ok = decodeToken(scope, token); !ok {
			return errArgument("The continuation token provided is incorrect", "continuation-token", cut(token))
		}
	}
	owner := ""
	switch c.query.Get("fetch-owner") {
	case "", "false":
	case "true":
		owner = bucket.Owner
	default:
		return errArgument("fetch-owner must be true or false", "fetch-owner", cut(c.query.Get("fetch-owner")))
	}
	page, err := l.page(c)
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	b := l.appendHead(*buf, "ListBucketResult", bucket.Name)
	if token != "" {
		b = appendText(b, "ContinuationToken", token)
	}
	if page.Truncated {
		b = appendText(b, "NextContinuationToken", encodeToken(scope, page.Next, page.NextPrefix))
	}
	if start != "" {
		b = l.appendKey(b, "StartAfter", start)
	}
	b = appendInt(b, "KeyCount", int64(len(page.Entries)))
	b = l.appendRest(b, page, owner)
	*buf = b
	return c.writeDocument(http.StatusOK, b)
}

// listObjects serves ListObjects, version 1.
func listObjects(c *call) error {
	bucket, l, err := c.readListing()
	if err != nil {
		return err
	}
	marker := c.query.Get("marker")
	l.After, l.AfterPrefix = afterMarker(marker, l.Prefix, l.Delimiter)
	page, err := l.page(c)
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	b := l.appendHead(*buf, "ListBucketResult", bucket.Name)
	b = l.appendKey(b, "Marker", marker)
	if page.Truncated && l.Delimiter != "" {
		b = l.appendKey(b, "NextMarker", page.Next)
	}
	b = l.appendRest(b, page, bucket.Owner)
	*buf = b
	return c.writeDocument(http.StatusOK, b)
}

// appendHead begins a document with what every listing begins with.
func (l *listing) appendHead(b []byte, root, bucket string) []byte {
	b = append(b, xmlHeader+`<`...)
	b = append(append(b, root...), ` xmlns="`+namespace+`">`...)
	b = appendText(b, "Name", bucket)
	return l.appendKey(b, "Prefix", l.Prefix)
}

// appendAsked appends, behind the markers, what was asked for, and whether
// there is more than the page.
func (l *listing) appendAsked(b []byte, truncated bool) []byte {
	b = appendInt(b, "MaxKeys", int64(l.max))
	if l.Delimiter != "" {
		b = l.appendKey(b, "Delimiter", l.Delimiter)
	}
	if l.url {
		b = append(b, "<EncodingType>url</EncodingType>"...)
	}
	return appendBool(b, "IsTruncated", truncated)
}

// appendPrefix appends a common prefix.
func (l *listing) appendPrefix(b []byte, prefix string) []byte {
	b = append(b, "<CommonPrefixes>"...)
	b = l.appendKey(b, "Prefix", prefix)
	return append(b, "</CommonPrefixes>"...)
}

// appendKey appends an element that holds a key, in the encoding asked for.
func (l *listing) appendKey(b []byte, name, key string) []byte {
	if !l.url {
		return appendText(b, name, key)
	}
	return appendClose(appendURL(appendOpen(b, name), key), name)
}

// appendRest appends what follows the markers: the page itself. owner is ""
// where none is to be shown.
func (l *listing) appendRest(b []byte, page *tracker.ObjectPage, owner string) []byte {
	b = l.appendAsked(b, page.Truncated)
	var shown []byte
	if owner != "" {
		shown = appendOwner(nil, "Owner", owner)
	}
	var day dayMemo
	for i := range page.Entries {
		if e := &page.Entries[i]; !e.Prefix {
			b = l.appendEntry(b, e, shown, &day)
		}
	}
	for i := range page.Entries {
		if e := &page.Entries[i]; e.Prefix {
			b = l.appendPrefix(b, e.Key)
		}
	}
	return append(b, "</ListBucketResult>"...)
}

func (l *listing) appendEntry(b []byte, e *tracker.Entry, owner []byte, day *dayMemo) []byte {
	b = append(b, "<Contents>"...)
	b = l.appendKey(b, "Key", e.Key)
	b = append(b, "<LastModified>"...)
	b = day.append(b, e.Modified)
	b = append(b, "</LastModified><ETag>&quot;"...)
	b = s3err.AppendText(b, e.ETag)
	b = append(b, "&quot;</ETag>"...)
	b = appendAlgorithm(b, e.Algorithm, e.Composite)
	b = append(b, "<Size>"...)
	b = strconv.AppendInt(b, e.Size, 10)
	b = append(b, "</Size>"...)
	b = append(b, owner...)
	b = append(b, "<StorageClass>"...)
	b = append(b, className(e.Class)...)
	return append(b, "</StorageClass></Contents>"...)
}

// appendAlgorithm appends which checksum an object has, if any.
func appendAlgorithm(b []byte, alg checksum.Algorithm, composite bool) []byte {
	if alg == checksum.None {
		return b
	}
	b = append(b, "<ChecksumAlgorithm>"...)
	b = append(b, alg.String()...)
	b = append(b, "</ChecksumAlgorithm><ChecksumType>"...)
	b = append(b, checksumType(composite)...)
	return append(b, "</ChecksumType>"...)
}
