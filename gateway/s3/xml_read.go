package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"

	"holdfast/gateway/s3err"
)

// readDocument reads the whole body of at most limit bytes through the one
// body reader, so that signature, length and checksums hold before a byte of
// it is used. An empty body is an empty document.
func (c *call) readDocument(limit int64) ([]byte, error) {
	if c.r.ContentLength == 0 && !c.auth.Payload.Framed() {
		if c.r.Body == nil {
			return nil, nil
		}
	}
	body, err := c.openDocument(limit)
	if err != nil {
		return nil, documentError(err)
	}
	defer body.close()
	var buf bytes.Buffer // grows with what comes
	if body.length > 0 {
		buf.Grow(int(min(body.length, firstPiece)) + bytes.MinRead)
	}
	if _, err = buf.ReadFrom(body); err != nil {
		return nil, documentError(err)
	}
	return buf.Bytes(), nil
}

// documentError names a document that is too large as S3 does.
func documentError(err error) error {
	if e := s3err.From(err); e.Code == s3err.EntityTooLarge {
		return s3err.MaxMessageLengthExceeded.New("")
	}
	return err
}

// readXML reads a body of at most limit bytes and parses it into what into
// points at. The root's name is the one that the type's XMLName has.
func (c *call) readXML(limit int64, into any) error {
	doc, err := c.readDocument(limit)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(doc)) == 0 {
		return s3err.MissingRequestBody
	}
	return parseXML(doc, into)
}

// distinctChildren refuses a document whose root has two children of a name:
// the decoder would take the last and forget the others.
func distinctChildren(doc []byte) error {
	s, err := newXMLScanner(doc)
	if err != nil {
		return err
	}
	for depth := 0; ; {
		t, err := s.next()
		switch {
		case err != nil:
			return err
		case t.kind == xmlEOF:
			return nil
		case t.kind == xmlEnd:
			depth--
		case t.kind == xmlStart:
			if depth++; depth == 2 && !s.once(t.name) {
				return errMalformedXML("")
			}
		}
	}
}

// parseXML parses one document. Anything after its root is an error, and so
// is a document type, which could define entities, and a child of the root
// that comes twice.
func parseXML(doc []byte, into any) error {
	if err := distinctChildren(doc); err != nil {
		return err
	}
	d := xml.NewDecoder(bytes.NewReader(doc))
	if err := d.Decode(into); err != nil {
		return errMalformedXML("")
	}
	for {
		t, err := d.RawToken()
		switch t := t.(type) {
		case xml.Comment, xml.ProcInst:
			continue
		case xml.CharData:
			if len(bytes.TrimSpace(t)) == 0 {
				continue
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return errMalformedXML("")
	}
}
