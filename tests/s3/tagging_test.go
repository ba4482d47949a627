package s3_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// tagged makes the document of tags given in pairs.
func tagged(pairs ...string) string {
	set := ""
	for i := 0; i < len(pairs); i += 2 {
		set += "<Tag><Key>" + pairs[i] + "</Key><Value>" + pairs[i+1] + "</Value></Tag>"
	}
	return `<TagSet>` + set + `</TagSet>`
}

// tags fails the test unless the version has exactly these tags, by every way
// that tells.
func (c *cluster) tags(path string, pairs ...string) {
	c.t.Helper()
	sub, count := path+"?tagging", ""
	if at, version, ok := strings.Cut(path, "?"); ok {
		sub = at + "?tagging&" + version
	}
	if got := c.must(200, "GET", sub, ""); !strings.Contains(got.body, tagged(pairs...)) {
		c.t.Errorf("%s: %s, want %s", path, got.body, tagged(pairs...))
	}
	if len(pairs) > 0 {
		count = fmt.Sprint(len(pairs) / 2)
	}
	for _, method := range []string{"GET", "HEAD"} {
		if got := c.must(200, method, path, "").header.Get("X-Amz-Tagging-Count"); got != count {
			c.t.Errorf("%s %s: count %q, want %q", method, path, got, count)
		}
	}
}

func TestObjectTagging(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	at := "/" + bucket + "/"
	for name, data := range map[string]string{"empty": "", "inline": "small", "blob": pattern(100_000)} {
		path := at + name
		c.must(200, "PUT", path, data)
		c.tags(path)
		before := c.must(200, "HEAD", path, "").header
		if a := c.must(200, "PUT", path+"?tagging", "<Tagging>"+tagged("b", "2", "a", "")+"</Tagging>"); a.body != "" || a.header.Get("X-Amz-Version-Id") != "" {
			t.Errorf("%s: %q %v", name, a.body, a.header)
		}
		c.tags(path, "a", "", "b", "2")
		after := c.must(200, "HEAD", path, "").header
		for _, h := range []string{"Etag", "Last-Modified", "Content-Length", "Content-Type"} {
			if before.Get(h) != after.Get(h) {
				t.Errorf("%s: %s was %q and is %q", name, h, before.Get(h), after.Get(h))
			}
		}
		if c.must(200, "GET", path, "").body != data {
			t.Errorf("%s: other bytes", name)
		}
		c.must(204, "DELETE", path+"?tagging", "")
		c.tags(path)
		c.must(204, "DELETE", path+"?tagging", "")

		c.must(200, "PUT", path, data, "X-Amz-Tagging", "k=v+w&empty")
		c.tags(path, "empty", "", "k", "v w")
		c.must(200, "PUT", path, data)
		c.tags(path)
		c.must(200, "PUT", path+"?x-amz-tagging=h%3Doisted", data)
		c.tags(path, "h", "oisted")
	}
	c.refused(404, "NoSuchKey", "GET", at+"none?tagging", "")
	c.refused(404, "NoSuchKey", "PUT", at+"none?tagging", "<Tagging><TagSet/></Tagging>")
	c.refused(404, "NoSuchKey", "DELETE", at+"none?tagging", "")
	c.refused(404, "NoSuchBucket", "PUT", "/none/none?tagging", "<Tagging><TagSet/></Tagging>")
	c.refused(400, "MalformedXML", "PUT", at+"inline?tagging", "")
	c.refused(400, "MalformedXML", "PUT", at+"inline?tagging", "<Tagging>")
	c.refused(400, "InvalidTag", "PUT", at+"inline?tagging", "<Tagging>"+tagged("a", "1", "a", "2")+"</Tagging>")
	c.refused(400, "BadRequest", "PUT", at+"inline?tagging", "<Tagging>"+tagged(strings.Split(strings.Repeat("k,v,", 11), ",")[:22]...)+"</Tagging>")
	c.refused(400, "InvalidArgument", "PUT", at+"inline", "x", "X-Amz-Tagging", "a=1&a=2")
	c.refused(400, "InvalidTag", "PUT", at+"inline", "x", "X-Amz-Tagging", "aws:a=1")
	c.refused(400, "InvalidDigest", "PUT", at+"inline?tagging", "<Tagging><TagSet/></Tagging>", "Content-Md5", "x")
	c.tags(at+"inline", "h", "oisted")
}

func TestVersionTagging(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	path := "/" + bucket + "/k"
	c.must(200, "PUT", path, "null version", "X-Amz-Tagging", "v=null")
	c.must(200, "PUT", "/"+bucket+"?versioning", `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`)
	one := c.must(200, "PUT", path, "one", "X-Amz-Tagging", "v=1").header.Get("X-Amz-Version-Id")
	two := c.must(200, "PUT", path, "two").header.Get("X-Amz-Version-Id")
	list := c.must(200, "GET", "/"+bucket+"?versions", "").body
	put := func(version, value, want string) {
		t.Helper()
		query := "?tagging"
		if version != "" {
			query += "&versionId=" + version
		}
		if got := c.must(200, "PUT", path+query, "<Tagging>"+tagged("v", value)+"</Tagging>").header.Get("X-Amz-Version-Id"); got != want {
			t.Errorf("tags of %q answered with %q", version, got)
		}
	}
	c.tags(path)
	c.tags(path+"?versionId=null", "v", "null")
	c.tags(path+"?versionId="+one, "v", "1")
	put("", "current", two)
	put(one, "older", one)
	put("null", "oldest", "null")
	c.tags(path, "v", "current")
	c.tags(path+"?versionId="+two, "v", "current")
	c.tags(path+"?versionId="+one, "v", "older")
	c.tags(path+"?versionId=null", "v", "oldest")
	if a := c.must(204, "DELETE", path+"?tagging&versionId="+one, ""); a.header.Get("X-Amz-Version-Id") != one {
		t.Errorf("%v", a.header)
	}
	c.tags(path + "?versionId=" + one)
	if got := c.must(200, "GET", "/"+bucket+"?versions", "").body; got != list {
		t.Errorf("versions changed with their tags:\n%s\nwere\n%s", got, list)
	}
	c.refused(404, "NoSuchVersion", "GET", path+"?tagging&versionId="+strings.Repeat("0", len(one)), "")
	c.refused(400, "InvalidArgument", "GET", path+"?tagging&versionId=", "")

	marker := c.must(204, "DELETE", path, "").header.Get("X-Amz-Version-Id")
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		body := ""
		if method == "PUT" {
			body = "<Tagging><TagSet/></Tagging>"
		}
		if a := c.refused(404, "NoSuchKey", method, path+"?tagging", body); a.header.Get("X-Amz-Delete-Marker") != "true" {
			t.Errorf("%s: %v", method, a.header)
		}
		c.refused(405, "MethodNotAllowed", method, path+"?tagging&versionId="+marker, body)
	}
	c.must(204, "DELETE", path+"?versionId="+marker, "")
	c.tags(path, "v", "current")
}

