package s3_test

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// version is a row of the model of a versioned bucket.
type version struct {
	key, id string
	marker  bool
}

// listed is what a client reads of any listing.
type listed struct {
	NextMarker, NextContinuationToken, NextKeyMarker, NextVersionIdMarker string
	IsTruncated                                                           bool
	Contents                                                              []struct{ Key string }
	Version, DeleteMarker                                                 []struct {
		Key, VersionId string
		IsLatest       bool
	}
	CommonPrefixes []struct{ Prefix string }
}

func (c *cluster) list(q url.Values) listed {
	c.t.Helper()
	var l listed
	a := c.must(200, "GET", "/"+bucket+"?"+q.Encode(), "")
	if err := xml.Unmarshal([]byte(a.body), &l); err != nil {
		c.t.Fatalf("%v: %s", err, a.body)
	}
	return l
}

func keyPath(key string) string { return (&url.URL{Path: "/" + bucket + "/" + key}).EscapedPath() }

// wantListing is what S3 lists, written down plainly.
func wantListing(keys []string, prefix, delimiter string) (out []string) {
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k, prefix)
		if !ok {
			continue
		}
		if i := strings.Index(rest, delimiter); delimiter != "" && i >= 0 {
			k = prefix + rest[:i+len(delimiter)]
			if slices.Contains(out, k) {
				continue
			}
		}
		out = append(out, k)
	}
	return out
}

// TestListingAgainstModel writes and deletes random keys in a versioned bucket
// and holds all three listings against a model, page by page.
func TestListingAgainstModel(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	c.must(200, "PUT", "/"+bucket+"?versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
	parts := []string{"a", "b/", "/", "..", "é", " ", "%2f", "&", "+", "\\", "a/"}
	current := map[string]bool{}
	var history []version // newest last
	for range 80 {
		key := ""
		for range 1 + rng.IntN(4) {
			key += parts[rng.IntN(len(parts))]
		}
		if rng.IntN(4) == 0 {
			a := c.must(204, "DELETE", keyPath(key), "")
			current[key] = false
			history = append(history, version{key, a.header.Get("X-Amz-Version-Id"), true})
			continue
		}
		a := c.must(200, "PUT", keyPath(key), key)
		current[key] = true
		history = append(history, version{key, a.header.Get("X-Amz-Version-Id"), false})
	}
	var keys []string
	for k, live := range current {
		if live {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "b/", "é"} {
		for _, delimiter := range []string{"", "/", "%2f"} {
			want := wantListing(keys, prefix, delimiter)
			for _, max := range []int{1, 2, 7, 999, 1000, 1001} {
				for _, kind := range []string{"1", "2"} {
					if got := c.joinPages(kind, prefix, delimiter, max); !slices.Equal(got, want) {
						t.Errorf("version %s, prefix %q, delimiter %q, max %d: %q, want %q", kind, prefix, delimiter, max, got, want)
					}
				}
			}
		}
	}
	slices.Reverse(history)
	slices.SortStableFunc(history, func(a, b version) int { return strings.Compare(a.key, b.key) })
	for _, max := range []int{1, 3, 1000} {
		if got := c.joinVersions(max); !slices.Equal(got, history) {
			t.Errorf("versions by %d: %v, want %v", max, got, history)
		}
	}
}

func (c *cluster) joinPages(kind, prefix, delimiter string, max int) (all []string) {
	c.t.Helper()
	q := url.Values{"prefix": {prefix}, "delimiter": {delimiter}, "max-keys": {fmt.Sprint(max)}}
	if kind == "2" {
		q.Set("list-type", "2")
	}
	for {
		l := c.list(q)
		var page []string
		for _, e := range l.Contents {
			page = append(page, e.Key)
		}
		for _, p := range l.CommonPrefixes {
			page = append(page, p.Prefix)
		}
		slices.Sort(page)
		all = append(all, page...)
		switch {
		case !l.IsTruncated:
			return all
		case len(page) == 0:
			c.t.Fatalf("an empty page that is truncated: %v", q)
		case kind == "2":
			q.Set("continuation-token", l.NextContinuationToken)
		case l.NextMarker != "":
			q.Set("marker", l.NextMarker)
		default:
			q.Set("marker", page[len(page)-1])
		}
	}
}

func (c *cluster) joinVersions(max int) (all []version) {
	c.t.Helper()
	q := url.Values{"versions": {""}, "max-keys": {fmt.Sprint(max)}}
	for {
		l := c.list(q)
		var page []version
		for _, v := range l.Version {
			page = append(page, version{v.Key, v.VersionId, false})
		}
		for _, v := range l.DeleteMarker {
			page = append(page, version{v.Key, v.VersionId, true})
		}
		// Versions and markers are two lists to this parser: put them back
		// in order, newer ids first where they are of one key.
		slices.SortStableFunc(page, func(a, b version) int {
			if n := strings.Compare(a.key, b.key); n != 0 {
				return n
			}
			return -strings.Compare(a.id, b.id)
		})
		all = append(all, page...)
		if !l.IsTruncated {
			return all
		}
		q.Set("key-marker", l.NextKeyMarker)
		q.Set("version-id-marker", l.NextVersionIdMarker)
	}
}

// TestDeleteObjectsForReal deletes keys, versions and markers in one request.
func TestDeleteObjectsForReal(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	ctx, client := context.Background(), c.client()
	for i := range 20 {
		c.must(200, "PUT", fmt.Sprintf("/%s/k%02d", bucket, i), "body")
	}
	var ids []types.ObjectIdentifier
	for i := range 25 {
		ids = append(ids, types.ObjectIdentifier{Key: aws.String(fmt.Sprintf("k%02d", i))})
	}
	ids[3].ETag = aws.String("another")
	ids[4].Size = aws.Int64(4)
	out, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: ids}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Deleted) != 24 || len(out.Errors) != 1 || aws.ToString(out.Errors[0].Code) != "PreconditionFailed" {
		t.Errorf("%d deleted, errors %+v", len(out.Deleted), out.Errors)
	}
	if l := c.list(url.Values{}); len(l.Contents) != 1 || l.Contents[0].Key != "k03" {
		t.Errorf("left over: %v", l.Contents)
	}
	c.refused(409, "BucketNotEmpty", "DELETE", "/"+bucket, "")
	c.must(200, "PUT", "/"+bucket+"?versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
	if out, err = client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: ids[3:4:4]}}); err != nil {
		t.Fatal(err)
	}
	ids[3].ETag = nil
	out, err = client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: ids[3:4]}})
	if err != nil || len(out.Deleted) != 1 || !aws.ToBool(out.Deleted[0].DeleteMarker) || aws.ToString(out.Deleted[0].DeleteMarkerVersionId) == "" {
		t.Fatalf("making a marker: %+v %v", out, err)
	}
	marker := aws.ToString(out.Deleted[0].DeleteMarkerVersionId)
	c.refused(409, "BucketNotEmpty", "DELETE", "/"+bucket, "")
	doc := "<Delete><Object><Key>k03</Key><VersionId>" + marker + "</VersionId></Object><Object><Key>k03</Key><VersionId>null</VersionId></Object></Delete>"
	sum := md5.Sum([]byte(doc))
	a := c.must(200, "POST", "/"+bucket+"?delete", doc, "Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	if !strings.Contains(a.body, "<DeleteMarkerVersionId>"+marker+"<") || strings.Contains(a.body, "<Error>") {
		t.Error(a.body)
	}
	c.must(204, "DELETE", "/"+bucket, "")
}

