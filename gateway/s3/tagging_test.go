package s3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"holdfast/gateway"
	"holdfast/gateway/s3err"
	"holdfast/tracker"
)

// tagsOf makes tags of pairs.
func tagsOf(pairs ...string) (tags []tracker.Field) {
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, tracker.Field{Name: pairs[i], Value: pairs[i+1]})
	}
	return tags
}

func taggingDoc(tags []tracker.Field) string {
	var b strings.Builder
	b.WriteString("<Tagging><TagSet>")
	for _, f := range tags {
		b.WriteString("<Tag><Key>")
		_ = xml.EscapeText(&b, []byte(f.Name))
		b.WriteString("</Key><Value>")
		_ = xml.EscapeText(&b, []byte(f.Value))
		b.WriteString("</Value></Tag>")
	}
	return b.String() + "</TagSet></Tagging>"
}

func tagHeader(tags []tracker.Field) string {
	var pairs []string
	for _, f := range tags {
		pairs = append(pairs, url.QueryEscape(f.Name)+"="+url.QueryEscape(f.Value))
	}
	return strings.Join(pairs, "&")
}

func manyTags(n int) (tags []tracker.Field) {
	for i := range n {
		tags = append(tags, tracker.Field{Name: fmt.Sprintf("k%02d", i), Value: "v"})
	}
	return tags
}

// TestTags judges sets of tags both ways, in a document and in a header.
func TestTags(t *testing.T) {
	t.Parallel()
	long := strings.Repeat
	for name, tc := range map[string]struct {
		tags []tracker.Field
		code s3err.Code // of the document; the header's differs for doubles
	}{
		"none":              {nil, ""},
		"one":               {tagsOf("k", "v"), ""},
		"empty value":       {tagsOf("k", ""), ""},
		"characters":        {tagsOf("a B_.:/=+-@9", " é /=+-@ ключ 値 "), ""},
		"ten":               {manyTags(10), ""},
		"eleven":            {manyTags(11), s3err.BadRequest},
		"longest":           {tagsOf(long("k", 128), long("v", 256)), ""},
		"longest in UTF-8":  {tagsOf(long("é", 128), long("値", 256)), ""},
		"longest in UTF-16": {tagsOf(long("𝒜", 64), long("𝒜", 128)), ""},
		"key too long":      {tagsOf(long("k", 129), "v"), s3err.InvalidTag},
		"key over UTF-16":   {tagsOf(long("𝒜", 65), "v"), s3err.InvalidTag},
		"value too long":    {tagsOf("k", long("v", 257)), s3err.InvalidTag},
		"empty key":         {tagsOf("", "v"), s3err.InvalidTag},
		"twice":             {tagsOf("k", "1", "a", "", "k", "2"), s3err.InvalidTag},
		"other letter case": {tagsOf("k", "1", "K", "2"), ""},
		"system":            {tagsOf("aws:k", "v"), s3err.InvalidTag},
		"system, upper":     {tagsOf("AWS:k", "v"), s3err.InvalidTag},
		"almost system":     {tagsOf("awsome", "v", "aws", "aws:v"), ""},
		"key character":     {tagsOf("k?", "v"), s3err.InvalidTag},
		"value character":   {tagsOf("k", "<v>"), s3err.InvalidTag},
		"line":              {tagsOf("k", "a\nb"), s3err.InvalidTag},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := slices.Clone(tc.tags)
			slices.SortFunc(want, func(a, b tracker.Field) int { return strings.Compare(a.Name, b.Name) })
			inHeader := tc.code
			if name == "twice" {
				inHeader = s3err.InvalidArgument
			}
			check := func(how string, got []tracker.Field, err error, code s3err.Code) {
				t.Helper()
				switch {
				case code == "" && (err != nil || !slices.Equal(got, want)):
					t.Errorf("%s: %v %v, want %v", how, got, err, want)
				case code != "" && (err == nil || s3err.From(err).Code != code):
					t.Errorf("%s: %v %v, want %s", how, got, err, code)
				}
			}
			got, err := parseTagging([]byte(taggingDoc(tc.tags)))
			check("document", got, err, tc.code)
			got, err = parseTagHeader(tagHeader(tc.tags))
			check("header", got, err, inHeader)
		})
	}
}