func TestCopyTagging(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	const source, directive = "X-Amz-Copy-Source", "X-Amz-Tagging-Directive"
	at := "/" + bucket + "/"
	c.must(200, "PUT", at+"src", pattern(50_000), "X-Amz-Tagging", "a=1&b=2")
	for name, headers := range map[string][]string{
		"by reference":  nil,
		"by streaming":  {"X-Amz-Storage-Class", c.class},
		"other headers": {"X-Amz-Metadata-Directive", "REPLACE"},
		"told":          {directive, "COPY"},
	} {
		to := at + strings.ReplaceAll(name, " ", "-")
		c.must(200, "PUT", to, "", append(headers, source, at+"src")...)
		c.tags(to, "a", "1", "b", "2")
		if name == "told" {
			headers = nil
		}
		c.must(200, "PUT", to, "", append(headers, source, at+"src", directive, "REPLACE", "X-Amz-Tagging", "c=3")...)
		c.tags(to, "c", "3")
		c.must(200, "PUT", to, "", source, at+"src", directive, "REPLACE")
		c.tags(to)
	}
	c.refused(400, "InvalidArgument", "PUT", at+"x", "", source, at+"src", directive, "KEEP")
	c.refused(400, "InvalidTag", "PUT", at+"x", "", source, at+"src", directive, "REPLACE", "X-Amz-Tagging", "a=%3F")
	// What changes with the copy leaves the source's tags alone.
	c.must(204, "DELETE", at+"told?tagging", "")
	c.tags(at+"src", "a", "1", "b", "2")
}

func TestUploadAndFormTagging(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	path := "/" + bucket + "/up"
	id := between(c.must(200, "POST", path+"?uploads", "", "X-Amz-Tagging", "k=v&l").body, "UploadId")
	etag := c.must(200, "PUT", path+"?partNumber=1&uploadId="+id, "part").header.Get("ETag")
	c.refused(501, "NotImplemented", "PUT", path+"?partNumber=2&uploadId="+id, "part", "X-Amz-Tagging", "k=v")
	doc := "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + strings.Trim(etag, `"`) + "</ETag></Part></CompleteMultipartUpload>"
	c.must(200, "POST", path+"?uploadId="+id, doc)
	c.must(200, "POST", path+"?uploadId="+id, doc)
	c.tags(path, "k", "v", "l", "")
	c.refused(400, "InvalidTag", "POST", path+"?uploads", "", "X-Amz-Tagging", "aws:x=y")

	policy := `,["starts-with","$key",""],["starts-with","$tagging",""]`
	set := "<Tagging>" + tagged("b", "2", "a", "1") + "</Tagging>"
	if a := c.post("file", signed(policy, "key", "form", "tagging", set)...); a.status != 204 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	c.tags("/"+bucket+"/form", "a", "1", "b", "2")
	if a := c.post("file", signed(policy, "key", "form", "tagging", "a=b")...); a.status != 400 || !strings.Contains(a.body, "MalformedXML") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := c.post("file", signed(`,["starts-with","$key",""]`, "key", "form", "tagging", set)...); a.status != 403 {
		t.Errorf("a field that no condition covers: %d %s", a.status, a.body)
	}
}

// TestTaggingBySDK uses the SDK, which sends checksums and reads the answers
// by the model.
func TestTaggingBySDK(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	client, ctx := c.client(), t.Context()
	name := aws.String(bucket)
	if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("k"), Body: strings.NewReader("x"), Tagging: aws.String("a=1")}); err != nil {
		t.Fatal(err)
	}
	set := &types.Tagging{TagSet: []types.Tag{{Key: aws.String("x"), Value: aws.String("y z")}}}
	if _, err := client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: name, Key: aws.String("k"), Tagging: set}); err != nil {
		t.Fatal(err)
	}
	got, err := client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: name, Key: aws.String("k")})
	if err != nil || len(got.TagSet) != 1 || *got.TagSet[0].Key != "x" || *got.TagSet[0].Value != "y z" {
		t.Fatalf("%+v %v", got, err)
	}
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: name, Key: aws.String("k")})
	if err != nil || head.TagCount == nil || *head.TagCount != 1 {
		t.Fatalf("%+v %v", head, err)
	}
	if _, err := client.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: name, Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	if got, err = client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: name, Key: aws.String("k")}); err != nil || len(got.TagSet) != 0 {
		t.Fatalf("%+v %v", got, err)
	}
}
