package s3

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/gateway/route"
	"holdfast/tracker"
)

const (
	userMetaPrefix    = "x-amz-meta-"
	userMetaCanonical = "X-Amz-Meta-"
	defaultType       = "binary/octet-stream"
	standard          = "STANDARD"
)

// keptHeaders are the system headers that are kept with an object and given
// back. Lower case is how the catalog has them.
var keptHeaders = [...]struct{ canonical, lower string }{
	{"Cache-Control", "cache-control"},
	{"Content-Disposition", "content-disposition"},
	{"Content-Encoding", "content-encoding"},
	{"Content-Language", "content-language"},
	{"Content-Type", "content-type"},
	{"Expires", "expires"},
	{"X-Amz-Website-Redirect-Location", redirectLocation},
}

const redirectLocation = "x-amz-website-redirect-location"

// objectHeaders takes what is kept with an object from the request: system
// headers first, then user metadata in name order. The sum of user metadata
// is bounded, and no value may hold a control character.
func (c *call) objectHeaders() ([]tracker.Field, error) {
	fields := make([]tracker.Field, 0, 8)
	hoisted := len(c.query) > 0
	for i := range keptHeaders {
		k := &keptHeaders[i]
		v := joined(c.r.Header, k.canonical)
		if v == "" && hoisted {
			v = c.hoisted(k.lower)
		}
		if k.lower == "content-encoding" && !c.storedAsSent() {
			v = sigv4.StripChunked(v)
		}
		if v != "" {
			fields = append(fields, tracker.Field{Name: k.lower, Value: v})
		}
	}
	system := len(fields)
	for name, v := range c.r.Header {
		if strings.HasPrefix(name, userMetaCanonical) && len(v) > 0 {
			fields = append(fields, tracker.Field{Name: strings.ToLower(name), Value: strings.Join(v, ",")})
		}
	}
	if hoisted {
		fields = hoistMetadata(fields, system, c.query)
	}
	return fields, checkFields(fields, system)
}

// storedAsSent reports whether the object is the request's body as it was sent,
// and its Content-Encoding that of the object, aws-chunked included.
func (c *call) storedAsSent() bool {
	return c.op.Body == route.Stream && c.auth.Payload == sigv4.Signed
}

// hoistMetadata adds user metadata that a presigner moved into the query. A
// header of the same name wins.
func hoistMetadata(fields []tracker.Field, system int, query route.Query) []tracker.Field {
	for i := range query {
		name := query[i].Key
		if len(name) < len(userMetaPrefix) || !strings.EqualFold(name[:len(userMetaPrefix)], userMetaPrefix) {
			continue
		}
		name = strings.ToLower(name)
		if !slices.ContainsFunc(fields[system:], func(f tracker.Field) bool { return f.Name == name }) {
			fields = append(fields, tracker.Field{Name: name, Value: query[i].Value})
		}
	}
	return fields
}

// checkFields sorts the user metadata, which begins at index system, and
// checks sizes and characters. The size is that of names without their prefix
// and of values, as S3 counts it.
func checkFields(fields []tracker.Field, system int) error {
	user := fields[system:]
	if len(user) > 1 {
		slices.SortFunc(user, func(a, b tracker.Field) int { return strings.Compare(a.Name, b.Name) })
	}
	size := 0
	for i := range fields {
		if !printable(fields[i].Value) {
			return errArgument("Header value has a control character", fields[i].Name, "")
		}
		if i < system {
			continue
		}
		name := fields[i].Name[len(userMetaPrefix):]
		if name == "" || !isToken(name) {
			return errArgument("Metadata name is not a valid header name", fields[i].Name, "")
		}
		size += len(name) + len(fields[i].Value)
	}
	if size > gateway.MaxUserMetadata {
		return errMetadataTooLarge(size)
	}
	return nil
}

// printable reports whether a value may stand in a header: no control
// character but the tab.
func printable(v string) bool {
	for i := 0; i < len(v); i++ {
		if v[i] < ' ' && v[i] != '\t' || v[i] == 0x7f {
			return false
		}
	}
	return true
}

// isToken reports whether name may be a header's name (RFC 9110 section 5.6.2).
func isToken(name string) bool {
	for i := 0; i < len(name); i++ {
		b := name[i]
		switch {
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9', 'A' <= b && b <= 'Z':
		case strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0:
		default:
			return false
		}
	}
	return true
}

// fieldValue returns the value of a kept header, "" if there is none.
func fieldValue(fields []tracker.Field, name string) string {
	for i := range fields {
		if fields[i].Name == name {
			return fields[i].Value
		}
	}
	return ""
}

// responseKey is the key under which a kept header is put into the answer's
// header map: canonical for those that net/http looks at, and as it is for
// user metadata, whose letter case S3 gives back as lower too.
func responseKey(name string) string {
	for i := range keptHeaders {
		if keptHeaders[i].lower == name {
			return keptHeaders[i].canonical
		}
	}
	return name
}

// storageClass reads x-amz-storage-class. "" is STANDARD; a class that no
// group carries is refused.
func (c *call) storageClass() (string, error) {
	return c.checkClass(c.header("X-Amz-Storage-Class"))
}

// checkClass maps STANDARD to "" and asks the cluster map for any other.
func (c *call) checkClass(class string) (string, error) {
	if class == "" || class == standard {
		return "", nil
	}
	m, err := c.s.deps.Scheduler.Map(c.r.Context())
	if err != nil {
		return "", fmt.Errorf("cluster map: %w", err)
	}
	for i := range m.Groups {
		if m.Groups[i].Class == class {
			return class, nil
		}
	}
	return "", fmt.Errorf("%.32q: %w", class, tracker.ErrNoSuchClass)
}

// writeConditions reads If-Match and If-None-Match of a write. The route
// refuses the other conditional headers, which have no meaning there.
func (c *call) writeConditions() tracker.Conditions {
	return tracker.Conditions{IfMatch: strongTags(c.conditionHeader("If-Match"), true),
		IfNoneMatch: strongTags(c.conditionHeader("If-None-Match"), false)}
}

// conditionHeader reads a list header, hoisted ones too.
func (c *call) conditionHeader(name string) string {
	if v := joined(c.r.Header, name); v != "" {
		return v
	}
	return c.header(name)
}

// quoted puts an ETag into quotes.
func quoted(etag string) string {
	b := make([]byte, 0, 40)
	b = append(b, '"')
	b = append(b, etag...)
	return string(append(b, '"'))
}

// headerWriter sets headers by their map keys, without canonicalisation and
// with one allocation for all values.
type headerWriter struct {
	h    http.Header
	n    int
	keys [headerSlots]string
	vals [headerSlots]string
}

const headerSlots = 24

// set sets one header; key must be as it is to be sent.
func (w *headerWriter) set(key, value string) {
	if w.n == headerSlots {
		w.h[key] = []string{value}
		return
	}
	w.keys[w.n], w.vals[w.n] = key, value
	w.h[key] = w.vals[w.n : w.n+1 : w.n+1]
	w.n++
}

// undo takes back what was set: an error is answered instead. Headers beyond
// the slots are user metadata, which does no harm there.
func (w *headerWriter) undo() {
	for i := range w.n {
		delete(w.h, w.keys[i])
	}
}