// TestDeleteObjectsOddVersions: an id that no version can have is an error of
// its own key, and the others are deleted. So is an empty one: taking it for
// none would delete the current object.
func TestDeleteObjectsOddVersions(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"", "Enabled"} {
		c := open(t, "rep-1", nil)
		if state != "" {
			c.must(200, "PUT", "/"+bucket+"?versioning", "<VersioningConfiguration><Status>"+state+"</Status></VersioningConfiguration>")
		}
		odd := []string{"abc", "", " ", "../../x", strings.Repeat("z", 3000)}
		var doc strings.Builder
		doc.WriteString("<Delete>")
		for i, v := range odd {
			c.must(200, "PUT", fmt.Sprintf("/%s/good%d", bucket, i), "body")
			c.must(200, "PUT", fmt.Sprintf("/%s/odd%d", bucket, i), "body")
			fmt.Fprintf(&doc, "<Object><Key>good%d</Key></Object><Object><Key>odd%d</Key><VersionId>%s</VersionId></Object>", i, i, v)
		}
		doc.WriteString("</Delete>")
		sum := md5.Sum([]byte(doc.String()))
		a := c.must(200, "POST", "/"+bucket+"?delete", doc.String(), "Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
		var out struct {
			Deleted []struct{ Key string }
			Error   []struct{ Key, VersionId, Code string }
		}
		if err := xml.Unmarshal([]byte(a.body), &out); err != nil {
			t.Fatal(err)
		}
		if len(out.Deleted) != len(odd) || len(out.Error) != len(odd) {
			t.Fatalf("%d deleted, errors %v", len(out.Deleted), out.Error)
		}
		for i, e := range out.Error {
			if e.Code != "NoSuchVersion" || e.Key != fmt.Sprintf("odd%d", i) || e.VersionId != strings.TrimSpace(odd[i]) {
				t.Errorf("%q: %v", odd[i], e)
			}
			if l := c.must(200, "GET", "/"+bucket+"/"+e.Key, ""); l.body != "body" {
				t.Errorf("%q: the object is gone", odd[i])
			}
		}
		if l := c.list(url.Values{}); len(l.Contents) != len(odd) {
			t.Errorf("left over: %v", l.Contents)
		}
	}
}

// TestVersioningStates walks a bucket through its states.
func TestVersioningStates(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	get := func() string { return between(c.must(200, "GET", "/"+bucket+"?versioning", "").body, "Status") }
	if get() != "" {
		t.Error("a new bucket has a status")
	}
	c.refused(400, "MalformedXML", "PUT", "/"+bucket+"?versioning",
		"<VersioningConfiguration><Status>Enabled</Status><Status>Suspended</Status></VersioningConfiguration>")
	for _, s := range []string{"Enabled", "Suspended", "Enabled"} {
		c.must(200, "PUT", "/"+bucket+"?versioning", `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>`+s+`</Status></VersioningConfiguration>`)
		if get() != s {
			t.Errorf("status %q, want %q", get(), s)
		}
	}
}
