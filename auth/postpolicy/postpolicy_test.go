package postpolicy

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/internal/fault"
)

// The example of the S3 API Reference, page sigv4-post-example, with the
// signature published there.
const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	examplePolicy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9"
	exampleSig    = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
)

var exampleNow = time.Date(2015, 12, 29, 12, 0, 0, 0, time.UTC)

func exampleFields() map[string]string {
	return map[string]string{
		"bucket": "sigv4examplebucket", "key": "user/user1/photo.jpg", "acl": "public-read",
		"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
		"content-type":            "image/jpeg", "x-amz-meta-uuid": "14365123651274", "x-amz-server-side-encryption": "AES256",
		"x-amz-meta-tag":   "",
		"x-amz-credential": exampleKey + "/20151229/us-east-1/s3/aws4_request",
		"x-amz-algorithm":  "AWS4-HMAC-SHA256", "x-amz-date": "20151229T000000Z",
		"policy": examplePolicy, "x-amz-signature": exampleSig,
	}
}

func exampleVerifier(tb testing.TB) *sigv4.Verifier {
	keys, err := auth.NewStatic(exampleKey, exampleSecret)
	if err != nil {
		tb.Fatal(err)
	}
	return sigv4.New(sigv4.Config{Keys: keys})
}

func TestPublishedExample(t *testing.T) {
	t.Parallel()
	fields := exampleFields()
	id, err := VerifySignature(context.Background(), exampleVerifier(t), fields)
	if err != nil || id.AccessKey != exampleKey || !id.Root {
		t.Fatal(err)
	}
	p, err := Parse([]byte(examplePolicy))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(exampleNow, fields); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := p.LengthRange(); ok {
		t.Fatal("a range from nowhere")
	}
}

