package s3

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"holdfast/gateway"
)

// copySource names the object that a copy reads.
type copySource struct {
	bucket, key string
	version     string // "" for the current one
}

// parseCopySource reads x-amz-copy-source: [/]bucket/key[?versionId=id], the
// path percent-encoded (CopyObject in the S3 API Reference). A '+' stands for
// itself. ok is false when there is no bucket or no key in it, when an
// escape is broken, or when it names an access point.
func parseCopySource(h string) (src copySource, ok bool) {
	const versioned = "?versionId="
	path := h
	if i := strings.LastIndex(h, versioned); i >= 0 {
		v, err := url.QueryUnescape(h[i+len(versioned):])
		if err != nil || v == "" {
			return src, false
		}
		path, src.version = h[:i], v
	}
	path, err := url.PathUnescape(path)
	if err != nil || strings.HasPrefix(path, "arn:") {
		return copySource{}, false
	}
	src.bucket, src.key, ok = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || src.bucket == "" || src.key == "" || len(src.key) > gateway.MaxKey || !utf8.ValidString(src.key) {
		return copySource{}, false
	}
	return src, true
}
