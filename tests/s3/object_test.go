package s3_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPutGet(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	for _, size := range []int{0, 1, 4096, 8192, 8193, 65536, 200_000, 3 << 20} {
		data, path := pattern(size), fmt.Sprintf("/%s/a/%d", bucket, size)
		put := c.must(200, "PUT", path, data, "Content-Type", "text/x", "X-Amz-Meta-Color", "blue", "Cache-Control", "no-store")
		if put.header.Get("ETag") != etagOf(data) || put.header.Get("X-Amz-Checksum-Crc64nvme") == "" {
			t.Fatalf("PUT of %d: headers %v", size, put.header)
		}
		get := c.must(200, "GET", path, "", "X-Amz-Checksum-Mode", "ENABLED")
		if get.body != data {
			t.Fatalf("GET of %d: %d other bytes", size, len(get.body))
		}
		head := c.must(200, "HEAD", path, "", "X-Amz-Checksum-Mode", "ENABLED")
		for name, want := range map[string]string{"ETag": etagOf(data), "Content-Length": fmt.Sprint(size), "Content-Type": "text/x",
			"X-Amz-Meta-Color": "blue", "Cache-Control": "no-store", "Accept-Ranges": "bytes", "X-Amz-Storage-Class": "",
			"X-Amz-Version-Id": "", "X-Amz-Checksum-Crc64nvme": put.header.Get("X-Amz-Checksum-Crc64nvme"), "X-Amz-Checksum-Type": "FULL_OBJECT"} {
			if get.header.Get(name) != want || head.header.Get(name) != want {
				t.Errorf("%d: %s is %q and %q, want %q", size, name, get.header.Get(name), head.header.Get(name), want)
			}
		}
		if size < 10 {
			continue
		}
		for _, r := range [][2]int{{0, 0}, {1, 9}, {size / 2, size - 1}, {size - 1, size - 1}} {
			part := c.must(206, "GET", path, "", "Range", fmt.Sprintf("bytes=%d-%d", r[0], r[1]), "X-Amz-Checksum-Mode", "ENABLED")
			if part.body != data[r[0]:r[1]+1] || part.header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", r[0], r[1], size) ||
				part.header.Get("X-Amz-Checksum-Crc64nvme") != "" {
				t.Errorf("range %v of %d: %d bytes, %v", r, size, len(part.body), part.header)
			}
		}
		bad := c.refused(416, "InvalidRange", "GET", path, "", "Range", fmt.Sprintf("bytes=%d-", size))
		if bad.header.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) && !strings.Contains(bad.body, fmt.Sprint(size)) {
			t.Errorf("416 of %d: %v", size, bad.header)
		}
		c.must(200, "GET", path, "", "Range", "bytes=0-1,4-5")
	}
	c.refused(404, "NoSuchKey", "GET", "/"+bucket+"/none", "")
	c.refused(404, "NoSuchBucket", "GET", "/none/none", "")
	c.refused(404, "NoSuchBucket", "PUT", "/none/none", "x")
}

func TestOddKeys(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	keys := []string{"a", "a/", "a/b", "a//b", "..%2f..", "%2e%2e/x", "a%0Ab", "a%3Fb%3Dc", "a+b", "a%20b", "%25", "%C3%A9", "%F0%9F%98%80", "x%5Cy", "a;b",
		strings.Repeat("k", 1024)}
	for i, k := range keys {
		c.must(200, "PUT", "/"+bucket+"/"+k, fmt.Sprint("body", i))
	}
	for i, k := range keys {
		if got := c.must(200, "GET", "/"+bucket+"/"+k, "").body; got != fmt.Sprint("body", i) {
			t.Errorf("%q: got %q", k, got)
		}
		c.must(204, "DELETE", "/"+bucket+"/"+k, "")
		c.must(404, "GET", "/"+bucket+"/"+k, "")
	}
	c.refused(400, "KeyTooLongError", "PUT", "/"+bucket+"/"+strings.Repeat("k", 1025), "x")
}

func TestConditions(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	path := "/" + bucket + "/k"
	c.refused(404, "NoSuchKey", "PUT", path, "x", "If-Match", `"abc"`)
	c.must(200, "PUT", path, "one", "If-None-Match", "*")
	c.refused(412, "PreconditionFailed", "PUT", path, "two", "If-None-Match", "*")
	c.refused(412, "PreconditionFailed", "PUT", path, pattern(100_000), "If-None-Match", "*")
	c.refused(412, "PreconditionFailed", "PUT", path, "two", "If-Match", etagOf("other"))
	c.must(200, "PUT", path, "two", "If-Match", etagOf("one"))
	c.must(200, "PUT", path, "three", "If-Match", "*")
	c.refused(501, "NotImplemented", "PUT", path, "x", "If-Modified-Since", "Fri, 01 May 2026 12:00:00 GMT")

	etag := etagOf("three")
	modified := c.must(200, "HEAD", path, "").header.Get("Last-Modified")
	at, err := http.ParseTime(modified)
	if err != nil {
		t.Fatal(err)
	}
	before := at.Add(-time.Second).Format(http.TimeFormat)
	c.must(304, "GET", path, "", "If-None-Match", etag)
	c.must(304, "HEAD", path, "", "If-None-Match", "*")
	if h := c.must(304, "GET", path, "", "If-Modified-Since", modified).header; h.Get("ETag") != etag || h.Get("Last-Modified") != modified {
		t.Errorf("304 has %v", h)
	}
	c.must(200, "GET", path, "", "If-Modified-Since", before)
	c.must(412, "GET", path, "", "If-Unmodified-Since", before)
	c.must(200, "GET", path, "", "If-Unmodified-Since", before, "If-Match", etag)
	c.refused(412, "PreconditionFailed", "GET", path, "", "If-Match", `"x"`)
	if a := c.must(412, "HEAD", path, "", "If-Match", `"x"`); a.body != "" {
		t.Errorf("HEAD with body %q", a.body)
	}
	c.must(206, "GET", path, "", "Range", "bytes=0-0", "If-Range", etag)
	c.must(200, "GET", path, "", "Range", "bytes=0-0", "If-Range", `"x"`)

	c.refused(412, "PreconditionFailed", "DELETE", path, "", "If-Match", `"x"`)
	c.refused(412, "PreconditionFailed", "DELETE", path, "", "X-Amz-If-Match-Size", "6")
	c.refused(412, "PreconditionFailed", "DELETE", path, "", "X-Amz-If-Match-Last-Modified-Time", before)
	c.refused(400, "InvalidArgument", "DELETE", path, "", "X-Amz-If-Match-Size", "many")
	c.must(204, "DELETE", path, "", "If-Match", etag, "X-Amz-If-Match-Size", "5", "X-Amz-If-Match-Last-Modified-Time", modified)
	c.must(204, "DELETE", path, "")
	c.refused(404, "NoSuchKey", "DELETE", path, "", "If-Match", etag)
}

