package s3

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"holdfast/gateway"
	"holdfast/gateway/s3err"
	"holdfast/tracker"
)

// parseTagging parses the document of PutObjectTagging, which is that of a
// form's field "tagging" too.
func parseTagging(doc []byte) ([]tracker.Field, error) {
	s, err := newXMLScanner(doc)
	if err != nil {
		return nil, err
	}
	for _, name := range [...]string{"Tagging", "TagSet"} {
		if t, err := s.nextElement(); err != nil || t.kind != xmlStart || t.name != name {
			return nil, errMalformedXML("")
		}
	}
	var tags []tracker.Field
	for {
		t, err := s.nextElement()
		switch {
		case err != nil:
			return nil, err
		case t.kind == xmlEnd:
			if t, err = s.nextElement(); err != nil || t.kind != xmlEnd {
				return nil, errMalformedXML("")
			}
			if t, err = s.next(); err != nil || t.kind != xmlEOF {
				return nil, errMalformedXML("")
			}
			return checkTags(tags)
		case t.name != "Tag":
			return nil, errMalformedXML("")
		case len(tags) == gateway.MaxObjectTags:
			return nil, errManyTags()
		}
		f, err := s.tag()
		if err != nil {
			return nil, err
		}
		tags = append(tags, f)
	}
}

// tag reads one Tag, whose start was read: a Key and a Value, once each.
func (s *xmlScanner) tag() (f tracker.Field, err error) {
	var key, value bool
	for {
		t, err := s.nextElement()
		if err != nil {
			return f, err
		}
		if t.kind == xmlEnd {
			if !key || !value {
				return f, errMalformedXML("")
			}
			return f, nil
		}
		text, err := s.content()
		switch {
		case err != nil:
			return f, err
		case t.name == "Key" && !key:
			f.Name, key = text, true
		case t.name == "Value" && !value:
			f.Value, value = text, true
		default:
			return f, errMalformedXML("")
		}
	}
}

// parseTagHeader parses x-amz-tagging: tags as the parameters of a query.
func parseTagHeader(v string) ([]tracker.Field, error) {
	var tags []tracker.Field
	for rest := v; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || slices.ContainsFunc(tags, func(f tracker.Field) bool { return f.Name == name }) {
			return nil, errArgument("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.", "x-amz-tagging", v)
		}
		if len(tags) == gateway.MaxObjectTags {
			return nil, errManyTags()
		}
		tags = append(tags, tracker.Field{Name: name, Value: value})
	}
	return checkTags(tags)
}

// checkTags checks the tags of an object and sorts them by key.
func checkTags(tags []tracker.Field) ([]tracker.Field, error) {
	for i := range tags {
		f := &tags[i]
		switch {
		case f.Name == "" || !goodTag(f.Name, gateway.MaxTagKey):
			return nil, errTag("The TagKey you have provided is invalid", f)
		case len(f.Name) >= 4 && strings.EqualFold(f.Name[:4], "aws:"):
			return nil, errTag("System tags cannot be added/updated by requester", f)
		case !goodTag(f.Value, gateway.MaxTagValue):
			return nil, errTag("The TagValue you have provided is invalid", f)
		}
	}
	slices.SortFunc(tags, func(a, b tracker.Field) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(tags); i++ {
		if tags[i].Name == tags[i-1].Name {
			return nil, errTag("Cannot provide multiple Tags with the same key", &tags[i])
		}
	}
	return tags, nil
}

// goodTag reports whether a key or a value is of the characters that S3 takes
// (letters, digits and spaces of any script, and _.:/=+-@), and of at most max
// of them, counted in UTF-16 as S3 does (User Guide, "Categorizing your
// storage using tags").
func goodTag(s string, max int) bool {
	if !utf8.ValidString(s) {
		return false
	}
	n := 0
	for _, r := range s {
		if n++; r > 0xFFFF {
			n++
		}
		if !strings.ContainsRune("_.:/=+-@", r) && !unicode.In(r, unicode.L, unicode.N, unicode.M, unicode.Z) {
			return false
		}
	}
	return n <= max
}

func errManyTags() error {
	return s3err.BadRequest.New("Object tags cannot be greater than 10")
}

func errTag(message string, f *tracker.Field) error {
	return s3err.InvalidTag.New(message, "TagKey", clip(f.Name), "TagValue", clip(f.Value))
}

// clip shortens what is shown of a client's text.
func clip(s string) string {
	if len(s) <= 256 {
		return s
	}
	return strings.ToValidUTF8(s[:256], "")
}
