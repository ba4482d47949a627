package s3

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/gateway"
)

func TestBucketLife(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PUT", "/Bad_Name", "", 400, "<Code>InvalidBucketName<"},
		{"PUT", "/alpha/", "", 200, ""},
		{"PUT", "/alpha", "", 409, "<Code>BucketAlreadyOwnedByYou<"},
		{"PUT", "/beta", `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>eu-moon-1</LocationConstraint></CreateBucketConfiguration>`, 200, ""},
		{"PUT", "/gamma", "<Nonsense/>", 400, "<Code>MalformedXML<"},
		{"PUT", "/gamma", "<CreateBucketConfiguration><Tags><Tag><Key>a</Key></Tag></Tags></CreateBucketConfiguration>", 501, "NotImplemented"},
		{"GET", "/alpha?location", "", 200, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`},
		{"GET", "/beta/?location=", "", 200, ">eu-moon-1</LocationConstraint>"},
		{"GET", "/none?location", "", 404, "<Code>NoSuchBucket<"},
		{"HEAD", "/beta", "", 200, ""},
		{"HEAD", "/none", "", 404, ""},
		{"GET", "/", "", 200, "<Name>alpha</Name><CreationDate>2023-11-14T22:13:20.000Z</CreationDate><BucketRegion>us-east-1</BucketRegion>"},
		{"GET", "/?bucket-region=eu-moon-1", "", 200, "<Buckets><Bucket><Name>beta<"},
		{"GET", "/?prefix=al&max-buckets=10", "", 200, "</Bucket></Buckets><Prefix>al</Prefix>"},
		{"GET", "/?max-buckets=0", "", 400, "InvalidArgument"},
		{"GET", "/?continuation-token=garbage", "", 400, "InvalidArgument"},
		{"GET", "/alpha?versioning", "", 200, "</VersioningConfiguration>"},
		{"PUT", "/alpha?versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", 200, ""},
		{"GET", "/alpha?versioning", "", 200, "<Status>Enabled</Status>"},
		{"PUT", "/alpha?versioning", "<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", 400, "MalformedXML"},
		{"PUT", "/alpha?versioning", "", 400, "MissingRequestBodyError"},
		{"DELETE", "/alpha?website", "", 501, "NotImplemented"},
		{"DELETE", "/alpha?nonsense", "", 400, "InvalidArgument"},
		{"GET", "/alpha?nonsense", "", 400, "InvalidArgument"},
		{"GET", "/alpha?acl", "", 501, "NotImplemented"},
		{"PATCH", "/alpha", "", 405, "MethodNotAllowed"},
		{"DELETE", "/alpha", "", 204, ""},
		{"DELETE", "/alpha", "", 404, "NoSuchBucket"},
		{"GET", "//key", "", 400, "InvalidBucketName"},
	} {
		a := send(t, ts, c.method, c.path, c.body, nil)
		if a.status != c.status || !strings.Contains(a.body, c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, a.status, a.body, c.status, c.want)
		}
		if a.header.Get("X-Amz-Request-Id") == "" {
			t.Errorf("%s %s: no request id", c.method, c.path)
		}
		if c.method == "HEAD" && a.body != "" {
			t.Errorf("HEAD %s has a body: %s", c.path, a.body)
		}
	}
	if a := send(t, ts, "HEAD", "/beta", "", nil); a.header.Get("X-Amz-Bucket-Region") != "eu-moon-1" {
		t.Errorf("HEAD gives region %q", a.header.Get("X-Amz-Bucket-Region"))
	}
	cat.put("full", "key")
	if a := send(t, ts, "DELETE", "/full", "", nil); a.status != 409 || !strings.Contains(a.body, "BucketNotEmpty") {
		t.Errorf("deleting a full bucket: %d %s", a.status, a.body)
	}
}

func TestListBucketsPages(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	for i := range 7 {
		cat.put(fmt.Sprintf("bucket-%d", i))
	}
	var got []string
	token := ""
	for range 10 {
		a := send(t, ts, "GET", "/?max-buckets=3&continuation-token="+token, "", nil)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		for part := range strings.SplitSeq(a.body, "<Name>") {
			if name, _, ok := strings.Cut(part, "</Name>"); ok {
				got = append(got, name)
			}
		}
		_, rest, more := strings.Cut(a.body, "<ContinuationToken>")
		if !more {
			break
		}
		token, _, _ = strings.Cut(rest, "<")
	}
	if want := "bucket-0 bucket-1 bucket-2 bucket-3 bucket-4 bucket-5 bucket-6"; strings.Join(got, " ") != want {
		t.Errorf("pages give %v", got)
	}
}

func TestBucketNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"abc": true, "a-b.c": true, "0ab": true, "1.2.3": true, "1.2.3.4.5": true, "xn--abc": true,
		strings.Repeat("a", 63): true, strings.Repeat("a", 64): false, "ab": false, "": false, "Abc": false, "a_b": false, "-ab": false,
		"ab-": false, ".ab": false, "ab.": false, "a..b": false, "a.-b": false, "a-.b": false, "192.168.5.4": false, "a/b": false, "aé": false} {
		if validBucketName(name) != want {
			t.Errorf("%q: want %v", name, want)
		}
	}
}

func TestExpectedOwner(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	cat.put("bucket")
	for owner, status := range map[string]int{"root": 200, "111122223333": 403} {
		for _, path := range []string{"/bucket?location", "/bucket?list-type=2", "/bucket?versioning"} {
			a := send(t, ts, "GET", path, "", func(r *http.Request) { r.Header.Set("X-Amz-Expected-Bucket-Owner", owner) })
			if a.status != status {
				t.Errorf("%s with owner %s: %d", path, owner, a.status)
			}
		}
	}
}

func TestStrictRegion(t *testing.T) {
	t.Parallel()
	ts, _ := frontServer(t, func(c *gateway.Config) { c.StrictRegion, c.Region = true, "mars-1" })
	if a := send(t, ts, "GET", "/", "", nil); a.status != 400 || !strings.Contains(a.body, "<Region>mars-1</Region>") {
		t.Errorf("another region in strict mode: %d %s", a.status, a.body)
	}
}
