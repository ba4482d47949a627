// Package listing compares listings with a model: random keys, every
// combination of prefix, delimiter, page size, start and encoding, both
// versions of the operation; the joined pages must equal the model.
package listing

import (
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/tests/harness"
)

const bucket = "listing"

// oddKeys are keys that have hurt other stores.
var oddKeys = []string{"a", "a/", "a//b", "a/b", "a/../b", "a/./b", "a/b/c", "a/b/c/", "a!b", "a b", "a+b", "a%2fb", "a\\b", "a\tb", "ab", "b\x01c", "über/ключ",
	"\U0001f600/x", "\u00e9", "e\u0301", "z/", "z//", "z///", "~", "-", "--/--", "a/\xf4\x8f\xbf\xbf", "<&>'\"", "]]>", "#?;:@=,$"}

func randomKeys(rng *rand.Rand, n int) []string {
	alphabet := []string{"a", "b", "c", "/", "//", "-", "é", " ", "+", "%", "z", "0"}
	set := map[string]bool{}
	for _, k := range oddKeys {
		set[k] = true
	}
	for len(set) < n {
		var k strings.Builder
		for range 1 + rng.IntN(6) {
			k.WriteString(alphabet[rng.IntN(len(alphabet))])
		}
		if key := k.String(); !strings.HasPrefix(key, "/") {
			set[key] = true
		}
	}
	var keys []string
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// model is the listing as it should be: keys and common prefixes in order.
func model(keys []string, prefix, delimiter, after string) (contents, prefixes []string) {
	for _, k := range keys {
		if !strings.HasPrefix(k, prefix) || k <= after {
			continue
		}
		if delimiter != "" {
			if i := strings.Index(k[len(prefix):], delimiter); i >= 0 {
				p := k[:len(prefix)+i+len(delimiter)]
				if len(prefixes) == 0 || prefixes[len(prefixes)-1] != p {
					prefixes = append(prefixes, p)
				}
				continue
			}
		}
		contents = append(contents, k)
	}
	return contents, prefixes
}

type page struct {
	IsTruncated           bool
	NextContinuationToken string
	NextMarker            string
	KeyCount              int
	Contents              []struct{ Key string }
	CommonPrefixes        []struct{ Prefix string }
}

type question struct {
	prefix, delimiter, after string
	max                      int
	encoded, v1              bool
}

func (q question) String() string {
	return fmt.Sprintf("prefix=%q delimiter=%q after=%q max=%d url=%v v1=%v", q.prefix, q.delimiter, q.after, q.max, q.encoded, q.v1)
}

// ask joins the pages of a listing.
func ask(r *harness.Raw, q question) (contents, prefixes []string, err error) {
	base := []string{"max-keys", fmt.Sprint(q.max)}
	if q.prefix != "" {
		base = append(base, "prefix", q.prefix)
	}
	if q.delimiter != "" {
		base = append(base, "delimiter", q.delimiter)
	}
	if q.encoded {
		base = append(base, "encoding-type", "url")
	}
	cursor := []string{"marker", q.after}
	if !q.v1 {
		base = append(base, "list-type", "2")
		cursor[0] = "start-after"
	}
	if q.after == "" {
		cursor = nil
	}
	for range 10_000 {
		a, err := r.Do("GET", "/"+bucket, harness.Query(append(slices.Clone(base), cursor...)...), nil)
		if err != nil {
			return nil, nil, err
		}
		var p page
		if a.Status != 200 {
			return nil, nil, fmt.Errorf("status %d: %s", a.Status, a.Body)
		}
		if err := xml.Unmarshal(a.Body, &p); err != nil {
			return nil, nil, err
		}
		if n := len(p.Contents) + len(p.CommonPrefixes); n > min(q.max, 1000) || !q.v1 && n != p.KeyCount {
			return nil, nil, fmt.Errorf("a page of %d, KeyCount %d", n, p.KeyCount)
		}
		for _, c := range p.Contents {
			contents = append(contents, q.decode(c.Key))
		}
		for _, c := range p.CommonPrefixes {
			prefixes = append(prefixes, q.decode(c.Prefix))
		}
		switch {
		case !p.IsTruncated:
			return contents, prefixes, nil
		case !q.v1:
			cursor = []string{"continuation-token", p.NextContinuationToken}
		case p.NextMarker != "":
			cursor = []string{"marker", q.decode(p.NextMarker)}
		case len(p.Contents) > 0:
			cursor = []string{"marker", q.decode(p.Contents[len(p.Contents)-1].Key)}
		default:
			return nil, nil, fmt.Errorf("truncated without a way to go on")
		}
	}
	return nil, nil, fmt.Errorf("the pages do not end")
}

func (q question) decode(s string) string {
	if !q.encoded {
		return s
	}
	d, err := url.QueryUnescape(s)
	if err != nil {
		return "undecodable " + s
	}
	return d
}

// carried tells whether XML 1.0 can carry a key as it is.
func carried(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff
	})
}

func TestListingEqualsModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	s := harness.Start(t, harness.Options{})
	r := s.Raw()
	r.Must(t, 200, "PUT", "/"+bucket, "", nil)
	keys := randomKeys(rng, 1300)
	put(t, r, keys)
	for range len(keys) / 10 { // holes
		i := rng.IntN(len(keys))
		r.Must(t, 204, "DELETE", harness.Path(bucket, keys[i]), "", nil)
		keys = slices.Delete(keys, i, i+1)
	}
	var questions []question
	for _, prefix := range []string{"", "a", "a/", "a//", "z", "é", "nothing"} {
		for _, delimiter := range []string{"", "/", "//", "b", "é"} {
			for _, after := range []string{"", "a/", "a/b", "a//", keys[rng.IntN(len(keys))], "zzzz"} {
				for _, max := range []int{1, 2, 999, 1000, 1001, 5000} {
					if max < 3 && rng.IntN(12) > 0 {
						continue // many small pages of everything take minutes
					}
					questions = append(questions, question{prefix, delimiter, after, max, rng.IntN(2) == 0, rng.IntN(2) == 0})
				}
			}
		}
	}
	check(t, r, keys, questions)
	for _, v1 := range []bool{true, false} {
		if c, p, err := ask(r, question{max: 0, v1: v1}); err != nil || len(c)+len(p) > 0 {
			t.Errorf("max-keys=0: %d keys, %d prefixes, %v", len(c), len(p), err)
		}
	}
	if a, err := r.Do("GET", "/"+bucket, harness.Query("list-type", "2", "continuation-token", "garbage"), nil); err != nil || a.Status != 400 || !strings.Contains(string(a.Body), "InvalidArgument") {
		t.Errorf("a bad token: %v, %v", a, err)
	}
}

func put(t *testing.T, r *harness.Raw, keys []string) {
	t.Helper()
	work := make(chan string)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for k := range work {
				if a, err := r.Do("PUT", harness.Path(bucket, k), "", []byte(k)); err != nil || a.Status != 200 {
					t.Errorf("PUT %q: %v, %v", k, a, err)
				}
			}
		})
	}
	for _, k := range keys {
		work <- k
	}
	close(work)
	wg.Wait()
}

func check(t *testing.T, r *harness.Raw, keys []string, questions []question) {
	t.Helper()
	for _, q := range questions {
		wantC, wantP := model(keys, q.prefix, q.delimiter, q.after)
		if !q.encoded && (!carried(q.after) || slices.ContainsFunc(wantC, func(k string) bool { return !carried(k) }) || slices.ContainsFunc(wantP, func(k string) bool { return !carried(k) })) {
			q.encoded = true
		}
		c, p, err := ask(r, q)
		if err != nil {
			t.Fatalf("%v: %v", q, err)
		}
		// A marker within a common prefix has that prefix behind it in version
		// 1: the page before ended with it.
		if q.v1 && q.delimiter != "" && len(wantP) > 0 && strings.HasPrefix(q.after, wantP[0]) {
			wantP = wantP[1:]
		}
		if !slices.Equal(c, wantC) || !slices.Equal(p, wantP) {
			t.Fatalf("%v:\n got %d keys %d prefixes\nwant %d keys %d prefixes\nfirst difference: %s", q, len(c), len(p), len(wantC), len(wantP), difference(c, wantC, p, wantP))
		}
	}
	t.Logf("%d listings of %d keys equal the model", len(questions), len(keys))
}

func difference(c, wantC, p, wantP []string) string {
	for _, pair := range [][2][]string{{c, wantC}, {p, wantP}} {
		for i := range max(len(pair[0]), len(pair[1])) {
			if i >= len(pair[0]) || i >= len(pair[1]) || pair[0][i] != pair[1][i] {
				at := func(s []string) string {
					if i < len(s) {
						return fmt.Sprintf("%q", s[i])
					}
					return "nothing"
				}
				return at(pair[0]) + " for " + at(pair[1])
			}
		}
	}
	return "none"
}
