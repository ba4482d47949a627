package s3

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/auth"
	"holdfast/auth/sigv4"
)

const formType = `multipart/form-data; boundary=xyz`

// form builds a body of fields in pairs; a name of "file" has a file name.
func form(pairs ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		name := `"` + pairs[i] + `"`
		if pairs[i] == "file" {
			name += `; filename="C:\dir\photo.jpg"`
		}
		b.WriteString("--xyz\r\nContent-Disposition: form-data; name=" + name + "\r\n\r\n" + pairs[i+1] + "\r\n")
	}
	return b.String() + "--xyz--\r\n"
}

func TestReadPostForm(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("0123456789\r\n--xy", 10000)
	body := form("kEy", "a/${filename}", "X-Amz-Meta-Color", " blue ", "empty", "", "file", data, "after", "ignored")
	f, err := readPostForm(formType, iotest.OneByteReader(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"key": "a/${filename}", "x-amz-meta-color": " blue ", "empty": ""}
	if !maps.Equal(f.fields, want) {
		t.Errorf("fields %q, want %q", f.fields, want)
	}
	got, err := io.ReadAll(f.file)
	if err != nil || string(got) != data {
		t.Errorf("file of %d bytes, %v, want %d", len(got), err, len(data))
	}
	if err := f.file.Finish(); err != nil {
		t.Errorf("finish: %v", err)
	}
	if key, err := formKey(f); err != nil || key != "a/photo.jpg" {
		t.Errorf("key %q, %v", key, err)
	}
}

func TestReadPostFormRefuses(t *testing.T) {
	t.Parallel()
	many := []string{}
	for range maxFormFields + 1 {
		many = append(many, "f"+formatInt(int64(len(many))), "v")
	}
	whole := form("key", "k", "file", "data")
	for name, tc := range map[string]struct {
		contentType, body string
		want              error
	}{
		"other type":      {"text/plain", whole, errNotForm},
		"no type":         {"", whole, errNotForm},
		"url encoded":     {"application/x-www-form-urlencoded", "key=k", errNotForm},
		"no boundary":     {"multipart/form-data", whole, errMalformedForm},
		"no file":         {formType, form("key", "k"), errNoFile},
		"empty":           {formType, "", auth.ErrIncompleteBody},
		"cut in a field":  {formType, whole[:60], auth.ErrIncompleteBody},
		"twice":           {formType, form("key", "a", "KEY", "b", "file", ""), errMalformedForm},
		"large field":     {formType, form("key", strings.Repeat("k", maxFormBytes), "file", ""), errFormTooLarge},
		"large header":    {formType, "--xyz\r\nX: " + strings.Repeat("h", maxFormBytes) + "\r\n\r\n", errFormTooLarge},
		"many fields":     {formType, form(append(many, "file", "")...), errFormTooLarge},
		"endless preface": {formType, strings.Repeat("x", 2*maxFormBytes), errMalformedForm},
	} {
		if _, err := readPostForm(tc.contentType, strings.NewReader(tc.body)); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	// A file that ends without its boundary is cut at every place.
	for cut := len(whole) - len("\r\n--xyz--\r\n"); cut < len(whole)-4; cut++ {
		f, err := readPostForm(formType, strings.NewReader(whole[:cut]))
		if err != nil {
			continue
		}
		if _, err = io.ReadAll(f.file); !errors.Is(err, auth.ErrIncompleteBody) {
			t.Errorf("cut at %d of %d: got %v", cut, len(whole), err)
		}
	}
}

// TestPostFormToItsEnd: the boundary behind the file is not the end of the
// body, and a body that ends before its announced length is not the form that
// the client sent.
func TestPostFormToItsEnd(t *testing.T) {
	t.Parallel()
	whole := form("key", "k", "file", "data")
	for name, tail := range map[string]string{"nothing": "", "little": "epilogue", "more than is read ahead": strings.Repeat("x", 1<<20)} {
		body := whole + tail
		for _, missing := range []int{0, 1, 2, len(tail) / 2, len(tail) + len("--\r\n")} {
			src := strings.NewReader(body[:len(body)-missing])
			var want error
			if missing > 0 {
				want = auth.ErrIncompleteBody
			}
			f, err := readPostForm(formType, sigv4.NewBody(src, &sigv4.Result{DecodedLength: -1}, int64(len(body))))
			if err == nil {
				_, err = io.ReadAll(f.file)
			}
			if !errors.Is(err, want) {
				t.Errorf("%s behind, %d bytes missing: got %v, want %v", name, missing, err, want)
			}
			if err == nil && (src.Len() > 0 || f.file.Finish() != nil) {
				t.Errorf("%s behind: %d bytes were not read", name, src.Len())
			}
		}
	}
}

func TestRedirectTarget(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]string{
		"http://h/done":       "http://h/done?bucket=b&key=k+x&etag=%22e%22",
		"https://h/done?a=1":  "https://h/done?a=1&bucket=b&key=k+x&etag=%22e%22",
		"":                    "",
		"javascript:alert(1)": "",
		"/relative":           "",
		"http://":             "",
		"http://h/%zz":        "",
	} {
		f := &postForm{fields: map[string]string{"success_action_redirect": to}}
		if got := redirectTarget(f, "b", "k x", `"e"`); got != want {
			t.Errorf("%q: got %q, want %q", to, got, want)
		}
	}
}

func FuzzPostForm(f *testing.F) {
	f.Add(formType, []byte(form("key", "k", "policy", "e30=", "file", "data")))
	f.Add(formType, []byte("--xyz\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n"))
	f.Add(`multipart/form-data; boundary="a b"`, []byte("--a b--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		p, err := readPostForm(contentType, bytes.NewReader(body))
		if err != nil {
			return
		}
		total := 0
		for name, v := range p.fields {
			total += len(name) + len(v)
		}
		if total > maxFormBytes || len(p.fields) > maxFormFields {
			t.Fatalf("%d fields of %d bytes", len(p.fields), total)
		}
		if n, _ := io.Copy(io.Discard, p.file); n > int64(len(body)) {
			t.Fatalf("file of %d bytes in a body of %d", n, len(body))
		}
		_, _ = formKey(p)
		_, _ = formChecksum(p.fields)
		_ = redirectTarget(p, "b", "k", "e")
	})
}
