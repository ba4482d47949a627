package s3

import (
	"encoding/xml"
	"net/http"
	"strings"

	"holdfast/tracker"
)

// attributesResult answers GetObjectAttributes. Its ETag has no quotes.
type attributesResult struct {
	XMLName      xml.Name        `xml:"http://s3.amazonaws.com/doc/2006-03-01/ GetObjectAttributesResponse"`
	ETag         string          `xml:",omitempty"`
	Checksum     *checksumXML    `xml:",omitempty"`
	ObjectParts  *objectPartsXML `xml:",omitempty"`
	StorageClass string          `xml:",omitempty"`
	ObjectSize   *int64          `xml:",omitempty"`
}

type objectPartsXML struct {
	PartsCount           int
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	Parts                []partXML `xml:"Part"`
}

// getObjectAttributes serves GetObjectAttributes.
func getObjectAttributes(c *call) error {
	want, err := c.attributes()
	if err != nil {
		return err
	}
	max, err := maxItems(c.header("X-Amz-Max-Parts"), "x-amz-max-parts")
	if err != nil {
		return err
	}
	after, err := partMarker(c.header("X-Amz-Part-Number-Marker"), "x-amz-part-number-marker")
	if err != nil {
		return err
	}
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	version, err := c.versionID()
	if err != nil {
		return err
	}
	obj, err := c.s.deps.Catalog.GetObject(c.r.Context(), &tracker.GetObject{Bucket: b.ID, Key: c.key, Version: version})
	if err != nil {
		return c.missing(b, version, obj, err)
	}
	out := &attributesResult{}
	if want["ETag"] {
		out.ETag = obj.ETag
	}
	if want["Checksum"] {
		if x := objectChecksumXML(&obj.Meta, obj.Parts); x.ChecksumType != "" {
			out.Checksum = &x
		}
	}
	if want["StorageClass"] {
		out.StorageClass = className(obj.Class)
	}
	if want["ObjectSize"] {
		out.ObjectSize = &obj.Size
	}
	if want["ObjectParts"] && obj.Parts > 0 {
		if out.ObjectParts, err = c.objectParts(b, obj, after, max); err != nil {
			return err
		}
	}
	h := c.w.Header()
	h["Last-Modified"] = []string{httpTime(obj.Modified)}
	if b.Versioning != tracker.Unversioned {
		h["X-Amz-Version-Id"] = []string{obj.ID}
	}
	return c.writeXML(http.StatusOK, out)
}

// attributes reads which attributes are asked: at least one, all known.
func (c *call) attributes() (map[string]bool, error) {
	const name = "x-amz-object-attributes"
	want := make(map[string]bool, 5)
	list := joined(c.r.Header, "X-Amz-Object-Attributes")
	if list == "" {
		list = c.hoisted(name)
	}
	for a := range strings.SplitSeq(list, ",") {
		switch a = strings.TrimSpace(a); a {
		case "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize":
			want[a] = true
		case "":
		default:
			return nil, errArgument("Invalid attribute name specified.", name, a)
		}
	}
	if len(want) == 0 {
		return nil, errArgument("The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty", name, "")
	}
	return want, nil
}

// objectParts reads a page of the parts of the object.
func (c *call) objectParts(b *tracker.Bucket, obj *tracker.Object, after, max int) (*objectPartsXML, error) {
	out := &objectPartsXML{PartsCount: obj.Parts, PartNumberMarker: after, NextPartNumberMarker: after, MaxParts: max}
	if max == 0 {
		return out, nil
	}
	ref := tracker.Ref{Bucket: b.ID, Key: c.key, Seq: obj.Seq}
	parts, err := c.s.deps.Catalog.Parts(c.r.Context(), ref, after, max)
	if err != nil {
		return nil, err
	}
	out.Parts = make([]partXML, len(parts))
	for i := range parts {
		p := &parts[i]
		out.Parts[i] = partXML{PartNumber: p.Number, Size: p.Size}
		out.Parts[i].set(p.Checksum.Algorithm, p.Checksum.Value)
		out.NextPartNumberMarker = p.Number
	}
	if len(parts) == max {
		more, err := c.s.deps.Catalog.Parts(c.r.Context(), ref, out.NextPartNumberMarker, 1)
		if err != nil {
			return nil, err
		}
		out.IsTruncated = len(more) > 0
	}
	return out, nil
}
