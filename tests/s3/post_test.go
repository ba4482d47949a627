package s3_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
)

// post sends a form. fields come in pairs, in order; the file comes last.
func (c *cluster) post(file string, fields ...string) answer {
	c.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i+1 < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			c.t.Fatal(err)
		}
	}
	part, err := w.CreateFormFile("file", "photo.jpg")
	if err != nil {
		c.t.Fatal(err)
	}
	io.WriteString(part, file)
	w.Close()
	client := *c.Server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Post(c.URL+"/"+bucket, w.FormDataContentType(), &b)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(data)}
}

// signed returns the fields of a form whose policy has these conditions
// beside those of the signature and the bucket.
func signed(conditions string, fields ...string) []string {
	now := time.Now().UTC()
	date, stamp := now.Format("20060102"), now.Format("20060102T150405Z")
	credential := user + "/" + date + "/us-east-1/s3/aws4_request"
	policy := fmt.Sprintf(`{"expiration":%q,"conditions":[{"bucket":%q},{"x-amz-algorithm":"AWS4-HMAC-SHA256"},{"x-amz-credential":%q},{"x-amz-date":%q}%s]}`,
		now.Add(time.Hour).Format(time.RFC3339), bucket, credential, stamp, conditions)
	encoded := base64.StdEncoding.EncodeToString([]byte(policy))
	signer := sigv4.NewSigner(user, password, "us-east-1")
	return append(fields, "policy", encoded, "x-amz-algorithm", "AWS4-HMAC-SHA256", "x-amz-credential", credential, "x-amz-date", stamp,
		"x-amz-signature", signer.SignPost(encoded, date))
}

func TestPostForm(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	const anyKey = `,["starts-with","$key","up/"]`
	for _, size := range []int{0, 10, 8192, 8193, 300_000} {
		data := pattern(size)
		a := c.post(data, signed(anyKey+`,{"content-type":"image/jpeg"},["starts-with","$x-amz-meta-a",""],["content-length-range",0,1000000]`,
			"key", "up/${filename}", "Content-Type", "image/jpeg", "x-amz-meta-A", "1")...)
		if a.status != 204 || a.header.Get("ETag") != etagOf(data) || a.header.Get("Location") != c.URL+"/"+bucket+"/up/photo.jpg" {
			t.Fatalf("%d bytes: %d %v %s", size, a.status, a.header, a.body)
		}
		got := c.must(200, "GET", "/"+bucket+"/up/photo.jpg", "")
		if got.body != data || got.header.Get("Content-Type") != "image/jpeg" || got.header.Get("X-Amz-Meta-A") != "1" {
			t.Errorf("%d bytes: got %d, %v", size, len(got.body), got.header)
		}
	}
	ok := `,{"success_action_status":"201"}`
	if a := c.post("x", signed(anyKey+ok, "key", "up/a b", "success_action_status", "201")...); a.status != 201 ||
		between(a.body, "Key") != "up/a b" || between(a.body, "Location") != c.URL+"/"+bucket+"/up/a%20b" {
		t.Errorf("201: %d %s", a.status, a.body)
	}
	to := "http://127.0.0.1/done?x=1"
	if a := c.post("x", signed(anyKey+`,{"success_action_redirect":"`+to+`"}`, "key", "up/k", "success_action_redirect", to)...); a.status != 303 ||
		!strings.HasPrefix(a.header.Get("Location"), to+"&bucket=bucket&key=up%2Fk&etag=") {
		t.Errorf("redirect: %d %v %s", a.status, a.header, a.body)
	}
	const sized = anyKey + `,["content-length-range",2,4]`
	crc := `,["starts-with","$x-amz-checksum-crc32",""]`
	for name, tc := range map[string]struct {
		file   string
		fields []string
		status int
		code   string
	}{
		"anonymous":       {"x", []string{"key", "up/no"}, 403, "AccessDenied"},
		"other key":       {"x", signed(anyKey, "key", "no"), 403, "AccessDenied"},
		"expanded key":    {"x", signed(`,{"key":"no"}`, "key", "${filename}"), 403, "AccessDenied"},
		"field too many":  {"x", signed(anyKey, "key", "up/no", "x-amz-meta-a", "b"), 403, "AccessDenied"},
		"too small":       {"x", signed(sized, "key", "up/no"), 400, "EntityTooSmall"},
		"too large":       {"12345", signed(sized, "key", "up/no"), 400, "EntityTooLarge"},
		"much too large":  {pattern(500_000), signed(sized, "key", "up/no"), 400, "EntityTooLarge"},
		"no key":          {"x", signed(anyKey), 400, "UserKeyMustBeSpecified"},
		"public":          {"x", signed(anyKey+`,{"acl":"public-read"}`, "key", "up/no", "acl", "public-read"), 501, "NotImplemented"},
		"encrypted":       {"x", signed(anyKey+`,{"x-amz-server-side-encryption":"AES256"}`, "key", "up/no", "x-amz-server-side-encryption", "AES256"), 501, "NotImplemented"},
		"class":           {"x", signed(anyKey+`,{"x-amz-storage-class":"GLACIER"}`, "key", "up/no", "x-amz-storage-class", "GLACIER"), 400, "InvalidStorageClass"},
		"checksum":        {"x", signed(anyKey+crc, "key", "up/no", "x-amz-checksum-crc32", "AAAAAA=="), 400, "BadDigest"},
		"checksum's form": {"x", signed(anyKey+crc, "key", "up/no", "x-amz-checksum-crc32", "AAAA"), 400, "InvalidRequest"},
		"large field":     {"x", signed(anyKey, "key", "up/no", "x-ignore-me", strings.Repeat("x", 65<<10)), 400, "MaxPostPreDataLengthExceededError"},
	} {
		if a := c.post(tc.file, tc.fields...); a.status != tc.status || !strings.Contains(a.body, "<Code>"+tc.code+"</Code>") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	wrong := signed(anyKey, "key", "up/no")
	wrong[len(wrong)-1] = strings.Repeat("0", 64)
	if a := c.post("x", wrong...); a.status != 403 || !strings.Contains(a.body, "SignatureDoesNotMatch") {
		t.Errorf("signature: %d %s", a.status, a.body)
	}
	c.refused(404, "NoSuchKey", "GET", "/"+bucket+"/up/no", "")
	res, err := c.Server.Client().Post(c.URL+"/"+bucket, "text/plain", strings.NewReader("x"))
	if err != nil || res.StatusCode != 412 {
		t.Errorf("no form: %v, %v", res, err)
	}
}
