package s3

import (
	"net/http"

	"holdfast/gateway/s3err"
	"holdfast/tracker"
)

// listObjectVersions serves ListObjectVersions.
func listObjectVersions(c *call) error {
	bucket, l, err := c.readListing()
	if err != nil {
		return err
	}
	keyMarker, versionMarker := c.query.Get("key-marker"), c.query.Get("version-id-marker")
	if versionMarker != "" && keyMarker == "" {
		return errArgument("A version-id marker cannot be specified without a key marker.", "version-id-marker", cut(versionMarker))
	}
	r := &tracker.ListVersions{Bucket: bucket.ID, Prefix: l.Prefix, Delimiter: l.Delimiter, KeyAfter: keyMarker,
		VersionAfter: versionMarker, Max: l.max}
	if versionMarker == "" {
		r.KeyAfter, r.AfterPrefix = afterMarker(keyMarker, l.Prefix, l.Delimiter)
	}
	page := &tracker.VersionPage{}
	if l.max > 0 {
		if page, err = c.s.deps.Catalog.ListVersions(c.r.Context(), r); err != nil {
			return err
		}
	}
	buf := getBuffer()
	defer putBuffer(buf)
	b := l.appendHead(*buf, "ListVersionsResult", bucket.Name)
	b = l.appendKey(b, "KeyMarker", keyMarker)
	b = appendText(b, "VersionIdMarker", versionMarker)
	if page.Truncated {
		b = l.appendKey(b, "NextKeyMarker", page.NextKey)
		if page.NextVersion != "" {
			b = appendText(b, "NextVersionIdMarker", page.NextVersion)
		}
	}
	b = l.appendAsked(b, page.Truncated)
	*buf = l.appendVersions(b, page, appendOwner(nil, "Owner", bucket.Owner))
	return c.writeDocument(http.StatusOK, *buf)
}

// appendVersions appends versions and markers in their order, then prefixes.
func (l *listing) appendVersions(b []byte, page *tracker.VersionPage, owner []byte) []byte {
	var day dayMemo
	for i := range page.Entries {
		e := &page.Entries[i]
		if e.Prefix {
			continue
		}
		name := "Version"
		if e.Marker {
			name = "DeleteMarker"
		}
		b = appendOpen(b, name)
		b = l.appendKey(b, "Key", e.Key)
		b = appendText(b, "VersionId", e.ID)
		b = appendBool(b, "IsLatest", e.Current)
		b = appendClose(day.append(appendOpen(b, "LastModified"), e.Modified), "LastModified")
		if !e.Marker {
			b = append(b, "<ETag>&quot;"...)
			b = s3err.AppendText(b, e.ETag)
			b = append(b, "&quot;</ETag>"...)
			b = appendAlgorithm(b, e.Checksum.Algorithm, e.Checksum.Composite)
			b = appendInt(b, "Size", e.Size)
			b = appendText(b, "StorageClass", className(e.Class))
		}
		b = append(b, owner...)
		b = appendClose(b, name)
	}
	for i := range page.Entries {
		if e := &page.Entries[i]; e.Prefix {
			b = l.appendPrefix(b, e.Key)
		}
	}
	return append(b, "</ListVersionsResult>"...)
}
