package sigv4

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var hardKeys = []string{"", "a", "a b", "a+b", "a%2fb", "a//b", "/", "//", "../x", "./.", "ünï/cödé", "日本/語", "a;b", "a=b&c", "~!@#$^&*()_-", "%", "%25",
	"a\nb", "tab\tx", "q?x", "back\\slash", "'\"<>", "\x01", "🙂"}

// randomRequest makes a request that a server would see as the SDK sends it.
func randomRequest(rng *rand.Rand) *http.Request {
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	path := "/bucket/"
	for range rng.IntN(4) {
		path += pick(hardKeys)
	}
	u := &url.URL{Scheme: "http", Host: pick([]string{"localhost:9000", "s3.example.com", "b.s3.example.com:8080", "[::1]:9000"}), Path: path}
	// The SDK escapes with its own rules; give it the strictest form.
	u.RawPath = string(appendPath(nil, path))
	q := url.Values{}
	for i := range rng.IntN(5) {
		q.Set(fmt.Sprintf("p%d%s", i, pick([]string{"", "-x", "é"})), pick(hardKeys))
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	r := &http.Request{Method: pick([]string{"GET", "PUT", "POST", "DELETE", "HEAD"}), URL: u, Header: http.Header{}, ContentLength: -1}
	r.Host = u.Host
	for i := range rng.IntN(5) {
		name := pick([]string{"X-Amz-Meta-", "X-Amz-Acl-", "X-Other-"}) + fmt.Sprint(i)
		for range 1 + rng.IntN(2) {
			r.Header.Add(name, pick([]string{"v", "a  b   c", " lead", "trail ", "é", "", "x,y"}))
		}
	}
	return r
}

// TestAgainstSDK signs random requests with the AWS SDK and verifies them, and
// the same the other way round.
func TestAgainstSDK(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	v := exampleVerifier(t)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	creds := aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}
	hashes := []string{UnsignedPayload, emptySHA256, StreamingUnsignedTrailer}
	for i := range 2000 {
		region := []string{"us-east-1", "eu-central-1", "x"}[i%3]
		r := randomRequest(rng)
		hash := hashes[rng.IntN(len(hashes))]
		if hash == StreamingUnsignedTrailer {
			r.Header.Set("X-Amz-Decoded-Content-Length", "12")
		}
		if i%2 == 0 {
			r.Header.Set("X-Amz-Content-Sha256", hash)
			if err := signer.SignHTTP(context.Background(), creds, r, hash, "s3", region, exampleTime); err != nil {
				t.Fatal(err)
			}
		} else {
			r.Header.Del("X-Amz-Decoded-Content-Length")
			q := r.URL.Query()
			q.Set("X-Amz-Expires", "60")
			r.URL.RawQuery = q.Encode()
			signed, header, err := signer.PresignHTTP(context.Background(), creds, r, UnsignedPayload, "s3", region, exampleTime)
			if err != nil {
				t.Fatal(err)
			}
			if r.URL, err = url.Parse(signed); err != nil {
				t.Fatal(err)
			}
			r.Header = header
		}
		if _, err := v.Verify(reparse(t, r)); err != nil {
			t.Fatalf("request %d (%s): %v", i, r.URL, err)
		}
	}
}

// reparse sends r over the wire in memory, so that Verify sees what a server
// would.
func reparse(t *testing.T, r *http.Request) *http.Request {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\nHost: %s", r.Method, r.URL.RequestURI(), r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			if name != "Host" {
				fmt.Fprintf(&b, "\n%s: %s", name, v)
			}
		}
	}
	return wire(t, b.String())
}

// TestOwnSigner verifies what Sign and Presign make of hard paths and queries.
func TestOwnSigner(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	v := exampleVerifier(t)
	for i := range 1000 {
		r := randomRequest(rng)
		if i%2 == 0 {
			Sign(r, exampleKey, exampleSecret, "us-east-1", "", exampleTime)
		} else {
			r.URL = Presign(r, exampleKey, exampleSecret, "us-east-1", time.Minute, exampleTime)
		}
		if _, err := v.Verify(reparse(t, r)); err != nil {
			t.Fatalf("request %d (%s): %v", i, r.URL, err)
		}
	}
}
