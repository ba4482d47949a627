package s3

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// getObject serves GetObject.
func getObject(c *call) error { return c.serveObject(true) }

// headObject serves HeadObject: the same headers and no body.
func headObject(c *call) error { return c.serveObject(false) }

// serveObject answers GET and HEAD of an object. The order is S3's: the
// version, then conditions, then range or part.
func (c *call) serveObject(withBody bool) error {
	version, err := c.versionID()
	if err != nil {
		return c.inBucket(err)
	}
	overrides, err := c.responseOverrides()
	if err != nil {
		return c.inBucket(err)
	}
	b, obj, err := c.lookUp(&tracker.GetObject{Key: c.key, Version: version, Data: withBody})
	if err != nil {
		return c.missing(b, version, obj, err)
	}
	w := &headerWriter{h: c.w.Header()}
	etag := quoted(obj.ETag)
	w.set("Etag", etag)
	w.set("Last-Modified", httpTime(obj.Modified))
	if b.Versioning != tracker.Unversioned {
		w.set("X-Amz-Version-Id", obj.ID)
	}
	cond := readConditions(c.r.Header)
	switch v := cond.judge(obj.ETag, obj.Modified); v {
	case notModified:
		if v := fieldValue(obj.Headers, "cache-control"); v != "" {
			w.set("Cache-Control", v)
		}
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	case failed:
		w.undo()
		return errPrecondition(cond.failedOn(v))
	}
	sel, err := c.selectBytes(b, obj)
	if err != nil {
		return err
	}
	objectResponse(w, obj, overrides)
	c.integrityHeaders(w, obj, &sel)
	w.set("Content-Length", strconv.FormatInt(sel.n, 10))
	status := http.StatusOK
	if sel.partial {
		status = http.StatusPartialContent
		if obj.Size > 0 {
			w.set("Content-Range", contentRange(sel.byteRange, obj.Size))
		}
	}
	if !withBody || sel.n == 0 {
		c.w.WriteHeader(status)
		return nil
	}
	return c.sendObject(w, b, obj, status, sel.byteRange)
}

// versionID returns the versionId of the query, "" if there is none.
func (c *call) versionID() (string, error) {
	v := c.query.Get("versionId")
	if v == "" && c.query.Has("versionId") {
		return "", errArgument("Version id cannot be the empty string", "versionId", "")
	}
	return v, nil
}

// missing turns the absence of an object into S3's answer. A delete marker
// says so: 404 where the current object was asked, 405 where the marker was.
func (c *call) missing(b *tracker.Bucket, version string, obj *tracker.Object, err error) error {
	if !errors.Is(err, tracker.ErrDeleteMarker) || obj == nil {
		return err
	}
	h := c.w.Header()
	h["X-Amz-Delete-Marker"] = []string{"true"}
	if b.Versioning != tracker.Unversioned {
		h["X-Amz-Version-Id"] = []string{obj.ID}
	}
	if version == "" {
		return tracker.ErrNoSuchKey
	}
	h["Last-Modified"] = []string{httpTime(obj.Modified)}
	h["Allow"] = []string{http.MethodDelete}
	return errMarker(c.r.Method)
}

// selection is which bytes of an object an answer carries.
type selection struct {
	byteRange
	partial bool
	parts   int           // x-amz-mp-parts-count, 0 for none
	part    *tracker.Part // the one asked by number
}

// selectBytes reads Range and partNumber.
func (c *call) selectBytes(b *tracker.Bucket, obj *tracker.Object) (selection, error) {
	whole := selection{byteRange: byteRange{0, obj.Size}}
	h := first(c.r.Header, "Range")
	number := ""
	if len(c.query) > 0 {
		number = c.query.Get("partNumber")
	}
	switch {
	case number != "" && h != "":
		return whole, errInvalid("Cannot specify both Range header and partNumber query parameter")
	case number != "":
		return c.selectPart(b, obj, number)
	case h == "" || !rangeHolds(first(c.r.Header, "If-Range"), obj.ETag, obj.Modified):
		return whole, nil
	}
	r, partial, err := parseRange(h, obj.Size)
	if err != nil {
		c.w.Header()["Content-Range"] = []string{unsatisfied(obj.Size)}
		return whole, errInvalidRange(h, obj.Size)
	}
	if !partial {
		return whole, nil
	}
	return selection{byteRange: r, partial: true}, nil
}

