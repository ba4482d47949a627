package s3

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/auth/sigv4"
	"holdfast/gateway/s3err"
)

// sigSign signs a request without looking at its body.
func sigSign(req *http.Request) {
	sigv4.Sign(req, testUser, testSecret, "us-east-1", sigv4.UnsignedPayload, time.Now())
}

func TestDeleteObjects(t *testing.T) {
	t.Parallel()
	ts, cat := frontServer(t, nil)
	cat.put("bucket", "a", "b", "c&d", "\x01", " padded ", "keep")
	body := `<?xml version="1.0" encoding="UTF-8"?><!-- c --><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
	<Object><Key>a</Key></Object><Object><Key>never was</Key></Object><Object><Key>c&amp;d</Key><Size>3</Size></Object>
	<Object><Key>&#x1;</Key></Object><Object><Key> padded </Key></Object>
	<Object><Key>keep</Key><ETag>"nothing"</ETag></Object><Object><Key>` + strings.Repeat("k", 1025) + `</Key></Object>
	<Object><Key><![CDATA[b]]></Key><LastModifiedTime>Tue, 14 Nov 2023 22:13:20 GMT</LastModifiedTime></Object></Delete>`
	a := send(t, ts, "POST", "/bucket?delete", body, withMD5(body))
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var out struct {
		Deleted []struct{ Key string }
		Error   []struct{ Key, Code string }
	}
	if err := xml.Unmarshal([]byte(strings.ReplaceAll(a.body, "&#x1;", "?")), &out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range out.Deleted {
		got = append(got, d.Key)
	}
	if want := "a|never was|c&d|?| padded |b"; strings.Join(got, "|") != want {
		t.Errorf("deleted %q, want %q", got, want)
	}
	if len(out.Error) != 2 || out.Error[0].Key != "keep" || out.Error[0].Code != "PreconditionFailed" || out.Error[1].Code != "KeyTooLongError" {
		t.Errorf("errors %v", out.Error)
	}
	quiet := `<Delete><Quiet>true</Quiet><Object><Key>keep</Key></Object></Delete>`
	if a := send(t, ts, "POST", "/bucket/?delete=", quiet, withMD5(quiet)); a.status != 200 || strings.Contains(a.body, "keep") {
		t.Errorf("quiet: %d %s", a.status, a.body)
	}
	if a := send(t, ts, "POST", "/bucket?delete", quiet, nil); a.status != 400 || !strings.Contains(a.body, "InvalidRequest") {
		t.Errorf("without a checksum: %d %s", a.status, a.body)
	}
	if a := send(t, ts, "POST", "/bucket?delete", quiet, withMD5("other")); a.status != 400 || !strings.Contains(a.body, "BadDigest") {
		t.Errorf("with a wrong checksum: %d %s", a.status, a.body)
	}
	if a := send(t, ts, "POST", "/bucket?delete", "", withMD5("")); a.status != 400 {
		t.Errorf("empty: %d %s", a.status, a.body)
	}
}

func deleteDocument(n int) string {
	var b strings.Builder
	b.WriteString("<Delete>")
	for i := range n {
		fmt.Fprintf(&b, "<Object><Key>key-%06d</Key></Object>", i)
	}
	return b.String() + "</Delete>"
}

func TestParseDelete(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 1000} {
		if r, err := parseDelete([]byte(deleteDocument(n))); err != nil || len(r.entries) != n {
			t.Errorf("%d keys: %v", n, err)
		}
	}
	for _, doc := range []string{"", "<Delete/>", "<Delete></Delete>", deleteDocument(1001), "<Delete><Object/></Delete>", "<Other><Object><Key>a</Key></Object></Other>",
		"<Delete><Object><Key></Key></Object></Delete>", "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>", "<Delete><Object><Key>a</Key></Object>",
		"<Delete><Object><Key>a</Key><Key>a</Key></Object></Delete>", "<Delete><Object><Key>a</Key><VersionId/><VersionId>null</VersionId></Object></Delete>",
		"<Delete><Object><VersionId>null</VersionId><Key>a</Key><VersionId>null</VersionId></Object></Delete>",
		"<Delete><Object><Key>a</Key><ETag>e</ETag><ETag>f</ETag></Object></Delete>", "<Delete><Object><Key>a</Key><Size>1</Size><Size>1</Size></Object></Delete>",
		"<Delete><Object><Key>a</Key><LastModifiedTime>1</LastModifiedTime><LastModifiedTime>2</LastModifiedTime></Object></Delete>",
		"<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object><Quiet>false</Quiet></Delete>",
		"<Delete><Object><Key>a</Key></Object></Delete><Delete/>", "<Delete>text<Object><Key>a</Key></Object></Delete>", "<Delete><Nope/></Delete>",
		"<Delete><Object><Key>a</Key><Size>-1</Size></Object></Delete>", "<Delete><Object><Key>&nbsp;</Key></Object></Delete>",
		"<Delete><Object><Key>&#xD800;</Key></Object></Delete>", "<Delete><Object><Key>\xff</Key></Object></Delete>",
		"<!DOCTYPE x [<!ENTITY a 'b'>]><Delete><Object><Key>a</Key></Object></Delete>", "<Delete a=\"1><Object><Key>a</Key></Object></Delete>",
		"<Delete><Object><Key>a</Key></Object></Delete>x", "<a:Delete><Object><Key>a</Key></Object></b:Delete>", strings.Repeat("<Delete>", 100000)} {
		if _, err := parseDelete([]byte(doc)); err == nil {
			t.Errorf("%.80q is taken", doc)
		}
	}
}

