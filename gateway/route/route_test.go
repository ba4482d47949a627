package route

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// matchLine matches a request line and returns the operation's name, "" for
// none, with the refusal.
func matchLine(t *testing.T, method, uri string, h http.Header) (string, *Refusal) {
	t.Helper()
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	tg, err := ParseTarget(u, "")
	if err != nil {
		t.Fatal(err)
	}
	q, err := ParseQuery(u.RawQuery, nil)
	if err != nil {
		t.Fatal(err)
	}
	op, err := Match(method, &tg, q, h)
	var r *Refusal
	errors.As(err, &r)
	if op == nil {
		return "", r
	}
	return op.Name, r
}

func TestMatch(t *testing.T) {
	t.Parallel()
	source := http.Header{"X-Amz-Copy-Source": {"/b/k"}}
	for _, c := range []struct {
		method, uri string
		header      http.Header
		name        string
		reason      Reason
	}{
		{"GET", "/", nil, "ListBuckets", 0},
		{"GET", "/?x-id=ListBuckets", nil, "ListBuckets", 0},
		{"GET", "/?x-id=ListDirectoryBuckets", nil, "ListDirectoryBuckets", NotBuilt},
		{"GET", "/?Action=GetCallerIdentity", nil, "ListBuckets", BadParam},
		{"POST", "/", nil, "", NoMethod},
		{"PUT", "/b", nil, "CreateBucket", 0},
		{"PUT", "/b/", nil, "CreateBucket", 0},
		{"GET", "/b?location", nil, "GetBucketLocation", 0},
		{"GET", "/b?location=", nil, "GetBucketLocation", 0},
		{"GET", "/b/?location&x-id=GetBucketLocation", nil, "GetBucketLocation", 0},
		{"GET", "/b?location&x-id=GetBucketAcl", nil, "GetBucketLocation", WrongID},
		{"GET", "/b?lifecycle&x-id=GetBucketLifecycle", nil, "GetBucketLifecycleConfiguration", NotBuilt},
		{"GET", "/b?list-type=2", nil, "ListObjectsV2", 0},
		{"GET", "/b?list-type=3", nil, "ListObjects", BadParam},
		{"GET", "/b?prefix=a&marker=b", nil, "ListObjects", 0},
		{"GET", "/b?unknown", nil, "ListObjects", BadParam},
		{"GET", "/b?uploadId=1", nil, "ListObjects", NotBuilt},
		{"GET", "/b?acl&policy", nil, "GetBucketAcl", NotBuilt},
		{"HEAD", "/b?anything=1", nil, "HeadBucket", 0},
		{"DELETE", "/b?website", nil, "DeleteBucketWebsite", NotBuilt},
		{"DELETE", "/b?uploads", nil, "DeleteBucket", NotBuilt},
		{"DELETE", "/b?force=true", nil, "DeleteBucket", BadParam},
		{"POST", "/b", nil, "PostObject", 0},
		{"POST", "/b?delete", nil, "DeleteObjects", 0},
		{"POST", "/WriteGetObjectResponse", nil, "WriteGetObjectResponse", NotBuilt},
		{"GET", "/b?analytics&id=1", nil, "GetBucketAnalyticsConfiguration", NotBuilt},
		{"GET", "/b?analytics", nil, "ListBucketAnalyticsConfigurations", NotBuilt},
		{"PUT", "/b/k", nil, "PutObject", 0},
		{"PUT", "/b/k", source, "CopyObject", 0},
		{"PUT", "/b/k?x-amz-copy-source=/b/k", nil, "CopyObject", 0},
		{"PUT", "/b/k?x-id=CopyObject", nil, "PutObject", WrongID},
		{"PUT", "/b/k?partNumber=1&uploadId=u", nil, "UploadPart", 0},
		{"PUT", "/b/k?partNumber=1&uploadId=u", source, "UploadPartCopy", 0},
		{"PUT", "/b/k?uploadId=u", nil, "UploadPart", 0},
		{"PUT", "/b/k?partNumber=1&uploadId=u&partNumber=2", nil, "UploadPart", Repeated},
		{"PUT", "/b/k?partNumber=1&uploadId=u&uploadId=u", nil, "UploadPart", Repeated},
		{"POST", "/b/k?uploadId=u&uploadId=v", nil, "CompleteMultipartUpload", Repeated},
		{"DELETE", "/b/k?uploadId=u&%75ploadId=v", nil, "AbortMultipartUpload", Repeated},
		{"DELETE", "/b/k?versionId=v&versionId=w", nil, "DeleteObject", Repeated},
		{"DELETE", "/b/k?versionId&versionId=w", nil, "DeleteObject", Repeated},
		{"GET", "/b/k?versionId=v&x=1&x=2&versionId=w", nil, "GetObject", Repeated},
		{"HEAD", "/b/k?partNumber=1&partNumber=2", nil, "HeadObject", Repeated},
		{"GET", "/b?prefix=a&prefix=b", nil, "ListObjects", Repeated},
		{"GET", "/b/k?_=1&_=2", nil, "GetObject", 0},
		{"PUT", "/b/k?partNumber=1", nil, "PutObject", NotBuilt},
		{"PUT", "/b/k?renameObject", nil, "RenameObject", NotBuilt},
		{"PUT", "/b/k?encryption", nil, "UpdateObjectEncryption", NotBuilt},
		{"PUT", "/b/k?website", nil, "PutObject", NotBuilt},
		{"PUT", "/b/k?append", nil, "PutObject", BadParam},
		{"PUT", "/b/k?acl&tagging", nil, "PutObjectAcl", NotBuilt},
		{"PUT", "/b/k?Content-Type=text/plain&cache-control=none", nil, "PutObject", 0},
		{"POST", "/b/k?uploads", nil, "CreateMultipartUpload", 0},
		{"POST", "/b/k?uploads=", nil, "CreateMultipartUpload", 0},
		{"POST", "/b/k?uploadId=u", nil, "CompleteMultipartUpload", 0},
		{"POST", "/b/k", nil, "", NoMethod},
		{"POST", "/b/k?acl", nil, "", NotBuilt},
		{"POST", "/b/k?select&select-type=2", nil, "SelectObjectContent", NotBuilt},
		{"DELETE", "/b/k?uploadId=u", nil, "AbortMultipartUpload", 0},
		{"DELETE", "/b/k?versionId=v", nil, "DeleteObject", 0},
		{"DELETE", "/b/k?tagging", nil, "DeleteObjectTagging", 0},
		{"GET", "/b/k?cache=buster&_=1", nil, "GetObject", 0},
		{"GET", "/b/k?x-id=GetObject&versionId=v", nil, "GetObject", 0},
		{"GET", "/b/k?uploadId=u", nil, "ListParts", 0},
		{"GET", "/b/k?attributes", nil, "GetObjectAttributes", 0},
		{"GET", "/b/k?attributes&acl", nil, "GetObjectAttributes", NotBuilt},
		{"GET", "/b/k?torrent", nil, "GetObjectTorrent", NotBuilt},
		{"HEAD", "/b/k?uploads", nil, "HeadObject", 0},
		{"PATCH", "/b/k", nil, "", NoMethod},
	} {
		name, r := matchLine(t, c.method, c.uri, c.header)
		var reason Reason
		if r != nil {
			reason = r.Reason
		}
		if name != c.name || reason != c.reason {
			t.Errorf("%s %s: %q, refused for %d, want %q, %d", c.method, c.uri, name, reason, c.name, c.reason)
		}
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		uri, host   string
		bucket, key string
		err         error
	}{
		{"/", "", "", "", nil},
		{"/b", "", "b", "", nil},
		{"/b/", "", "b", "", nil},
		{"/b//", "", "b", "/", nil},
		{"/b/..", "", "b", "..", nil},
		{"/b/../c", "", "b", "../c", nil},
		{"/b/a//b/", "", "b", "a//b/", nil},
		{"/b/a%2fb%2F", "", "b", "a/b/", nil},
		{"/b/a%252fb", "", "b", "a%2fb", nil},
		{"/b/a+b%20c%2B", "", "b", "a+b c+", nil},
		{"/b/%0A%0D;x=1", "", "b", "\n\r;x=1", nil},
		{"/b/%00", "", "b", "\x00", nil},
		{`/b/a\b`, "", "b", `a\b`, nil},
		{"/b/k#f", "", "b", "k#f", nil},
		{"/b/é%C3%A9", "", "b", "éé", nil},
		{"/b/%ff", "", "", "", ErrInvalidURI},
		{"/b%2Fk", "", "", "", ErrBadBucket},
		{"//", "", "", "", ErrBadBucket},
		{"//k", "", "", "", ErrBadBucket},
		{"/b/" + strings.Repeat("k", 1024), "", "b", strings.Repeat("k", 1024), nil},
		{"/b/" + strings.Repeat("%6b", 1025), "", "b", strings.Repeat("k", 1025), ErrKeyTooLong},
		{"/", "v", "v", "", nil},
		{"/k/l", "v", "v", "k/l", nil},
		{"//k", "v", "v", "/k", nil},
		{"/a%2Fb", "v", "v", "a/b", nil},
		{"http://host/b/k", "", "b", "k", nil},
	} {
		u, err := url.ParseRequestURI(c.uri)
		if err != nil {
			t.Fatal(err)
		}
		tg, err := ParseTarget(u, c.host)
		if err != c.err || tg.Bucket != c.bucket || tg.Key != c.key {
			t.Errorf("%.40s (host %q): %q %.40q %v, want %q %.40q %v", c.uri, c.host, tg.Bucket, tg.Key, err, c.bucket, c.key, c.err)
		}
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	d := NewDomains([]string{"Example.com:9000", "s3.example.com", "local"})
	for host, want := range map[string]string{"b.example.com": "b", "b.example.com:80": "b", "B.Example.Com.": "b", "example.com": "",
		"s3.example.com": "", "b.s3.example.com": "b", "b.c.s3.example.com": "b.c", "xexample.com": "", "b.local:9000": "b", "local": "",
		"127.0.0.1:9000": "", "[::1]:9000": "", "": "", ".local": ""} {
		if got := d.Bucket(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

func TestQueries(t *testing.T) {
	t.Parallel()
	q, err := ParseQuery("a=1&b&c=&d=x;y=2&e=a+b%20c&a=2&&%41=%3D", nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"a": "1", "b": "", "c": "", "d": "x;y=2", "e": "a b c", "A": "="} {
		if !q.Has(k) || q.Get(k) != want {
			t.Errorf("%s: %q, want %q", k, q.Get(k), want)
		}
	}
	for _, raw := range []string{"%", "a=%zz", "a=%ff", "\xff"} {
		if _, err := ParseQuery(raw, nil); err != ErrInvalidURI {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

// FuzzRoute parses and matches any request line. What is matched is consistent:
// the operation has the level and method of the request, its requirements
// hold, and the key survives another round.
func FuzzRoute(f *testing.F) {
	for _, s := range []string{"/", "/b/k?acl", "/b?list-type=2&prefix=%20", "//", "/b/%2f..%0a?x-id=PutObject&uploadId=1"} {
		f.Add("GET", s, "")
		f.Add("PUT", s, "bucket.example.com:9000")
	}
	domains := NewDomains([]string{"example.com"})
	f.Fuzz(func(t *testing.T, method, uri, host string) {
		u, err := url.ParseRequestURI(uri)
		if err != nil {
			return
		}
		tg, err := ParseTarget(u, domains.Bucket(host))
		if err != nil {
			return
		}
		if !tg.Virtual && tg.Bucket != "" {
			again := &url.URL{Path: "/" + tg.Bucket + "/" + tg.Key}
			u2, err := url.ParseRequestURI(again.EscapedPath())
			if err != nil {
				t.Fatal(err)
			}
			if tg2, err := ParseTarget(u2, ""); err != nil || tg2 != tg {
				t.Fatalf("%+v reads back as %+v: %v", tg, tg2, err)
			}
		}
		q, err := ParseQuery(u.RawQuery, nil)
		if err != nil {
			return
		}
		op, err := Match(method, &tg, q, nil)
		if op == nil {
			if err == nil {
				t.Fatal("neither an operation nor a refusal")
			}
			return
		}
		if op.Method != method || op.Path == "" && op.Level != tg.Level() || !op.selected(&tg, q, nil) || err == nil && !op.Built {
			t.Fatalf("%s %s: %s %v", method, uri, op.Name, err)
		}
		_ = op.CheckHeaders(nil, q)
	})
}

func BenchmarkMatchGet(b *testing.B) {
	u, _ := url.ParseRequestURI("/bucket/some/key/of/usual.length?x-id=GetObject")
	h := http.Header{"Authorization": {"x"}, "X-Amz-Date": {"x"}, "X-Amz-Content-Sha256": {"x"}, "User-Agent": {"x"}, "Accept-Encoding": {"x"},
		"Amz-Sdk-Invocation-Id": {"x"}, "Amz-Sdk-Request": {"x"}}
	b.ReportAllocs()
	for b.Loop() {
		tg, _ := ParseTarget(u, "")
		q, _ := ParseQuery(u.RawQuery, nil)
		op, err := Match("GET", &tg, q, h)
		if err != nil || op.CheckHeaders(h, q) != nil {
			b.Fatal(err)
		}
	}
}
