package s3_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCopy(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	const source = "X-Amz-Copy-Source"
	at := "/" + bucket + "/"
	for _, size := range []int{0, 100, 100_000} {
		data, from := pattern(size), fmt.Sprintf("/%s/from%%20%d", bucket, size)
		c.must(200, "PUT", from, data, "Content-Type", "a/b", "X-Amz-Meta-K", "v", "X-Amz-Checksum-Crc32c", "")
		for name, headers := range map[string][]string{
			"shared":   nil,
			"class":    {"X-Amz-Storage-Class", c.class},
			"checksum": {"X-Amz-Checksum-Algorithm", "SHA256"},
			"replaced": {"X-Amz-Metadata-Directive", "REPLACE", "Content-Type", "c/d"},
		} {
			to := at + name
			res := c.must(200, "PUT", to, "", append(headers, source, from)...)
			if etag := strings.ReplaceAll(between(res.body, "ETag"), "&#34;", `"`); etag != etagOf(data) || between(res.body, "LastModified") == "" {
				t.Errorf("%s of %d: %s", name, size, res.body)
			}
			if name == "checksum" && between(res.body, "ChecksumSHA256") == "" {
				t.Errorf("%s of %d: %s", name, size, res.body)
			}
			got := c.must(200, "GET", to, "")
			wantType, wantMeta := "a/b", "v"
			if name == "replaced" {
				wantType, wantMeta = "c/d", ""
			}
			if got.body != data || got.header.Get("Content-Type") != wantType || got.header.Get("X-Amz-Meta-K") != wantMeta ||
				got.header.Get("ETag") != etagOf(data) || name == "class" && got.header.Get("X-Amz-Storage-Class") != c.class {
				t.Errorf("%s of %d: %d bytes, %v", name, size, len(got.body), got.header)
			}
		}
		c.must(204, "DELETE", from, "")
		if c.must(200, "GET", at+"shared", "").body != data {
			t.Errorf("the copy of %d bytes went with its source", size)
		}
	}

	c.must(200, "PUT", at+"k", "data")
	self := []string{source, at + "k"}
	c.refused(400, "InvalidRequest", "PUT", at+"k", "", self...)
	c.must(200, "PUT", at+"k", "", append(self, "X-Amz-Metadata-Directive", "REPLACE", "X-Amz-Meta-New", "1")...)
	c.must(200, "PUT", at+"k", "", append(self, "X-Amz-Storage-Class", c.class)...)
	if a := c.must(200, "GET", at+"k", ""); a.body != "data" || a.header.Get("X-Amz-Meta-New") != "1" {
		t.Errorf("onto itself: %q %v", a.body, a.header)
	}
	before := time.Now().Add(-time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	for name, headers := range map[string][]string{
		"if-match":            {"X-Amz-Copy-Source-If-Match", `"x"`},
		"if-none-match":       {"X-Amz-Copy-Source-If-None-Match", etagOf("data")},
		"if-unmodified-since": {"X-Amz-Copy-Source-If-Unmodified-Since", before},
		"destination":         {"If-Match", `"x"`},
	} {
		a := c.do("PUT", at+"to", "", append(headers, source, at+"k")...)
		if want := 412; a.status != want && !(name == "destination" && a.status == 404) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	c.must(200, "PUT", at+"to", "", source, at+"k", "X-Amz-Copy-Source-If-Modified-Since", before, "If-None-Match", "*")
	c.refused(412, "PreconditionFailed", "PUT", at+"to", "", source, at+"k", "If-None-Match", "*")
	c.refused(404, "NoSuchKey", "PUT", at+"to", "", source, at+"none")
	c.refused(404, "NoSuchBucket", "PUT", at+"to", "", source, "none/none")
	c.refused(400, "InvalidArgument", "PUT", at+"to", "", source, "nothing")
	c.refused(403, "AccessDenied", "PUT", at+"to", "", source, at+"k", "X-Amz-Source-Expected-Bucket-Owner", "someone")
	c.refused(400, "InvalidArgument", "PUT", at+"to", "", source, at+"k", "X-Amz-Metadata-Directive", "MERGE")
}

func TestCopyVersion(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	path := "/" + bucket + "/k"
	c.must(200, "PUT", "/"+bucket+"?versioning", `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`)
	one := c.must(200, "PUT", path, "one").header.Get("X-Amz-Version-Id")
	c.must(200, "PUT", path, "two")
	a := c.must(200, "PUT", path, "", "X-Amz-Copy-Source", path+"?versionId="+one)
	if a.header.Get("X-Amz-Copy-Source-Version-Id") != one || a.header.Get("X-Amz-Version-Id") == "" {
		t.Errorf("restored: %v", a.header)
	}
	if got := c.must(200, "GET", path, "").body; got != "one" {
		t.Errorf("got %q", got)
	}
	marker := c.must(204, "DELETE", path, "").header.Get("X-Amz-Version-Id")
	c.refused(404, "NoSuchKey", "PUT", path+"2", "", "X-Amz-Copy-Source", path)
	c.refused(400, "InvalidRequest", "PUT", path+"2", "", "X-Amz-Copy-Source", path+"?versionId="+marker)
}

func TestPartCopy(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	at := "/" + bucket + "/"
	small, data := "0123456789", pattern(partSize+100)
	c.must(200, "PUT", at+"small", small)
	c.must(200, "PUT", at+"large", data)
	path := at + "k?uploadId=" + c.begin(at+"k", "X-Amz-Checksum-Algorithm", "CRC32")
	one := c.must(200, "PUT", path+"&partNumber=1", "", "X-Amz-Copy-Source", at+"large")
	two := c.must(200, "PUT", path+"&partNumber=2", "", "X-Amz-Copy-Source", at+"small", "X-Amz-Copy-Source-Range", "bytes=2-5")
	for _, bad := range []string{"0-2", "bytes=0", "bytes=0-10", "bytes=5-4", "bytes=hello-"} {
		c.refused(400, "InvalidArgument", "PUT", path+"&partNumber=3", "", "X-Amz-Copy-Source", at+"small", "X-Amz-Copy-Source-Range", bad)
	}
	etags := map[int]string{1: between(one.body, "ETag"), 2: between(two.body, "ETag")}
	if between(one.body, "ChecksumCRC32") == "" {
		t.Errorf("part: %s", one.body)
	}
	c.must(200, "POST", path, complete(etags, 1, 2))
	if got := c.must(200, "GET", at+"k", "").body; got != data+"2345" {
		t.Errorf("%d other bytes", len(got))
	}
	// An object of many parts is shared like any other.
	c.must(200, "PUT", at+"copy", "", "X-Amz-Copy-Source", at+"k")
	if got := c.must(200, "GET", at+"copy", "").body; got != data+"2345" {
		t.Errorf("copy: %d other bytes", len(got))
	}
}
