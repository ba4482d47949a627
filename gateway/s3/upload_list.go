package s3

import (
	"encoding/xml"
	"net/http"
	"strconv"
	"time"

	"holdfast/gateway"
	"holdfast/gateway/s3err"
	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// ownerXML names who owns or initiated something.
type ownerXML struct {
	ID          string
	DisplayName string
}

func ownerOf(id string) *ownerXML { return &ownerXML{ID: id, DisplayName: id} }

// clientText is text of a client, a key for instance, that may hold characters
// XML cannot carry; s3err.AppendText says what becomes of them.
type clientText struct {
	Text string `xml:",innerxml"`
}

func textOf(s string) clientText { return clientText{string(s3err.AppendText(nil, s))} }

// optional is the text of an element that is left out when it is empty.
func optional(s string) *clientText {
	if s == "" {
		return nil
	}
	t := textOf(s)
	return &t
}

// listPartsResult answers ListParts.
type listPartsResult struct {
	XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
	Bucket               string
	Key                  clientText
	UploadID             string `xml:"UploadId"`
	Initiator            *ownerXML
	Owner                *ownerXML
	StorageClass         string
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	ChecksumAlgorithm    string    `xml:",omitempty"`
	ChecksumType         string    `xml:",omitempty"`
	Parts                []partXML `xml:"Part"`
}

type partXML struct {
	PartNumber   int
	LastModified string `xml:",omitempty"`
	ETag         string `xml:",omitempty"`
	Size         int64
	checksumXML
}

// listParts serves ListParts.
func listParts(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	ref, err := c.uploadRef(b)
	if err != nil {
		return err
	}
	max, err := maxItems(c.query.Get("max-parts"), "max-parts")
	if err != nil {
		return err
	}
	after, err := partMarker(c.query.Get("part-number-marker"), "part-number-marker")
	if err != nil {
		return err
	}
	page, err := c.s.deps.Catalog.ListParts(c.r.Context(), ref, after, clampPage(max))
	if err != nil {
		return err
	}
	if max == 0 {
		page.Parts, page.Truncated = nil, false
	}
	out := &listPartsResult{Bucket: c.bucket, Key: textOf(c.key), UploadID: ref.Upload, Initiator: ownerOf(page.Upload.Owner),
		Owner: ownerOf(b.Owner), StorageClass: className(page.Upload.Class), PartNumberMarker: after, MaxParts: max,
		IsTruncated: page.Truncated, Parts: make([]partXML, len(page.Parts))}
	if sum := page.Upload.Checksum; sum.Algorithm != checksum.None {
		out.ChecksumAlgorithm, out.ChecksumType = sum.Algorithm.String(), checksumType(sum.Composite)
	}
	for i := range page.Parts {
		p := &page.Parts[i]
		out.Parts[i] = partXML{PartNumber: p.Number, LastModified: xmlTime(p.Modified), ETag: quoted(p.ETag), Size: p.Size}
		out.Parts[i].set(p.Checksum.Algorithm, p.Checksum.Value)
		out.NextPartNumberMarker = p.Number
	}
	return c.writeXML(http.StatusOK, out)
}

// clampPage makes a page size of 0, which S3 allows and the catalog does not
// know, one.
func clampPage(n int) int { return max(n, 1) }

// partMarker reads a marker of parts, 0 if absent.
func partMarker(s, name string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, errArgument("Argument "+name+" must be an integer between 0 and 2147483647", name, s)
	}
	return min(int(n), gateway.MaxParts), nil
}

// className is how a storage class is shown: STANDARD by its name.
func className(class string) string {
	if class == "" {
		return standard
	}
	return class
}

// xmlTime formats milliseconds since 1970 as S3's documents have it.
func xmlTime(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// listUploadsResult answers ListMultipartUploads.
type listUploadsResult struct {
	XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
	Bucket             string
	KeyMarker          clientText
	UploadIDMarker     clientText  `xml:"UploadIdMarker"`
	NextKeyMarker      *clientText `xml:",omitempty"`
	NextUploadIDMarker string      `xml:"NextUploadIdMarker,omitempty"`
	Prefix             clientText
	Delimiter          *clientText `xml:",omitempty"`
	EncodingType       string      `xml:",omitempty"`
	MaxUploads         int
	IsTruncated        bool
	Uploads            []uploadXML `xml:"Upload"`
	CommonPrefixes     []prefixXML
}

type uploadXML struct {
	Key               clientText
	UploadID          string `xml:"UploadId"`
	Initiator         *ownerXML
	Owner             *ownerXML
	StorageClass      string
	Initiated         string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

type prefixXML struct{ Prefix clientText }

// listMultipartUploads serves ListMultipartUploads.
func listMultipartUploads(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	max, err := maxItems(c.query.Get("max-uploads"), "max-uploads")
	if err != nil {
		return err
	}
	encoded, err := c.urlEncoding()
	if err != nil {
		return err
	}
	r := uploadsRequest(c, b.ID)
	r.Max = clampPage(max)
	page := &tracker.UploadPage{}
	if max > 0 {
		if page, err = c.s.deps.Catalog.ListUploads(c.r.Context(), r); err != nil {
			return err
		}
	}
	show := func(s string) string { return s }
	if encoded {
		show = encodeKey
	}
	out := &listUploadsResult{Bucket: c.bucket, KeyMarker: textOf(show(c.query.Get("key-marker"))),
		UploadIDMarker: textOf(c.query.Get("upload-id-marker")), Prefix: textOf(show(r.Prefix)), Delimiter: optional(show(r.Delimiter)),
		EncodingType: c.query.Get("encoding-type"), MaxUploads: max, IsTruncated: page.Truncated, Uploads: make([]uploadXML, len(page.Uploads))}
	if page.Truncated {
		out.NextKeyMarker, out.NextUploadIDMarker = optional(show(page.NextKey)), page.NextUpload
	}
	for i := range page.Uploads {
		u := &page.Uploads[i]
		x := uploadXML{Key: textOf(show(u.Key)), UploadID: u.Upload, Initiator: ownerOf(u.Owner), Owner: ownerOf(b.Owner),
			StorageClass: className(u.Class), Initiated: xmlTime(u.Initiated)}
		if u.Checksum.Algorithm != checksum.None {
			x.ChecksumAlgorithm, x.ChecksumType = u.Checksum.Algorithm.String(), checksumType(u.Checksum.Composite)
		}
		out.Uploads[i] = x
	}
	for _, p := range page.Prefixes {
		out.CommonPrefixes = append(out.CommonPrefixes, prefixXML{textOf(show(p))})
	}
	return c.writeXML(http.StatusOK, out)
}

// uploadsRequest reads prefix, delimiter and markers. An upload-id-marker
// without a key-marker is ignored, as S3 documents. A key-marker within a
// common prefix continues after everything under that.
func uploadsRequest(c *call, bucket tracker.BucketID) *tracker.ListUploads {
	r := &tracker.ListUploads{Bucket: bucket, Prefix: c.query.Get("prefix"), Delimiter: c.query.Get("delimiter")}
	marker := c.query.Get("key-marker")
	if r.KeyAfter, r.AfterPrefix = afterMarker(marker, r.Prefix, r.Delimiter); marker != "" && !r.AfterPrefix {
		r.UploadAfter = c.query.Get("upload-id-marker")
	}
	return r
}