func TestVerifySignatureErrors(t *testing.T) {
	t.Parallel()
	v := exampleVerifier(t)
	for name, tc := range map[string]struct {
		field, value string
		want         error
	}{
		"policy":     {"policy", examplePolicy + "=", auth.ErrSignatureMismatch},
		"signature":  {"x-amz-signature", strings.Repeat("0", 64), auth.ErrSignatureMismatch},
		"short":      {"x-amz-signature", "0", auth.ErrSignatureMismatch},
		"region":     {"x-amz-credential", exampleKey + "/20151229/us-west-1/s3/aws4_request", auth.ErrSignatureMismatch},
		"service":    {"x-amz-credential", exampleKey + "/20151229/us-east-1/ec2/aws4_request", auth.ErrPostMalformed},
		"access key": {"x-amz-credential", "OTHER/20151229/us-east-1/s3/aws4_request", auth.ErrUnknownAccessKey},
		"credential": {"x-amz-credential", "x", auth.ErrPostMalformed},
		"date":       {"x-amz-date", "20151230T000000Z", auth.ErrPostMalformed},
		"date text":  {"x-amz-date", "today", auth.ErrPostMalformed},
		"algorithm":  {"x-amz-algorithm", "AWS4-ECDSA-P256-SHA256", auth.ErrUnsupportedSignature},
		"token":      {"x-amz-security-token", "x", auth.ErrInvalidToken},
		"no policy":  {"policy", "", auth.ErrPostMissingField},
		"no date":    {"x-amz-date", "", auth.ErrPostMissingField},
	} {
		fields := exampleFields()
		fields[tc.field] = tc.value
		if _, err := VerifySignature(context.Background(), v, fields); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v2 := map[string]string{"awsaccesskeyid": "x", "signature": "y", "policy": examplePolicy}
	if _, err := VerifySignature(context.Background(), v, v2); !errors.Is(err, auth.ErrUnsupportedSignature) {
		t.Error(err)
	}
	if !Signed(v2) || !Signed(exampleFields()) || Signed(map[string]string{"key": "k", "bucket": "b"}) {
		t.Error("signed")
	}
	s := sigv4.NewSigner(exampleKey, exampleSecret, "us-east-1")
	if got := s.SignPost(examplePolicy, "20151229"); got != exampleSig {
		t.Error(got)
	}
}

func encode(doc string) []byte { return []byte(base64.StdEncoding.EncodeToString([]byte(doc))) }

func TestParse(t *testing.T) {
	t.Parallel()
	const exp = `"expiration":"2030-01-01T00:00:00Z",`
	for doc, good := range map[string]bool{
		`{` + exp + `"conditions":[]}`: true,
		`{` + exp + `"conditions":[{"a":"b"},["EQ","$c","d"],["starts-WITH","$e",""]]}`: true,
		`{` + exp + `"conditions":[["content-length-range",1,"10"]]}`:                   true,
		`{` + exp + `"conditions":[["starts-with","$key","\$foo\\$"]]}`:                 true,
		`{"expiration":"2030-01-01T00:00:00.123Z","conditions":[]}`:                     true,
		`{"expiration":"2030-01-01T00:00:00+02:00","conditions":[]}`:                    true,
		`{"conditions":[]}`:                                          false,
		`{` + exp + `"x":[]}`:                                        false,
		`{"expiration":"2030-01-01T00:00:00Z"}`:                      false,
		`{"expiration":"2030-01-01","conditions":[]}`:                false,
		`{"expiration":5,"conditions":[]}`:                           false,
		`{"EXPIRATION":"2030-01-01T00:00:00Z","conditions":[]}`:      false,
		`{` + exp + `"CONDITIONS":[]}`:                               false,
		`{` + exp + `"conditions":{}}`:                               false,
		`{` + exp + `"conditions":null}`:                             false,
		`{` + exp + `"conditions":[{}]}`:                             false,
		`{` + exp + `"conditions":[{"a":"b","c":"d"}]}`:              false,
		`{` + exp + `"conditions":[{"a":5}]}`:                        false,
		`{` + exp + `"conditions":[{"a":null}]}`:                     false,
		`{` + exp + `"conditions":["a"]}`:                            false,
		`{` + exp + `"conditions":[["eq","$a"]]}`:                    false,
		`{` + exp + `"conditions":[["eq","a","b"]]}`:                 false,
		`{` + exp + `"conditions":[["eq","$","b"]]}`:                 false,
		`{` + exp + `"conditions":[["eq","$a",null]]}`:               false,
		`{` + exp + `"conditions":[["ends-with","$a","b"]]}`:         false,
		`{` + exp + `"conditions":[[5,"$a","b"]]}`:                   false,
		`{` + exp + `"conditions":[["content-length-range",0]]}`:     false,
		`{` + exp + `"conditions":[["content-length-range",-1,0]]}`:  false,
		`{` + exp + `"conditions":[["content-length-range",2,1]]}`:   false,
		`{` + exp + `"conditions":[["content-length-range","a",1]]}`: false,
		`{` + exp + `"conditions":[]} x`:                             false,
		`null`:                                                       false,
		`[]`:                                                         false,
		``:                                                           false,
	} {
		_, err := Parse(encode(doc))
		if (err == nil) != good || err != nil && !errors.Is(err, auth.ErrPolicyMalformed) {
			t.Errorf("%s: %v", doc, err)
		}
	}
	for _, raw := range []string{"!!!", strings.Repeat("A", MaxPolicy+4)} {
		if _, err := Parse([]byte(raw)); !errors.Is(err, auth.ErrPolicyMalformed) {
			t.Error(err)
		}
	}
	many := `{` + exp + `"conditions":[` + strings.Repeat(`{"a":"b"},`, MaxConditions) + `{"a":"b"}]}`
	if _, err := Parse(encode(many)); !errors.Is(err, auth.ErrPolicyMalformed) {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p, err := Parse(encode(`{"expiration":"2030-01-01T00:00:00Z","conditions":[
		{"bUcKeT":"b"}, ["StArTs-WiTh","$KeY","\$f/"], ["eq","$success_action_status","201"], ["starts-with","$x-amz-meta-m",""],
		["starts-with","$Content-Type","image/"], ["content-length-range",5,100], ["content-length-range","10","200"],
		["starts-with","$key","$f"]]}`))
	if err != nil {
		t.Fatal(err)
	}
	if lo, hi, ok := p.LengthRange(); lo != 10 || hi != 100 || !ok {
		t.Fatal(lo, hi, ok)
	}
	good := map[string]string{"bucket": "b", "key": "$f/x", "success_action_status": "201", "content-type": "image/png, image/gif",
		"x-amz-meta-m": "v", "x-ignore-me": "1", "file": "f", "policy": "p", "x-amz-signature": "s"}
	now := time.Date(2029, 12, 31, 23, 59, 59, 0, time.UTC)
	if err := p.Check(now, good); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(now.Add(time.Second), good); !errors.Is(err, auth.ErrPolicyExpired) {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ field, value, reason string }{
		"bucket":         {"bucket", "c", `["eq", "$bucket", "b"]`},
		"key":            {"key", "f/x", `["starts-with", "$key", "$f/"]`},
		"status":         {"success_action_status", "200", "Policy Condition failed"},
		"type list":      {"content-type", "image/png, text/html", "Policy Condition failed"},
		"extra":          {"x-amz-meta-n", "v", "Extra input fields: x-amz-meta-n"},
		"acl not named":  {"acl", "public-read", "Extra input fields: acl"},
		"missing status": {"success_action_status", "", "Policy Condition failed"},
	} {
		fields := maps.Clone(good)
		fields[tc.field] = tc.value
		var e *auth.PolicyError
		if err := p.Check(now, fields); !errors.As(err, &e) || !strings.Contains(e.Reason, tc.reason) || !errors.Is(err, auth.ErrPolicyDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	delete(good, "x-amz-meta-m")
	if err := p.Check(now, good); err != nil {
		t.Error(err) // an absent field is an empty one
	}
}

func TestExpandFilename(t *testing.T) {
	t.Parallel()
	for _, tc := range [][3]string{
		{"u/${filename}", "a.jpg", "u/a.jpg"}, {"u/k", "a.jpg", "u/k"}, {"${filename}-${filename}", "a", "a-a"},
		{"${filename}", `C:\x\b.gif`, "b.gif"}, {"${filename}", "../../etc/passwd", "passwd"}, {"${filename}", "${filename}", "${filename}"},
	} {
		if got := ExpandFilename(tc[0], tc[1]); got != tc[2] {
			t.Errorf("%v: %q", tc, got)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	raw, _ := base64.StdEncoding.DecodeString(examplePolicy)
	f.Add(raw, "key", "user/user1/x")
	f.Add([]byte(`{"expiration":"2030-01-01T00:00:00Z","conditions":[["content-length-range",1,2],["eq","$k","\$\\"]]}`), "k", "$")
	f.Fuzz(func(t *testing.T, doc []byte, field, value string) {
		p, err := Parse(encode(string(doc)))
		if err != nil {
			if !errors.Is(err, auth.ErrPolicyMalformed) {
				t.Fatal(err)
			}
			return
		}
		if lo, _, ok := p.LengthRange(); ok && lo < 0 {
			t.Fatal("negative length")
		}
		err = p.Check(p.Expiration().Add(-1), map[string]string{field: value, "never-named-field": "x"})
		if err == nil && !strings.Contains(strings.ToLower(string(doc)), "never-named-field") && !strings.Contains(string(doc), `\u`) {
			t.Fatal("an unnamed field passed")
		}
		if k := fault.KindOf(err); err != nil && k != fault.Denied {
			t.Fatal(err)
		}
	})
}
