package s3

import (
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// listResult is what a client reads of a listing.
type listResult struct {
	Name, Prefix, Marker, NextMarker, NextContinuationToken, StartAfter, Delimiter, EncodingType string
	KeyCount, MaxKeys                                                                            int
	IsTruncated                                                                                  bool
	Contents                                                                                     []struct {
		Key, LastModified, ETag, StorageClass string
		Size                                  int64
		Owner                                 *struct{ ID string }
	}
	CommonPrefixes []struct{ Prefix string }
}

func parseListing(t *testing.T, a answer) listResult {
	t.Helper()
	var r listResult
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if err := xml.Unmarshal([]byte(a.body), &r); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return r
}

// modelListing is what S3 lists, written down plainly.
func modelListing(keys []string, prefix, delimiter, after string) (out []string) {
	for _, k := range keys {
		if !strings.HasPrefix(k, prefix) || k <= after {
			continue
		}
		if p := commonPrefix(k, prefix, delimiter); p != "" {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
			continue
		}
		out = append(out, k)
	}
	return out
}

// TestListingPagesJoin joins the pages of both versions, of every page size,
// and compares them with the model.
func TestListingPagesJoin(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	ts, cat := frontServer(t, nil)
	alphabet := []string{"a", "b", "/", "//", " ", "+", "é", "&<", "%2f", "..", "a/", "\t"}
	set := map[string]bool{}
	for range 60 {
		var k strings.Builder
		for range 1 + rng.IntN(5) {
			k.WriteString(alphabet[rng.IntN(len(alphabet))])
		}
		set[k.String()] = true
	}
	var keys []string
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	cat.put("bucket", keys...)
	for _, prefix := range []string{"", "a", "a/", "b/é"} {
		for _, delimiter := range []string{"", "/", "//", "é"} {
			for _, max := range []int{1, 2, 7, 1000} {
				want := modelListing(keys, prefix, delimiter, "")
				for _, v2 := range []bool{true, false} {
					got := joinPages(t, v2, max, func(q url.Values) answer {
						q.Set("prefix", prefix)
						q.Set("delimiter", delimiter)
						return send(t, ts, "GET", "/bucket?"+q.Encode(), "", nil)
					})
					if !slices.Equal(got, want) {
						t.Errorf("v2 %v prefix %q delimiter %q max %d: %q, want %q", v2, prefix, delimiter, max, got, want)
					}
				}
			}
		}
	}
}

// joinPages reads all pages and returns keys and prefixes in order.
func joinPages(t *testing.T, v2 bool, max int, get func(url.Values) answer) (all []string) {
	t.Helper()
	q := url.Values{"max-keys": {fmt.Sprint(max)}, "encoding-type": {"url"}}
	if v2 {
		q.Set("list-type", "2")
	}
	for {
		r := parseListing(t, get(q))
		var page []string
		for _, e := range r.Contents {
			page = append(page, decodeURL(t, e.Key))
		}
		for _, p := range r.CommonPrefixes {
			page = append(page, decodeURL(t, p.Prefix))
		}
		slices.Sort(page)
		if len(page) > max || v2 && r.KeyCount != len(page) {
			t.Fatalf("page of %d, KeyCount %d, max %d", len(page), r.KeyCount, max)
		}
		all = append(all, page...)
		switch {
		case !r.IsTruncated:
			return all
		case v2:
			q.Set("continuation-token", r.NextContinuationToken)
		case r.NextMarker != "":
			q.Set("marker", decodeURL(t, r.NextMarker))
		default:
			q.Set("marker", page[len(page)-1])
		}
	}
}

func decodeURL(t *testing.T, s string) string {
	t.Helper()
	d, err := url.QueryUnescape(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestListingParameters(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	cat.put("bucket", "a", "b c", "d/e", "d/f", "\x01key")
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"?list-type=2", 200, "<Key>b c</Key>"},
		{"?list-type=2", 200, "<Key>&#x1;key</Key>"},
		{"?list-type=2&encoding-type=url", 200, "<Key>b+c</Key>"},
		{"?list-type=2&encoding-type=url", 200, "<Key>%01key</Key>"},
		{"?list-type=2&encoding-type=xyz", 400, "InvalidArgument"},
		{"?list-type=1", 400, "InvalidArgument"},
		{"?list-type=2&max-keys=0", 200, "<KeyCount>0</KeyCount><MaxKeys>0</MaxKeys><IsTruncated>false"},
		{"?list-type=2&max-keys=5000", 200, "<MaxKeys>1000</MaxKeys>"},
		{"?list-type=2&max-keys=-1", 400, "InvalidArgument"},
		{"?list-type=2&max-keys=x", 400, "InvalidArgument"},
		{"?list-type=2&start-after=b+c", 200, "<StartAfter>b c</StartAfter><KeyCount>2<"},
		{"?list-type=2&start-after=d/e&delimiter=/", 200, "<Prefix>d/</Prefix></CommonPrefixes>"},
		{"?list-type=2&continuation-token=", 400, "InvalidArgument"},
		{"?list-type=2&continuation-token=AQA", 400, "InvalidArgument"},
		{"?list-type=2&fetch-owner=true", 200, "<Owner><ID>root</ID>"},
		{"?list-type=2&fetch-owner=maybe", 400, "InvalidArgument"},
		{"?list-type=2&marker=a", 501, "NotImplemented"},
		{"?marker=d/e&delimiter=/", 200, "<IsTruncated>false</IsTruncated></ListBucketResult>"},
		{"?delimiter=/&max-keys=3", 200, "<NextMarker>b c</NextMarker>"},
		{"?max-keys=3", 200, "<IsTruncated>true</IsTruncated>"},
		{"?prefix=%ff", 400, "InvalidURI"},
		{"?versions&version-id-marker=x", 400, "InvalidArgument"},
		{"?x-id=ListObjectsV2&list-type=2", 200, "KeyCount"},
		{"?x-id=DeleteBucket", 400, "InvalidArgument"},
	} {
		if a := send(t, ts, "GET", "/bucket"+c.path, "", nil); a.status != c.status || !strings.Contains(a.body, c.want) {
			t.Errorf("%s: %d %s, want %d %s", c.path, a.status, a.body, c.status, c.want)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	token := encodeToken(7, "a\x00é/", true)
	if after, whole, ok := decodeToken(7, token); !ok || after != "a\x00é/" || !whole {
		t.Errorf("token reads as %q %v %v", after, whole, ok)
	}
	if _, _, ok := decodeToken(8, token); ok {
		t.Error("the token of another bucket is taken")
	}
	for i := range token {
		b := []byte(token)
		b[i] ^= 1
		if _, _, ok := decodeToken(7, string(b)); ok && i < len(token)-4 {
			t.Errorf("a token with a flipped bit at %d is taken", i)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(encodeToken(1, "key", false))
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		after, whole, ok := decodeToken(1, token)
		if !ok {
			return
		}
		if a, w, ok := decodeToken(1, encodeToken(1, after, whole)); !ok || a != after || w != whole {
			t.Fatalf("%q: %q %v reads back as %q %v", token, after, whole, a, w)
		}
	})
}

func TestEncodeKey(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"test_file(3).png": "test_file%283%29.png", "a b": "a+b", "a+b": "a%2Bb", "a/b*c~": "a/b*c%7E",
		"é": "%C3%A9", "100%": "100%25", "\n": "%0A"} {
		if got := encodeKey(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	var m dayMemo
	for _, ms := range []int64{0, 1, 999, 1700000000123, 86399999, 86400000, 253402300799999, -1} {
		if got := string(m.append(nil, ms)); got != xmlTime(ms) {
			t.Errorf("%d: %s, want %s", ms, got, xmlTime(ms))
		}
	}
}

// BenchmarkListingPage renders a page of 1,000 keys.
func BenchmarkListingPage(b *testing.B) {
	page := &tracker.ObjectPage{Truncated: true, Next: "x"}
	for i := range 1000 {
		page.Entries = append(page.Entries, tracker.Entry{Key: fmt.Sprintf("abcdefgh/%08d.rnd", i), Size: 1024,
			ETag: "d41d8cd98f00b204e9800998ecf8427e", Modified: 1700000000123 + int64(i), Algorithm: checksum.CRC64NVME})
	}
	l := listing{max: 1000}
	buf := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		buf = l.appendRest(buf[:0], page, "")
	}
	b.SetBytes(int64(len(buf)))
}