// TestXMLCharacters: what is no character of XML 1.0 (section 2.2) is refused
// wherever it stands as it is, and taken as a reference, since keys may hold
// it.
func TestXMLCharacters(t *testing.T) {
	t.Parallel()
	var bad, good []string
	for r := range rune(0x20) {
		if r != '\t' && r != '\n' && r != '\r' {
			bad = append(bad, string(r))
		}
	}
	bad = append(bad, "\ufffe", "\uffff")
	good = append(good, "\t", "\n", " ", "\x7f", "\u0085", "\ud7ff", "\ue000", "\uff21", "\uffef", "\ufffd", "\U00010000", "\U0010ffff")
	for _, c := range bad {
		for _, doc := range []string{"<Delete><Object><Key>a%s</Key></Object></Delete>", "<Delete><Object><Key><![CDATA[%s]]></Key></Object></Delete>",
			"<Delete a=\"%s\"><Object><Key>a</Key></Object></Delete>", "<Delete><!--%s--><Object><Key>a</Key></Object></Delete>"} {
			if _, err := parseDelete(fmt.Appendf(nil, doc, c)); code(err) != s3err.MalformedXML {
				t.Errorf("%q in %s: got %v", c, doc, err)
			}
			if err := parseXML(fmt.Appendf(nil, doc, c), new(struct{ XMLName xml.Name })); code(err) != s3err.MalformedXML {
				t.Errorf("%q in %s by the standard library: got %v", c, doc, err)
			}
		}
		r, err := parseDelete(fmt.Appendf(nil, "<Delete><Object><Key>a&#%d;</Key></Object></Delete>", []rune(c)[0]))
		if err != nil || r.entries[0].Key != "a"+c {
			t.Errorf("reference to %q: %v", c, err)
		}
	}
	for _, c := range good {
		r, err := parseDelete(fmt.Appendf(nil, "<Delete><Object><Key>a%s</Key></Object></Delete>", c))
		if err != nil || r.entries[0].Key != "a"+c {
			t.Errorf("%q: %v", c, err)
		}
	}
}

func FuzzDelete(f *testing.F) {
	f.Add([]byte(deleteDocument(2)))
	f.Add([]byte("<Delete><Object><Key>a&#x1;\r\n</Key><VersionId/><ETag>\"e\"</ETag><Size>1</Size></Object><Quiet>1</Quiet></Delete>"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, err := parseDelete(doc)
		if err == nil && (len(r.entries) == 0 || len(r.entries) > 1000) {
			t.Fatalf("%d entries", len(r.entries))
		}
	})
}

// FuzzXML holds the scanner against the parser of the standard library: where
// both take a document they agree on its text.
func FuzzXML(f *testing.F) {
	for _, s := range []string{"<a>b</a>", "<a x='1'><b/>&lt;</a>", "<?xml version=\"1.0\"?><a><![CDATA[<]]></a>", "<!-- --><x:a>\r\n</x:a>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		ours, err := scanText(doc)
		if err != nil {
			return
		}
		theirs, err := standardText(doc)
		if err != nil {
			return
		}
		if ours != theirs {
			t.Fatalf("%q: %q, the standard library reads %q", doc, ours, theirs)
		}
	})
}

func scanText(doc []byte) (string, error) {
	s, err := newXMLScanner(doc)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for {
		t, err := s.next()
		if err != nil || t.kind == xmlEOF {
			return b.String(), err
		}
		if t.kind == xmlText {
			b.Write(t.text)
		} else {
			fmt.Fprintf(&b, "[%d %s]", t.kind, t.name)
		}
	}
}

func standardText(doc []byte) (string, error) {
	d := xml.NewDecoder(bytes.NewReader(doc))
	var b strings.Builder
	depth := 0
	for {
		t, err := d.Token()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.StartElement:
			depth++
			fmt.Fprintf(&b, "[%d %s]", xmlStart, t.Name.Local)
		case xml.EndElement:
			depth--
			fmt.Fprintf(&b, "[%d %s]", xmlEnd, t.Name.Local)
		case xml.CharData:
			if depth > 0 {
				b.Write(t)
			}
		}
	}
}

func BenchmarkParseDelete(b *testing.B) {
	doc := []byte(deleteDocument(1000))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseDelete(doc); err != nil {
			b.Fatal(err)
		}
	}
}