func TestVersions(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	path := "/" + bucket + "/k"
	c.must(200, "PUT", path, "null version")
	c.must(200, "PUT", "/"+bucket+"?versioning", `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`)
	one := c.must(200, "PUT", path, "one").header.Get("X-Amz-Version-Id")
	two := c.must(200, "PUT", path, pattern(50_000)).header.Get("X-Amz-Version-Id")
	if one == "" || two == "" || one == two {
		t.Fatalf("versions %q and %q", one, two)
	}
	if a := c.must(200, "GET", path+"?versionId="+one, ""); a.body != "one" || a.header.Get("X-Amz-Version-Id") != one {
		t.Errorf("got %q, %v", a.body, a.header)
	}
	if a := c.must(200, "GET", path+"?versionId=null", ""); a.body != "null version" || a.header.Get("X-Amz-Version-Id") != "null" {
		t.Errorf("got %q, %v", a.body, a.header)
	}
	c.refused(400, "InvalidArgument", "GET", path+"?versionId=", "")
	del := c.must(204, "DELETE", path, "")
	marker := del.header.Get("X-Amz-Version-Id")
	if del.header.Get("X-Amz-Delete-Marker") != "true" || marker == "" {
		t.Fatalf("DELETE answers %v", del.header)
	}
	if a := c.refused(404, "NoSuchKey", "GET", path, ""); a.header.Get("X-Amz-Delete-Marker") != "true" || a.header.Get("X-Amz-Version-Id") != marker {
		t.Errorf("404 has %v", a.header)
	}
	if a := c.refused(405, "MethodNotAllowed", "GET", path+"?versionId="+marker, ""); a.header.Get("X-Amz-Delete-Marker") != "true" || a.header.Get("Allow") != "DELETE" {
		t.Errorf("405 has %v", a.header)
	}
	c.must(200, "PUT", path, "after", "If-None-Match", "*")
	if a := c.must(204, "DELETE", path+"?versionId="+marker, ""); a.header.Get("X-Amz-Delete-Marker") != "true" {
		t.Errorf("DELETE of the marker answers %v", a.header)
	}
	c.must(204, "DELETE", path+"?versionId="+two, "")
	c.refused(404, "NoSuchVersion", "GET", path+"?versionId="+two, "")
}

func TestHeadersOfReads(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	path := "/" + bucket + "/k"
	c.must(200, "PUT", path, "data", "X-Amz-Storage-Class", c.class, "Content-Encoding", "br", "X-Amz-Acl", "private")
	a := c.must(200, "GET", path+"?response-content-type=a%2Fb&response-cache-control=x&nobody-knows=1", "")
	for name, want := range map[string]string{"Content-Type": "a/b", "Cache-Control": "x", "Content-Encoding": "br", "X-Amz-Storage-Class": c.class} {
		if a.header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, a.header.Get(name), want)
		}
	}
	c.refused(400, "InvalidArgument", "GET", path+"?response-content-type=a%0d%0ab", "")
	c.refused(400, "InvalidStorageClass", "PUT", path, "x", "X-Amz-Storage-Class", "GLACIER")
	c.refused(501, "NotImplemented", "PUT", path, "x", "X-Amz-Acl", "public-read")
	c.refused(400, "MetadataTooLarge", "PUT", path, "x", "X-Amz-Meta-A", strings.Repeat("v", 2048))
	c.refused(400, "MalformedTrailerError", "PUT", path, "x", "X-Amz-Trailer", "x-amz-checksum-crc32")
	c.refused(400, "BadDigest", "PUT", path, "x", "Content-Md5", "XUFAKrxLKna5cZ2REBfFkg==")
	c.refused(400, "InvalidDigest", "PUT", path, "x", "Content-Md5", "XUFAKrxL")
	if c.must(200, "GET", path, "").body != "data" {
		t.Error("a refused PUT changed the object")
	}
	c.must(206, "GET", path+"?partNumber=1", "")
	c.refused(416, "InvalidPartNumber", "GET", path+"?partNumber=2", "")
	c.refused(400, "InvalidArgument", "GET", path+"?partNumber=0", "")
	c.refused(400, "InvalidRequest", "GET", path+"?partNumber=1", "", "Range", "bytes=0-0")
}
