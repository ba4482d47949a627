package s3

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/gateway"
	"holdfast/gateway/s3err"
)

func partDocument(n int) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	for i := range n {
		fmt.Fprintf(&b, `<Part><ETag>"%032x"</ETag><ChecksumSHA256>%044d</ChecksumSHA256><PartNumber>%d</PartNumber></Part>`, i, i, i+1)
	}
	return b.String() + "</CompleteMultipartUpload>"
}

func TestParseComplete(t *testing.T) {
	t.Parallel()
	parts, err := parseComplete([]byte(partDocument(gateway.MaxParts)))
	if err != nil || len(parts) != gateway.MaxParts {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	if p := parts[9999]; p.PartNumber != 10000 || p.ETag != `"`+fmt.Sprintf("%032x", 9999)+`"` || p.ChecksumSHA256 != fmt.Sprintf("%044d", 9999) {
		t.Errorf("last part: %+v", p)
	}
	const whole = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&#34;</ETag></Part></CompleteMultipartUpload>"
	if parts, err = parseComplete([]byte(whole)); err != nil || parts[0].ETag != `"a"` {
		t.Errorf("%+v, %v", parts, err)
	}
	for _, doc := range []string{"", "x", "<Other/>", "<CompleteMultipartUpload/>", partDocument(gateway.MaxParts + 1), whole + "x", whole[:len(whole)-1],
		strings.ReplaceAll(whole, ">1<", ">-1<"), strings.ReplaceAll(whole, ">1<", ">one<"), strings.ReplaceAll(whole, ">1<", ">99999999999<"),
		strings.ReplaceAll(whole, "<PartNumber>", "<PartNumber>2</PartNumber><PartNumber>"), strings.ReplaceAll(whole, "<ETag>", "<ETag/><ETag>"),
		strings.ReplaceAll(whole, "<ETag>", "<ChecksumCRC32>a</ChecksumCRC32><ChecksumCRC32>b</ChecksumCRC32><ETag>"),
		strings.ReplaceAll(whole, "ETag", "Color"), strings.ReplaceAll(whole, "PartNumber", "ChecksumCRC16"), strings.ReplaceAll(whole, "<Part>", "<Part><Part>")} {
		if _, err := parseComplete([]byte(doc)); code(err) != s3err.MalformedXML {
			t.Errorf("%.200q: %v", doc, err)
		}
	}
}

func FuzzComplete(f *testing.F) {
	f.Add([]byte(partDocument(3)))
	f.Add([]byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag/></Part></CompleteMultipartUpload>"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		parts, err := parseComplete(doc)
		if err != nil {
			if s3err.From(err).Status != 400 {
				t.Fatal(err)
			}
			return
		}
		if len(parts) == 0 || len(parts) > gateway.MaxParts {
			t.Fatalf("%d parts", len(parts))
		}
		if _, err := completeParts(parts, 0); err != nil && s3err.From(err).Status != 400 {
			t.Fatal(err)
		}
	})
}

func BenchmarkParseComplete(b *testing.B) {
	doc := []byte(partDocument(gateway.MaxParts))
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := parseComplete(doc); err != nil {
			b.Fatal(err)
		}
	}
}
