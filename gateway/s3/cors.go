package s3

import (
	"net/http"
	"strings"

	"holdfast/gateway/s3err"
)

// cors is the server-wide rule for browsers of other origins. It never allows
// credentials: S3's are in headers and queries, and an origin that is echoed
// together with them would be an open door.
type cors struct {
	any      bool
	exact    []string
	patterns [][2]string // before and after one '*'
}

// exposed are the headers that a script may read. "*" covers user metadata in
// browsers that know it; it is honoured only without credentials.
var exposed = []string{"ETag, Content-Range, Accept-Ranges, Content-Length, Last-Modified, Date, " +
	"x-amz-request-id, x-amz-id-2, x-amz-version-id, x-amz-delete-marker, x-amz-mp-parts-count, x-amz-storage-class, x-amz-tagging-count, " +
	"x-amz-checksum-crc32, x-amz-checksum-crc32c, x-amz-checksum-crc64nvme, x-amz-checksum-sha1, x-amz-checksum-sha256, " +
	"x-amz-checksum-type, x-amz-object-size, x-amz-copy-source-version-id, x-amz-bucket-region, *"}

var (
	anyOrigin   = []string{"*"}
	varyOrigin  = []string{"Origin"}
	corsMethods = []string{"GET, HEAD, PUT, POST, DELETE"}
	corsMaxAge  = []string{"3600"}
	corsVary    = []string{"Origin, Access-Control-Request-Headers, Access-Control-Request-Method"}
)

// maxRequestHeaders bounds the list of a preflight in bytes.
const maxRequestHeaders = 4 << 10

func newCORS(origins []string) cors {
	var p cors
	for _, o := range origins {
		before, after, star := strings.Cut(o, "*")
		switch {
		case o == "*":
			p.any = true
		case star:
			p.patterns = append(p.patterns, [2]string{before, after})
		default:
			p.exact = append(p.exact, o)
		}
	}
	return p
}

// allowed reports whether scripts of the origin may use the server.
func (p *cors) allowed(origin string) bool {
	if p.any {
		return true
	}
	for _, o := range p.exact {
		if strings.EqualFold(o, origin) {
			return true
		}
	}
	for _, o := range p.patterns {
		if len(origin) > len(o[0])+len(o[1]) && strings.HasPrefix(origin, o[0]) && strings.HasSuffix(origin, o[1]) {
			return true
		}
	}
	return false
}

// allow sets the headers of an answer to a request with an Origin, errors
// included: without them a script sees "network error" and not the reason.
func (p *cors) allow(h http.Header, origin string) {
	if !p.any {
		h["Vary"] = varyOrigin
	}
	if !p.allowed(origin) {
		return
	}
	h["Access-Control-Allow-Origin"] = anyOrigin
	if !p.any {
		h["Access-Control-Allow-Origin"] = []string{origin}
	}
	h["Access-Control-Expose-Headers"] = exposed
}

// preflight answers OPTIONS, for which browsers send no credentials.
func (p *cors) preflight(c *call) error {
	if err := c.target(); err != nil {
		return err
	}
	origin, method := c.r.Header.Get("Origin"), c.r.Header.Get("Access-Control-Request-Method")
	switch {
	case origin == "":
		return s3err.BadRequest.New("Insufficient information. Origin request header needed.")
	case method == "":
		return s3err.BadRequest.New("Invalid Access-Control-Request-Method: null")
	case !p.allowed(origin) || !corsMethod(method):
		return s3err.AccessForbidden.New("", "Method", cut(method), "ResourceType", "BUCKET")
	}
	h := c.w.Header()
	h["Vary"] = corsVary
	h["Access-Control-Allow-Methods"] = corsMethods
	h["Access-Control-Max-Age"] = corsMaxAge
	if asked := c.r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		if len(asked) > maxRequestHeaders || !isHeaderList(asked) {
			return s3err.BadRequest.New("Invalid Access-Control-Request-Headers")
		}
		h["Access-Control-Allow-Headers"] = []string{asked}
	}
	h["Content-Length"] = []string{"0"}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func corsMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "PUT", "POST", "DELETE":
		return true
	}
	return false
}

// isHeaderList reports whether s is a comma-separated list of header names.
func isHeaderList(s string) bool {
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name == "" || !isToken(name) {
			return false
		}
	}
	return true
}
