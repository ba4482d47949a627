package s3

import (
	"encoding/xml"
	"errors"
	"net/http"
	"strings"

	"holdfast/gateway"
	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// copyResult answers CopyObject and UploadPartCopy, which differ in the name
// of the root element only.
type copyResult struct {
	XMLName      xml.Name
	LastModified string
	ETag         string
	checksumXML
}

// copied is the source of a copy, found and judged.
type copied struct {
	copySource
	b   *tracker.Bucket
	obj *tracker.Object
}

func (s *copied) ref() tracker.Ref {
	return tracker.Ref{Bucket: s.b.ID, Key: s.key, Seq: s.obj.Seq}
}

// copyTries bounds how often a copy looks again for a source that was
// replaced while it was about to be shared.
const copyTries = 3

// copyObject serves CopyObject: by reference where the destination has the
// source's class and no other checksum is asked, else by streaming.
func copyObject(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	src, err := c.openSource()
	if err != nil {
		return err
	}
	ask, err := copyAlgorithm(c.header("X-Amz-Checksum-Algorithm"))
	if err != nil {
		return err
	}
	r, err := c.newCopy(b, src)
	if err != nil {
		return err
	}
	do := func() (*outcome, error) { return c.copyVersion(r, src, ask) }
	if src.obj.Size >= slowFrom {
		return c.slowly(slowBeat, do)
	}
	out, err := do()
	if err != nil {
		return err
	}
	return c.writeOutcome(out)
}

// copyVersion copies src as r says. Where the source's current version was
// replaced meanwhile, the one that is current then is copied.
func (c *call) copyVersion(r *tracker.PutObject, src *copied, ask checksum.Algorithm) (*outcome, error) {
	var res *tracker.PutResult
	for try := 1; ; try++ {
		var err error
		if res, err = c.copyBytes(r, src, ask); err == nil {
			break
		}
		if !errors.Is(err, errSourceGone) || src.version != "" || try == copyTries {
			return nil, err
		}
		if src, err = c.openSource(); err != nil {
			return nil, err
		}
		if !c.replaces() {
			r.Headers = withRedirect(src.obj.Headers, fieldValue(r.Headers, redirectLocation))
		}
		if r.Tags, err = c.copiedTags(src); err != nil {
			return nil, err
		}
	}
	m := &r.Meta
	if res.Meta != nil {
		m = res.Meta
	}
	h := http.Header{}
	sourceVersion(h, src)
	if res.VersionID != "" {
		h["X-Amz-Version-Id"] = []string{res.VersionID}
	}
	return &outcome{header: h, doc: &copyResult{XMLName: xml.Name{Space: namespace, Local: "CopyObjectResult"},
		LastModified: xmlTime(res.Modified), ETag: quoted(res.ETag), checksumXML: objectChecksumXML(m, src.obj.Parts)}}, nil
}

// replaces reports whether the copy gets the request's headers.
func (c *call) replaces() bool { return c.header("X-Amz-Metadata-Directive") == "REPLACE" }

// openSource reads the headers that name and condition the source, authorises
// the read, and finds the object.
func (c *call) openSource() (*copied, error) {
	h := c.header("X-Amz-Copy-Source")
	name, ok := parseCopySource(h)
	if !ok {
		return nil, errArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey", "x-amz-copy-source", h)
	}
	action := "s3:GetObject"
	if name.version != "" {
		action = "s3:GetObjectVersion"
	}
	if err := c.authorize(action, name.bucket, name.key); err != nil {
		return nil, err
	}
	b, err := c.s.deps.Catalog.Bucket(c.r.Context(), name.bucket)
	if err != nil {
		return nil, err
	}
	if err := c.checkOwner(b, c.header("X-Amz-Source-Expected-Bucket-Owner")); err != nil {
		return nil, err
	}
	obj, err := c.s.deps.Catalog.GetObject(c.r.Context(), &tracker.GetObject{Bucket: b.ID, Key: name.key, Version: name.version, Data: true})
	switch {
	case errors.Is(err, tracker.ErrDeleteMarker) && name.version == "":
		return nil, tracker.ErrNoSuchKey
	case errors.Is(err, tracker.ErrDeleteMarker):
		return nil, errInvalid("The source of a copy request may not specifically refer to a delete marker by version id.")
	case err != nil:
		return nil, err
	}
	cond := conditions{ifMatch: c.header("X-Amz-Copy-Source-If-Match"), ifNoneMatch: c.header("X-Amz-Copy-Source-If-None-Match"),
		ifModifiedSince: c.header("X-Amz-Copy-Source-If-Modified-Since"), ifUnmodifiedSince: c.header("X-Amz-Copy-Source-If-Unmodified-Since")}
	if v := cond.judge(obj.ETag, obj.Modified); v != proceed {
		return nil, errPrecondition("x-amz-copy-source-" + strings.ToLower(cond.failedOn(v)))
	}
	return &copied{name, b, obj}, nil
}

// newCopy reads what the destination shall be. A copy onto itself must change
// something, or it is refused; naming a version of the source is a change.
func (c *call) newCopy(b *tracker.Bucket, src *copied) (*tracker.PutObject, error) {
	if src.obj.Size > gateway.MaxPut {
		return nil, errInvalid("The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
	}
	for _, name := range [...]string{"X-Amz-Metadata-Directive", "X-Amz-Tagging-Directive"} {
		if v := c.header(name); v != "" && v != "COPY" && v != "REPLACE" {
			return nil, errArgument("Unknown directive.", strings.ToLower(name), v)
		}
	}
	replace := c.replaces()
	r, err := c.newPut(b)
	if err != nil {
		return nil, err
	}
	redirect := fieldValue(r.Headers, redirectLocation)
	if !replace {
		r.Headers = withRedirect(src.obj.Headers, redirect)
	}
	if r.Tags, err = c.copiedTags(src); err != nil {
		return nil, err
	}
	if src.b.ID == b.ID && src.key == c.key && src.version == "" && !replace && redirect == "" &&
		className(r.Class) == className(src.obj.Class) && c.header("X-Amz-Checksum-Algorithm") == "" {
		return nil, errInvalid("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	return r, nil
}

// withRedirect is the source's headers with the redirect of the request,
// since a redirect is never copied.
func withRedirect(fields []tracker.Field, redirect string) []tracker.Field {
	out := make([]tracker.Field, 0, len(fields)+1)
	for _, f := range fields {
		if f.Name != redirectLocation {
			out = append(out, f)
		}
	}
	if redirect != "" {
		out = append(out, tracker.Field{Name: redirectLocation, Value: redirect})
	}
	return out
}

// copyAlgorithm reads the checksum algorithm that the copy shall have.
func copyAlgorithm(v string) (checksum.Algorithm, error) {
	if v == "" {
		return checksum.None, nil
	}
	alg, err := checksum.Parse(v)
	if err != nil {
		return checksum.None, errUnknownAlgorithm()
	}
	return alg, nil
}

// errSourceGone says that the source's version was gone when the copy was
// applied.
var errSourceGone = errors.New("copy source is gone")

// copyBytes commits the copy.
func (c *call) copyBytes(r *tracker.PutObject, src *copied, ask checksum.Algorithm) (*tracker.PutResult, error) {
	m := &src.obj.Meta
	if sum, ok := shareable(r, m, ask); ok {
		res, err := c.copyByReference(r, src, sum)
		// Data in more blobs than one command may touch is copied for real, and
		// so is what a policy pins to another group.
		if !errors.Is(err, tracker.ErrTooLarge) && !errors.Is(err, tracker.ErrPinnedElsewhere) {
			return res, err
		}
	}
	if ask == checksum.None && !m.Checksum.Composite {
		ask = m.Checksum.Algorithm
	}
	body := c.sourceBody(src, byteRange{0, m.Size}, ask)
	defer body.close()
	return c.putBody(r, body)
}

// shareable reports whether a copy may share its source's data, and with
// which checksum: the class is the same, and the checksum asked is there.
func shareable(r *tracker.PutObject, m *tracker.Meta, ask checksum.Algorithm) (sum tracker.Checksum, ok bool) {
	switch {
	case className(r.Class) != className(m.Class):
		return sum, false
	case ask == checksum.None, ask == m.Checksum.Algorithm && !m.Checksum.Composite:
		return m.Checksum, true
	case ask == checksum.CRC64NVME && m.HasCRC64:
		return tracker.Checksum{Algorithm: ask, Value: appendCRC64(nil, m.CRC64NVME)}, true
	}
	return sum, false
}

// copyByReference shares the source's data: no byte is read.
func (c *call) copyByReference(r *tracker.PutObject, src *copied, sum tracker.Checksum) (*tracker.PutResult, error) {
	m := &src.obj.Meta
	ref := src.ref()
	r.Source = &ref
	r.ETag, r.Size, r.CRC64NVME, r.HasCRC64, r.Checksum = m.ETag, m.Size, m.CRC64NVME, m.HasCRC64, sum
	res, err := c.commitPut(r)
	r.Source = nil
	if errors.Is(err, tracker.ErrNoSuchKey) && r.Conditions.Empty() {
		return nil, errors.Join(errSourceGone, err)
	}
	return res, err
}

// sourceBody is the body of a streamed copy: bytes of the source, verified as
// they are read and hashed as those of any body.
func (c *call) sourceBody(src *copied, r byteRange, ask checksum.Algorithm) *body {
	return &body{src: c.readObject(src.b, src.key, src.obj, r), length: r.n, max: gateway.MaxPut,
		ask: askedChecksum{algorithm: ask}, etag: true, pool: c.s.blobs.md5}
}

// sourceVersion tells which version was copied.
func sourceVersion(h http.Header, src *copied) {
	if src.b.Versioning != tracker.Unversioned {
		h["X-Amz-Copy-Source-Version-Id"] = []string{src.obj.ID}
	}
}

// uploadPartCopy serves UploadPartCopy: the bytes are read and written as a
// part of their own.
func uploadPartCopy(c *call) error {
	up, number, err := c.openPart()
	if err != nil {
		return err
	}
	src, err := c.openSource()
	if err != nil {
		return err
	}
	r := byteRange{0, src.obj.Size}
	if h := c.header("X-Amz-Copy-Source-Range"); h != "" {
		var ok bool
		if r, ok = parseCopyRange(h); !ok {
			return errArgument("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy", "x-amz-copy-source-range", h)
		}
		if r.off+r.n > src.obj.Size {
			return errArgument("Range specified is not valid for source object of size: "+formatInt(src.obj.Size), "x-amz-copy-source-range", h)
		}
	}
	if r.n > gateway.MaxPart {
		return errTooLarge(r.n, gateway.MaxPart)
	}
	do := func() (*outcome, error) { return c.copyPart(up, number, src, r) }
	if r.n >= slowFrom {
		return c.slowly(slowBeat, do)
	}
	out, err := do()
	if err != nil {
		return err
	}
	return c.writeOutcome(out)
}

// copyPart copies bytes of src into a part.
func (c *call) copyPart(up *tracker.Upload, number int, src *copied, r byteRange) (*outcome, error) {
	body := c.sourceBody(src, r, up.Checksum.Algorithm)
	defer body.close()
	part, err := c.storePart(body, up, number)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	sourceVersion(h, src)
	doc := &copyResult{XMLName: xml.Name{Space: namespace, Local: "CopyPartResult"}, LastModified: xmlTime(c.now.UnixMilli()), ETag: quoted(part.ETag)}
	doc.set(part.Checksum.Algorithm, part.Checksum.Value)
	return &outcome{doc, h}, nil
}
