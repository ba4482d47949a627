package sigv4

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/auth"
	"holdfast/internal/clock"
)

// signedGet returns a signed GET with whatever edit does after signing.
func signedGet(t *testing.T, target string, edit func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://localhost:9000"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	Sign(r, exampleKey, exampleSecret, "us-east-1", emptySHA256, exampleTime)
	if edit != nil {
		edit(r)
	}
	return r
}

func presignedGet(t *testing.T, target string, edit func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://localhost:9000"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL = Presign(r, exampleKey, exampleSecret, "us-east-1", time.Hour, exampleTime)
	if edit != nil {
		edit(r)
	}
	return r
}

func replaceAuth(old, new string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
	}
}

func replaceQuery(old, new string) func(*http.Request) {
	return func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, old, new, 1) }
}

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestHeaderErrors(t *testing.T) {
	t.Parallel()
	v := exampleVerifier(t)
	for name, tc := range map[string]struct {
		edit func(*http.Request)
		want error
	}{
		"good":               {nil, nil},
		"no space":           {func(r *http.Request) { replaceAuth(", Signed", ",Signed")(r); replaceAuth(", Sign", ",Sign")(r) }, nil},
		"no credentials":     {func(r *http.Request) { r.Header = http.Header{} }, nil},
		"empty header":       {func(r *http.Request) { r.Header = http.Header{"Authorization": {""}} }, nil},
		"version 2":          {set("Authorization", "AWS AK:c2ln"), auth.ErrUnsupportedSignature},
		"version 4A":         {replaceAuth(Algorithm, "AWS4-ECDSA-P256-SHA256"), auth.ErrUnsupportedSignature},
		"bearer":             {set("Authorization", "Bearer x"), auth.ErrUnsupportedSignature},
		"only mechanism":     {set("Authorization", Algorithm), auth.ErrHeaderMalformed},
		"no signature":       {replaceAuth("Signature=", "Sig="), auth.ErrHeaderMalformed},
		"given twice":        {replaceAuth("SignedHeaders=", "Signature=x, SignedHeaders="), auth.ErrHeaderMalformed},
		"two headers":        {func(r *http.Request) { r.Header.Add("Authorization", "x") }, auth.ErrMultipleAuth},
		"header and query":   {func(r *http.Request) { r.URL.RawQuery = "X-Amz-Signature=x" }, auth.ErrMultipleAuth},
		"header and v2":      {func(r *http.Request) { r.URL.RawQuery = "AWSAccessKeyId=x&Signature=y" }, auth.ErrMultipleAuth},
		"service":            {replaceAuth("/s3/", "/sts/"), auth.ErrHeaderMalformed},
		"terminator":         {replaceAuth("aws4_request", "aws4"), auth.ErrHeaderMalformed},
		"credential date":    {replaceAuth("20130524", "20130525"), auth.ErrHeaderMalformed},
		"credential garbage": {replaceAuth("20130524", "x"), auth.ErrHeaderMalformed},
		"access key":         {replaceAuth(exampleKey, "AKIAOTHER"), auth.ErrUnknownAccessKey},
		"region":             {replaceAuth("us-east-1", "us-east-2"), auth.ErrSignatureMismatch},
		"signature":          {replaceAuth("Signature=", "Signature=0"), auth.ErrSignatureMismatch},
		"host not signed":    {replaceAuth("host;", ""), auth.ErrHeadersNotSigned},
		"unsorted":           {replaceAuth("SignedHeaders=host", "SignedHeaders=x;host"), auth.ErrHeaderMalformed},
		"upper case":         {replaceAuth("SignedHeaders=host", "SignedHeaders=Accept;host"), auth.ErrHeaderMalformed},
		"unsigned amz":       {set("X-Amz-Copy-Source", "/a/b"), auth.ErrHeadersNotSigned},
		"cloudfront":         {set("X-Amz-Cf-Id", "x"), nil},
		"trace id":           {set("X-Amzn-Trace-Id", "x"), nil},
		"date unsigned":      {replaceAuth(";x-amz-date", ""), auth.ErrHeadersNotSigned},
		"token":              {set("X-Amz-Security-Token", "x"), auth.ErrInvalidToken},
		"no sha256":          {func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }, auth.ErrMissingContentSHA256},
		"bad sha256":         {set("X-Amz-Content-Sha256", "x"), auth.ErrBadContentSHA256},
		"other sha256":       {set("X-Amz-Content-Sha256", strings.Repeat("0", 64)), auth.ErrSignatureMismatch},
		"streaming no len":   {set("X-Amz-Content-Sha256", StreamingPayload), auth.ErrMissingLength},
		"streaming 4A":       {set("X-Amz-Content-Sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), auth.ErrUnsupportedSignature},
		"missing header":     {replaceAuth("SignedHeaders=host", "SignedHeaders=accept;host"), auth.ErrSignatureMismatch},
		"no date":            {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, auth.ErrMissingDate},
		"bad date":           {set("X-Amz-Date", "yesterday"), auth.ErrMissingDate},
		"bad calendar":       {set("X-Amz-Date", "20139924T000000Z"), auth.ErrMissingDate},
		"path":               {func(r *http.Request) { r.URL.Path = "/b/other" }, auth.ErrSignatureMismatch},
		"query":              {func(r *http.Request) { r.URL.RawQuery = "acl" }, auth.ErrSignatureMismatch},
		"query escape":       {func(r *http.Request) { r.URL.RawQuery = "a=%zz" }, auth.ErrInvalidURI},
		"method":             {func(r *http.Request) { r.Method = "DELETE" }, auth.ErrSignatureMismatch},
		"host":               {func(r *http.Request) { r.Host = "evil" }, auth.ErrSignatureMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := v.Verify(signedGet(t, "/b/k", tc.edit)); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestPresignedErrors(t *testing.T) {
	t.Parallel()
	v := exampleVerifier(t)
	for name, tc := range map[string]struct {
		edit func(*http.Request)
		want error
	}{
		"good":          {nil, nil},
		"letter case":   {replaceQuery("X-Amz-Expires", "x-amz-expires"), auth.ErrSignatureMismatch}, // the name is signed as sent
		"twice":         {func(r *http.Request) { r.URL.RawQuery += "&x-amz-date=20130524T000000Z" }, auth.ErrQueryMalformed},
		"missing":       {replaceQuery("X-Amz-SignedHeaders=host&", ""), auth.ErrQueryMalformed},
		"algorithm":     {replaceQuery(Algorithm, "AWS4-ECDSA-P256-SHA256"), auth.ErrUnsupportedSignature},
		"version 2":     {func(r *http.Request) { r.URL.RawQuery = "AWSAccessKeyId=a&Expires=1&Signature=s" }, auth.ErrUnknownAccessKey},
		"version 2 too": {func(r *http.Request) { r.URL.RawQuery += "&AWSAccessKeyId=a&Expires=1&Signature=s" }, auth.ErrMultipleAuth},
		"expires zero":  {replaceQuery("Expires=3600", "Expires=0"), auth.ErrBadExpiry},
		"expires long":  {replaceQuery("Expires=3600", "Expires=604801"), auth.ErrBadExpiry},
		"expires minus": {replaceQuery("Expires=3600", "Expires=-7"), auth.ErrBadExpiry},
		"expires text":  {replaceQuery("Expires=3600", "Expires=1h"), auth.ErrBadExpiry},
		"expires huge":  {replaceQuery("Expires=3600", "Expires=99999999999999999999"), auth.ErrBadExpiry},
		"date":          {replaceQuery("X-Amz-Date=20130524", "X-Amz-Date=20130525"), auth.ErrQueryMalformed},
		"service":       {replaceQuery("%2Fs3%2F", "%2Fec2%2F"), auth.ErrQueryMalformed},
		"signature":     {func(r *http.Request) { r.URL.RawQuery += "0" }, auth.ErrSignatureMismatch},
		"added query":   {func(r *http.Request) { r.URL.RawQuery += "&acl" }, auth.ErrSignatureMismatch},
		"token":         {func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Security-Token=t" }, auth.ErrInvalidToken},
		"unsigned amz":  {set("X-Amz-Meta-A", "b"), auth.ErrHeadersNotSigned},
		"sha256 header": {set("X-Amz-Content-Sha256", emptySHA256), nil},
		"header too":    {set("Authorization", Algorithm+" Credential=x"), auth.ErrMultipleAuth},
		"basic too":     {set("Authorization", "Basic x"), auth.ErrMultipleAuth},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := v.Verify(presignedGet(t, "/b/k?x=1", tc.edit)); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	keys, _ := auth.NewStatic(exampleKey, exampleSecret)
	for name, tc := range map[string]struct {
		after             time.Duration
		header, presigned error
	}{
		"now":         {0, nil, nil},
		"late":        {15 * time.Minute, nil, nil},
		"too late":    {15*time.Minute + time.Second, auth.ErrTimeSkewed, nil},
		"early":       {-15 * time.Minute, nil, nil},
		"too early":   {-15*time.Minute - time.Second, auth.ErrTimeSkewed, auth.ErrNotYetValid},
		"expired":     {time.Hour + time.Second, auth.ErrTimeSkewed, auth.ErrExpired},
		"last second": {time.Hour, auth.ErrTimeSkewed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := New(Config{Keys: keys, Clock: clock.NewManual(exampleTime.Add(tc.after))})
			_, err := v.Verify(signedGet(t, "/b/k", nil))
			if !errors.Is(err, tc.header) {
				t.Errorf("header: %v", err)
			}
			var skew *auth.SkewError
			if errors.As(err, &skew) && (!skew.RequestTime.Equal(exampleTime) || !skew.ServerTime.Equal(exampleTime.Add(tc.after))) {
				t.Errorf("%+v", skew)
			}
			if _, err = v.Verify(presignedGet(t, "/b/k", nil)); !errors.Is(err, tc.presigned) {
				t.Errorf("presigned: %v", err)
			}
		})
	}
}

func TestStrictRegion(t *testing.T) {
	t.Parallel()
	keys, _ := auth.NewStatic(exampleKey, exampleSecret)
	v := New(Config{Keys: keys, Clock: clock.NewManual(exampleTime), Region: "eu-west-1"})
	var e *auth.RegionError
	if _, err := v.Verify(signedGet(t, "/", nil)); !errors.As(err, &e) || e.Want != "eu-west-1" || e.Given != "us-east-1" || e.Query {
		t.Fatal(err)
	}
	if _, err := v.Verify(presignedGet(t, "/", nil)); !errors.As(err, &e) || !e.Query {
		t.Fatal(err)
	}
}

// TestDateHeader signs with Date alone, as some old clients do.
func TestDateHeader(t *testing.T) {
	t.Parallel()
	r := signedGet(t, "/b/k", nil)
	r.Header.Del("X-Amz-Date")
	r.Header.Set("Date", "Fri, 24 May 2013 00:00:00 GMT")
	s := NewSigner(exampleKey, exampleSecret, "us-east-1")
	sig, err := s.sign(r, "date;host;x-amz-content-sha256", emptySHA256, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", false)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", Algorithm+" "+exampleScope+", SignedHeaders=date;host;x-amz-content-sha256, Signature="+sig)
	if _, err := exampleVerifier(t).Verify(r); err != nil {
		t.Fatal(err)
	}
}

// TestMovedHeaders covers headers that net/http takes out of the map.
func TestMovedHeaders(t *testing.T) {
	t.Parallel()
	r := signedGet(t, "/b/k", nil)
	r.Header.Set("Content-Length", "5")
	r.Header.Set("Expect", "100-continue")
	list := "content-length;expect;host;x-amz-content-sha256;x-amz-date"
	s := NewSigner(exampleKey, exampleSecret, "us-east-1")
	sig, _ := s.sign(r, list, emptySHA256, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", false)
	r.Header.Set("Authorization", Algorithm+" "+exampleScope+", SignedHeaders="+list+", Signature="+sig)
	r.Header.Del("Content-Length")
	r.Header.Del("Expect")
	r.ContentLength = 5
	res, err := exampleVerifier(t).Verify(r)
	if err != nil || !res.Covers("expect") || res.Covers("range") {
		t.Fatal(err)
	}
}

func TestSignatureErrorDetails(t *testing.T) {
	t.Parallel()
	r := signedGet(t, "/b/k", replaceAuth("Signature=", "Signature=0"))
	_, err := exampleVerifier(t).Verify(r)
	var e *auth.SignatureError
	if !errors.As(err, &e) || e.Host != r.Host || !strings.HasPrefix(e.StringToSign, Algorithm+"\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n") ||
		!strings.HasPrefix(e.CanonicalRequest, "GET\n/b/k\n\nhost:localhost:9000\n") || !strings.HasSuffix(e.CanonicalRequest, emptySHA256) {
		t.Fatalf("%+v", e)
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/b/a%20b":                "/b/a%20b\n\n",
		"/b/a+b":                  "/b/a%2Bb\n\n",
		"/b/a%2fb":                "/b/a/b\n\n",
		"/b/a%252fb":              "/b/a%252fb\n\n",
		"/b//x/../y/./":           "/b//x/../y/./\n\n",
		"//b":                     "//b\n\n",
		"/b/%e2%82%ac~":           "/b/%E2%82%AC~\n\n",
		"/b/%ff%00":               "/b/%FF%00\n\n",
		"/b?acl":                  "/b\nacl=\n",
		"/b?b=2&a=1&b=1&a":        "/b\na=&a=1&b=1&b=2\n",
		"/b?a-b=1&a=2":            "/b\na=2&a-b=1\n",
		"/b?x=a+b%2Bc%2fd&&y=%7e": "/b\nx=a%20b%2Bc%2Fd&y=~\n",
		"/b?k=v=w;z":              "/b\nk=v%3Dw%3Bz\n",
	} {
		r := wire(t, "GET "+target+" HTTP/1.1\nHost: h")
		var s scratch
		if err := s.canonical(r, "host", "HASH", false); err != nil {
			t.Errorf("%s: %v", target, err)
		} else if got := string(s.buf); got != "GET\n"+want+"host:h\n\nhost\nHASH" {
			t.Errorf("%s: %q", target, got)
		}
	}
}

// rotating is a Keys whose secret can be changed.
type rotating struct{ secret string }

func (k *rotating) Secret(context.Context, string) (string, auth.Identity, error) {
	return k.secret, auth.Identity{AccessKey: exampleKey}, nil
}

func TestCacheFollowsRotation(t *testing.T) {
	t.Parallel()
	keys := &rotating{exampleSecret}
	v := New(Config{Keys: keys, Clock: clock.NewManual(exampleTime), CacheKeys: 16})
	for range 2 {
		if _, err := v.Verify(signedGet(t, "/", nil)); err != nil {
			t.Fatal(err)
		}
	}
	keys.secret = "another-secret"
	if _, err := v.Verify(signedGet(t, "/", nil)); !errors.Is(err, auth.ErrSignatureMismatch) {
		t.Fatal(err)
	}
	keys.secret = exampleSecret
	for i := range 500 { // far more regions than the cache holds
		r := signedGet(t, "/", nil)
		Sign(r, exampleKey, exampleSecret, "r"+strings.Repeat("x", i%100), emptySHA256, exampleTime)
		if _, err := v.Verify(r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range v.cache.shards {
		if m := &v.cache.shards[i].mu; len(m.young) > v.cache.limit || len(m.old) > v.cache.limit {
			t.Fatal("cache is not bounded")
		}
	}
}

func TestStripChunked(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "gzip": "gzip", "aws-chunked": "", "aws-chunked,gzip": "gzip", "gzip, AWS-Chunked": "gzip", "a, b": "a, b", "x-aws-chunked, a": "x-aws-chunked, a"} {
		if got := StripChunked(in); got != want || HasChunked(in) != (in != want) {
			t.Errorf("%q: %q, %v", in, got, HasChunked(in))
		}
	}
}

// TestConcurrent shares one verifier and one signer among goroutines.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	v, s := exampleVerifier(t), NewSigner(exampleKey, exampleSecret, "us-east-1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				r := signedGet(t, "/b/k?a=1&b=2", nil)
				s.Sign(r, emptySHA256, exampleTime)
				if _, err := v.Verify(r); err != nil {
					t.Error(err)
				}
				u := newUpload(ChunkedTrailer, []byte("hello"), 2)
				res, err := v.Verify(u.req)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(NewBody(bytes.NewReader(u.wire), res, -1)); err != nil || string(got) != "hello" {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
