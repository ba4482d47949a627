package route

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// errSeen ends a call of the SDK once its request was recorded.
var errSeen = errors.New("request recorded")

// recorder is an HTTP client that keeps the last request.
type recorder struct{ last *http.Request }

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	r.last = req
	return nil, errSeen
}

// fill sets every field of an SDK input that can be set, recursively; with
// only set just those that name the resource.
func fill(v reflect.Value, depth int, full bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if depth > 20 {
			return
		}
		p := reflect.New(v.Type().Elem())
		fill(p.Elem(), depth+1, full)
		v.Set(p)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1e9, 0)))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), depth+1, full)
			}
		}
	case reflect.String:
		v.SetString("value")
		if v.Type().Name() == "ChecksumAlgorithm" {
			v.SetString("CRC32")
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(k, depth+1, full)
		fill(e, depth+1, full)
		m.SetMapIndex(k, e)
		v.Set(m)
	case reflect.Slice:
		if depth > 20 {
			return
		}
		s := reflect.MakeSlice(v.Type(), 1, 1)
		if v.Type().Elem().Kind() != reflect.Uint8 {
			fill(s.Index(0), depth+1, full)
		}
		v.Set(s)
	case reflect.Interface:
		if v.Type() == reflect.TypeFor[types.ObjectEncryption]() {
			v.Set(reflect.ValueOf(&types.ObjectEncryptionMemberSSEKMS{Value: types.SSEKMSEncryption{KMSKeyArn: aws.String("arn")}}))
		}
		if v.Type() == reflect.TypeFor[io.Reader]() {
			v.Set(reflect.ValueOf(strings.NewReader("data")))
		}
	}
}

// record makes the SDK build the request of one operation.
func record(t *testing.T, method reflect.Value, name string, full bool) *http.Request {
	t.Helper()
	in := reflect.New(method.Type().In(1).Elem())
	fill(in.Elem(), 0, full)
	if !full {
		clearOptional(t, in.Elem(), name)
	}
	for _, f := range []string{"Bucket", "RequestRoute"} {
		if b := in.Elem().FieldByName(f); b.IsValid() {
			b.Set(reflect.ValueOf(aws.String("bucket")))
		}
	}
	rec := &recorder{}
	out := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), in, reflect.ValueOf(func(o *s3.Options) {
		o.HTTPClient = rec
		o.RetryMaxAttempts = 1
		o.ContinueHeaderThresholdBytes = -1
	})})
	if rec.last == nil {
		t.Fatalf("%s: the SDK sent nothing: %v", name, out[1].Interface())
	}
	return rec.last
}

// clearOptional empties every field whose comment in the SDK does not say that
// it is required; which these are is found by asking the validator.
func clearOptional(t *testing.T, in reflect.Value, name string) {
	t.Helper()
	for i := range in.NumField() {
		f := in.Field(i)
		if !f.CanSet() || keep[in.Type().Field(i).Name] || f.Kind() == reflect.Struct {
			continue
		}
		if f.Kind() == reflect.Pointer && f.Elem().Kind() == reflect.Struct && f.Elem().Type() != reflect.TypeFor[time.Time]() {
			continue // a document
		}
		f.SetZero()
	}
}

// keep are the members of inputs that some operation requires.
var keep = map[string]bool{"Bucket": true, "Key": true, "UploadId": true, "PartNumber": true, "Id": true, "CopySource": true,
	"RequestRoute": true, "RequestToken": true, "ObjectAttributes": true, "RenameSource": true, "AnnotationName": true, "Policy": true,
	"Expression": true, "ExpressionType": true, "AnnotationPayload": true, "ObjectEncryption": true}

func client() *s3.Client {
	return s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://127.0.0.1:9000"), UsePathStyle: true,
		DisableS3ExpressSessionAuth: aws.Bool(true),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"}, nil
		})})
}

// sdkOperations calls f with each operation that the SDK has.
func sdkOperations(f func(name string, method reflect.Value)) int {
	v := reflect.ValueOf(client())
	n := 0
	for i := range v.NumMethod() {
		m := v.Method(i)
		if m.Type().NumIn() != 3 || m.Type().In(0) != reflect.TypeFor[context.Context]() ||
			!strings.HasSuffix(m.Type().In(1).String(), "Input") {
			continue
		}
		n++
		f(v.Type().Method(i).Name, m)
	}
	return n
}

// TestEverySDKOperation lets the SDK build a request of every operation it
// has, bare and with every member set, and finds each in the table under its
// own name with all its parameters and headers known.
func TestEverySDKOperation(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	n := sdkOperations(func(name string, method reflect.Value) {
		seen[name] = true
		for _, full := range []bool{false, true} {
			req := record(t, method, name, full)
			if name == "ListDirectoryBuckets" || name == "ListBuckets" || name == "WriteGetObjectResponse" {
				req.URL.Path = strings.TrimPrefix(req.URL.Path, "/bucket")
			}
			tg, err := ParseTarget(req.URL, "")
			if err != nil {
				t.Errorf("%s: %s: %v", name, req.URL, err)
				continue
			}
			q, err := ParseQuery(req.URL.RawQuery, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			op, err := Match(req.Method, &tg, q, req.Header)
			if op == nil || op.Name != name {
				t.Errorf("%s %s (full %v): matched %v: %v, want %s", req.Method, req.URL, full, op, err, name)
				continue
			}
			var r *Refusal
			if errors.As(err, &r) && (op.Built || r.Name != name) {
				t.Errorf("%s %s (full %v): %v", req.Method, req.URL, full, err)
			}
			if !full && op.Built {
				if err := op.CheckHeaders(req.Header, q); err != nil {
					t.Errorf("%s (bare): %v", name, err)
				}
			}
			for h := range req.Header {
				if strings.HasPrefix(h, "X-Amz-") && !neutral[h] && !op.headers[h] && !strings.HasPrefix(h, "X-Amz-Meta-") &&
					!strings.HasPrefix(h, "X-Amz-Fwd-") {
					t.Errorf("%s: the table lacks header %s", name, h)
				}
			}
		}
	})
	if n < 111 {
		t.Errorf("the SDK shows %d operations, want at least 111", n)
	}
	for _, op := range All() {
		if !op.Beyond && !seen[op.Name] {
			t.Errorf("%s is in the table and not in the SDK", op.Name)
		}
	}
}

// TestPresignedSDKRequests finds the operations of presigned URLs, in which
// the SDK hoists x-amz-* headers into the query.
func TestPresignedSDKRequests(t *testing.T) {
	t.Parallel()
	p := s3.NewPresignClient(client())
	req, err := p.PresignPutObject(context.Background(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a b+c"),
		ACL: "private", Metadata: map[string]string{"colour": "blue"}, ContentType: aws.String("text/plain")})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(req.URL)
	if err != nil {
		t.Fatal(err)
	}
	tg, err := ParseTarget(u, "")
	if err != nil || tg.Key != "a b+c" {
		t.Fatalf("key %q: %v", tg.Key, err)
	}
	q, err := ParseQuery(u.RawQuery, nil)
	if err != nil {
		t.Fatal(err)
	}
	op, err := Match(req.Method, &tg, q, nil)
	if err != nil || op.Name != "PutObject" {
		t.Fatalf("matched %v: %v", op, err)
	}
	if err := op.CheckHeaders(req.SignedHeader, q); err != nil {
		t.Error(err)
	}
}
