package s3

import (
	"bytes"
	"strconv"
	"strings"

	"holdfast/gateway"
	"holdfast/tracker"
)

// deleteRequest is the document of DeleteObjects.
type deleteRequest struct {
	entries []tracker.DeleteEntry
	// refused are the errors of entries that are not to be tried, by index.
	refused map[int]error
	quiet   bool
}

// parseDelete parses the document of DeleteObjects. It takes 1 to 1,000 keys.
func parseDelete(doc []byte) (*deleteRequest, error) {
	s, err := newXMLScanner(doc)
	if err != nil {
		return nil, err
	}
	r, quieted := &deleteRequest{}, false
	if t, err := s.nextElement(); err != nil || t.kind != xmlStart || t.name != "Delete" {
		return nil, errMalformedXML("")
	}
	for {
		t, err := s.nextElement()
		switch {
		case err != nil:
			return nil, err
		case t.kind == xmlEnd:
			if t, err = s.next(); err != nil || t.kind != xmlEOF || len(r.entries) == 0 {
				return nil, errMalformedXML("")
			}
			return r, nil
		case t.name == "Object" && len(r.entries) < gateway.MaxDeleteKeys:
			if err := s.deleteEntry(r); err != nil {
				return nil, err
			}
		case t.name == "Quiet" && !quieted:
			quieted = true
			v, err := s.content()
			if err != nil {
				return nil, err
			}
			if r.quiet, err = strconv.ParseBool(strings.TrimSpace(v)); err != nil {
				return nil, errMalformedXML("")
			}
		default:
			return nil, errMalformedXML("")
		}
	}
}

// deleteEntry reads one Object, whose start was read, into r. An empty
// VersionId is no version that there is, as S3 has it, rather than none: the
// current object would be deleted where a version was meant.
func (s *xmlScanner) deleteEntry(r *deleteRequest) error {
	var e tracker.DeleteEntry
	s.begin()
	for {
		t, err := s.nextElement()
		if err != nil {
			return err
		}
		if t.kind == xmlEnd {
			if e.Key == "" {
				return errMalformedXML("")
			}
			r.entries = append(r.entries, e)
			return nil
		}
		v, err := s.content()
		if err != nil {
			return err
		}
		trimmed, ok := strings.TrimSpace(v), s.once(t.name)
		switch t.name {
		case "Key":
			e.Key = v
		case "VersionId":
			if e.Version = trimmed; trimmed == "" {
				r.refuse(len(r.entries), tracker.ErrNoSuchVersion)
			}
		case "ETag":
			e.IfMatch = []string{strings.Trim(trimmed, `"`)}
		case "Size":
			var n int64
			n, err = strconv.ParseInt(trimmed, 10, 64)
			e.IfSize, ok = &n, ok && err == nil && n >= 0
		case "LastModifiedTime":
			ms, good := parseTime(trimmed)
			e.IfModifiedTime, ok = &ms, ok && good
		default:
			ok = false
		}
		if !ok {
			return errMalformedXML("")
		}
	}
}

func (r *deleteRequest) refuse(i int, err error) {
	if r.refused == nil {
		r.refused = map[int]error{}
	}
	r.refused[i] = err
}

// nextElement returns the next start or end of an element; between them there
// may be nothing but white space.
func (s *xmlScanner) nextElement() (xmlToken, error) {
	for {
		t, err := s.next()
		if err != nil || t.kind == xmlStart || t.kind == xmlEnd {
			return t, err
		}
		if t.kind == xmlEOF || len(bytes.TrimSpace(t.text)) > 0 {
			return t, errMalformedXML("")
		}
	}
}

// content returns the text of an element whose start was read, and reads its
// end. Elements within are an error.
func (s *xmlScanner) content() (string, error) {
	var text string
	for {
		t, err := s.next()
		switch {
		case err != nil:
			return "", err
		case t.kind == xmlEnd:
			return text, nil
		case t.kind != xmlText:
			return "", errMalformedXML("")
		case text == "":
			text = string(t.text)
		default:
			text += string(t.text)
		}
	}
}