// selectPart finds the bytes of a part. An object that was not made of parts
// is its own part 1.
func (c *call) selectPart(b *tracker.Bucket, obj *tracker.Object, number string) (selection, error) {
	n, ok := partNumber(number)
	if !ok {
		return selection{}, errArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", number)
	}
	if obj.Parts == 0 {
		if n != 1 {
			return selection{}, errNoPart(n, 1)
		}
		return selection{byteRange: byteRange{0, obj.Size}, partial: true}, nil
	}
	sel := selection{partial: true, parts: obj.Parts}
	ref := tracker.Ref{Bucket: b.ID, Key: c.key, Seq: obj.Seq}
	for after := 0; ; {
		page, err := c.s.deps.Catalog.Parts(c.r.Context(), ref, after, maxPage)
		if err != nil {
			return selection{}, err
		}
		for i := range page {
			if page[i].Number == n {
				sel.n, sel.part = page[i].Size, &page[i]
				return sel, nil
			}
			sel.off += page[i].Size
			after = page[i].Number
		}
		if len(page) == 0 || after > n {
			return selection{}, errNoPart(n, obj.Parts)
		}
	}
}

// objectResponse sets the headers that describe the object. Overrides are
// pairs of canonical name and value.
func objectResponse(w *headerWriter, obj *tracker.Object, overrides []tracker.Field) {
	w.set("Accept-Ranges", "bytes")
	typed := false
	for i := range obj.Headers {
		f := &obj.Headers[i]
		typed = typed || f.Name == "content-type"
		w.set(responseKey(f.Name), f.Value)
	}
	for i := range overrides {
		typed = typed || overrides[i].Name == "Content-Type"
		w.set(overrides[i].Name, overrides[i].Value)
	}
	if !typed {
		w.set("Content-Type", defaultType)
	}
	if obj.Class != "" && obj.Class != standard {
		w.set("X-Amz-Storage-Class", obj.Class)
	}
	if n := len(obj.Tags); n > 0 {
		w.set("X-Amz-Tagging-Count", strconv.Itoa(n))
	}
}

// integrityHeaders sets the parts count and, where the client asked, the
// checksum of what is sent: of the whole object or of a part, never of a
// range, since clients verify what they receive against it.
func (c *call) integrityHeaders(w *headerWriter, obj *tracker.Object, sel *selection) {
	if sel.parts > 0 {
		w.set("X-Amz-Mp-Parts-Count", strconv.Itoa(sel.parts))
	}
	if h := c.header("X-Amz-Checksum-Mode"); h != "ENABLED" && h != "enabled" {
		return
	}
	switch {
	case sel.part != nil:
		if sum := sel.part.Checksum; sum.Algorithm != checksum.None {
			w.set(sum.Algorithm.Header(), checksum.Encode(sum.Value))
			w.set("X-Amz-Checksum-Type", checksumType(obj.Checksum.Composite))
		}
	case !sel.partial || sel.n == obj.Size:
		if name, value, kind := shownChecksum(&obj.Meta, obj.Parts); name != "" {
			w.set(name, value)
			w.set("X-Amz-Checksum-Type", kind)
		}
	}
}

// overridable maps the query parameters that change an answer's headers.
var overridable = [...]struct{ param, canonical string }{
	{"response-content-type", "Content-Type"},
	{"response-content-language", "Content-Language"},
	{"response-expires", "Expires"},
	{"response-cache-control", "Cache-Control"},
	{"response-content-disposition", "Content-Disposition"},
	{"response-content-encoding", "Content-Encoding"},
}

// responseOverrides reads response-*: for signed requests only, or a link to
// a public object could be made to say anything.
func (c *call) responseOverrides() (fields []tracker.Field, err error) {
	if len(c.query) == 0 {
		return nil, nil
	}
	for i := range overridable {
		o := &overridable[i]
		v := c.query.Get(o.param)
		if v == "" {
			continue
		}
		if c.auth.Scheme == sigv4.Anonymous {
			return nil, errInvalid("Request specific response headers cannot be used for anonymous GET requests.")
		}
		if !printable(v) {
			return nil, errArgument("Header value has a control character", o.param, "")
		}
		fields = append(fields, tracker.Field{Name: o.canonical, Value: v})
	}
	return fields, nil
}

// httpTime formats milliseconds since 1970 as an HTTP date.
func httpTime(ms int64) string {
	var buf [len(http.TimeFormat)]byte
	return string(time.UnixMilli(ms).UTC().AppendFormat(buf[:0], http.TimeFormat))
}
