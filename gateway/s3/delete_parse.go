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
	quiet   bool
}

// parseDelete parses the document of DeleteObjects. It takes 1 to 1,000 keys.
func parseDelete(doc []byte) (*deleteRequest, error) {
	s, err := newXMLScanner(doc)
	if err != nil {
		return nil, err
	}
	r := &deleteRequest{}
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
			e, err := s.deleteEntry()
			if err != nil {
				return nil, err
			}
			r.entries = append(r.entries, e)
		case t.name == "Quiet":
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

// deleteEntry reads one Object, whose start was read.
func (s *xmlScanner) deleteEntry() (e tracker.DeleteEntry, err error) {
	keyed := false
	for {
		t, err := s.nextElement()
		if err != nil {
			return e, err
		}
		if t.kind == xmlEnd {
			if !keyed {
				return e, errMalformedXML("")
			}
			return e, nil
		}
		v, err := s.content()
		if err != nil {
			return e, err
		}
		trimmed, ok := strings.TrimSpace(v), true
		switch t.name {
		case "Key":
			ok = !keyed && v != ""
			e.Key, keyed = v, true
		case "VersionId":
			e.Version = trimmed
		case "ETag":
			e.IfMatch = []string{strings.Trim(trimmed, `"`)}
		case "Size":
			var n int64
			n, err = strconv.ParseInt(trimmed, 10, 64)
			e.IfSize, ok = &n, err == nil && n >= 0
		case "LastModifiedTime":
			var ms int64
			ms, ok = parseTime(trimmed)
			e.IfModifiedTime = &ms
		default:
			ok = false
		}
		if !ok {
			return e, errMalformedXML("")
		}
	}
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