func TestTagHeader(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]any{
		"a=b":         tagsOf("a", "b"),
		"b&a=":        tagsOf("a", "", "b", ""),
		"&a=b&":       tagsOf("a", "b"),
		"a+b=c%20d":   tagsOf("a b", "c d"),
		"a==b":        tagsOf("a", "=b"),
		"a=%zz":       s3err.InvalidArgument,
		"a=1&%61=2":   s3err.InvalidArgument,
		"a=%ff":       s3err.InvalidTag,
		"=v":          s3err.InvalidTag,
		"a=b,c=d":     s3err.InvalidTag,
		"a=%26":       s3err.InvalidTag,
		"a=b;version": s3err.InvalidTag,
	} {
		got, err := parseTagHeader(v)
		if tags, ok := want.([]tracker.Field); ok {
			if err != nil || !slices.Equal(got, tags) {
				t.Errorf("%s: %v %v, want %v", v, got, err, tags)
			}
		} else if err == nil || s3err.From(err).Code != want {
			t.Errorf("%s: %v %v, want %v", v, got, err, want)
		}
	}
}

func TestTaggingDocument(t *testing.T) {
	t.Parallel()
	const tag = "<Tag><Key>k</Key><Value>v</Value></Tag>"
	for doc, ok := range map[string]bool{
		`<?xml version="1.0"?><Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"> <TagSet>` + tag + "</TagSet>\n</Tagging>": true,
		"<Tagging><TagSet/></Tagging>": true,
		"<Tagging><TagSet><Tag><Value>v</Value><Key>k</Key></Tag></TagSet></Tagging>": true,
		"<Tagging><TagSet><Tag><Key>k</Key><Value/></Tag></TagSet></Tagging>":         true,
		"":                                      false,
		"<Tagging/>":                            false,
		"<TagSet>" + tag + "</TagSet>":          false,
		"<Tagging>" + tag + "</Tagging>":        false,
		"<Tagging><TagSet>" + tag:               false,
		"<Tagging><TagSet/><TagSet/></Tagging>": false,
		"<Tagging><TagSet>text</TagSet></Tagging>":                                                     false,
		"<Tagging><TagSet></TagSet></Tagging><Tagging/>":                                               false,
		"<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>":                                  false,
		"<Tagging><TagSet><Tag><Value>v</Value></Tag></TagSet></Tagging>":                              false,
		"<Tagging><TagSet><Tag><Key>k</Key><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>":      false,
		"<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value><More/></Tag></TagSet></Tagging>":           false,
		"<Tagging><TagSet><Tag><Key><b>k</b></Key><Value>v</Value></Tag></TagSet></Tagging>":           false,
		"<!DOCTYPE x><Tagging><TagSet/></Tagging>":                                                     false,
		"<Tagging><TagSet><Bag><Key>k</Key><Value>v</Value></Bag></TagSet></Tagging>":                  false,
		"<Tagging><TagSet>" + strings.Repeat(tag, 11) + "</TagSet></Tagging>":                          false,
		"<Tagging><TagSet><Tag><Key>k</Key><Value>&undefined;</Value></Tag></TagSet></Tagging>":        false,
		"<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet><Owner>me</Owner></Tagging>": false,
	} {
		if _, err := parseTagging([]byte(doc)); (err == nil) != ok {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

// FuzzTagging parses anything as a document and as a header: what passes is
// within the limits, sorted and without doubles, and reads the same when it
// is written and parsed again.
func FuzzTagging(f *testing.F) {
	f.Add(taggingDoc(tagsOf("a", "b", "é", " ")))
	f.Add(tagHeader(manyTags(10)))
	f.Add("a=b&c")
	f.Add("<Tagging><TagSet><Tag><Key>&#x1;</Key><Value><![CDATA[v]]></Value></Tag></TagSet></Tagging>")
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func() ([]tracker.Field, error){
			func() ([]tracker.Field, error) { return parseTagging([]byte(text)) },
			func() ([]tracker.Field, error) { return parseTagHeader(text) },
		} {
			tags, err := parse()
			if err != nil {
				var e *s3err.Error
				if !errors.As(err, &e) || e.Status != 400 {
					t.Fatal(err)
				}
				continue
			}
			if len(tags) > gateway.MaxObjectTags || !slices.IsSortedFunc(tags, func(a, b tracker.Field) int { return strings.Compare(a.Name, b.Name) }) {
				t.Fatalf("%q", tags)
			}
			again, err := parseTagging([]byte(taggingDoc(tags)))
			if err != nil || !slices.Equal(again, tags) {
				t.Fatalf("%q again: %q %v", tags, again, err)
			}
			if again, err = parseTagHeader(tagHeader(tags)); err != nil || !slices.Equal(again, tags) {
				t.Fatalf("%q again: %q %v", tags, again, err)
			}
		}
	})
}
