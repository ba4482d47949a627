package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"holdfast/gateway"
	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// completePart is a Part of the body of CompleteMultipartUpload.
type completePart struct {
	PartNumber int
	ETag       string
	checksumXML
}

// parseComplete parses the document of CompleteMultipartUpload, which lists 1
// to 10,000 parts.
func parseComplete(doc []byte) ([]completePart, error) {
	s, err := newXMLScanner(doc)
	if err != nil {
		return nil, err
	}
	if t, err := s.nextElement(); err != nil || t.kind != xmlStart || t.name != "CompleteMultipartUpload" {
		return nil, errMalformedXML("")
	}
	var parts []completePart
	for {
		t, err := s.nextElement()
		switch {
		case err != nil:
			return nil, err
		case t.kind == xmlEnd:
			if t, err = s.next(); err != nil || t.kind != xmlEOF || len(parts) == 0 {
				return nil, errMalformedXML("")
			}
			return parts, nil
		case t.name != "Part" || len(parts) == gateway.MaxParts:
			return nil, errMalformedXML("")
		}
		parts = append(parts, completePart{PartNumber: -1})
		if err := s.completePart(&parts[len(parts)-1]); err != nil {
			return nil, err
		}
	}
}

// completePart reads one Part, whose start was read.
func (s *xmlScanner) completePart(p *completePart) error {
	s.begin()
	for {
		t, err := s.nextElement()
		if err != nil {
			return err
		}
		if t.kind == xmlEnd {
			if p.PartNumber < 0 || p.ETag == "" {
				return errMalformedXML("")
			}
			return nil
		}
		v, err := s.content()
		if err != nil {
			return err
		}
		v = strings.TrimSpace(v)
		switch field := p.named(t.name); {
		case !s.once(t.name):
			return errMalformedXML("")
		case t.name == "PartNumber":
			n, err := strconv.ParseUint(v, 10, 31)
			if err != nil {
				return errMalformedXML("")
			}
			p.PartNumber = int(n)
		case t.name == "ETag":
			p.ETag = v
		case field != nil:
			*field = v
		default:
			return errMalformedXML("")
		}
	}
}

// completeResult answers CompleteMultipartUpload.
type completeResult struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
	Location string
	Bucket   string
	Key      clientText
	ETag     string
	checksumXML
}

// completeMultipartUpload serves CompleteMultipartUpload. Completing again
// with the same upload id answers as the first time: the catalog keeps the
// answer, so an upload that is not open any more is no error here yet.
func completeMultipartUpload(c *call) error {
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	r := &tracker.CompleteUpload{Size: -1, MinPartSize: gateway.MinPart, Conditions: c.writeConditions()}
	if r.UploadRef, err = c.uploadRef(b); err != nil {
		return err
	}
	doc, err := c.readDocument(gateway.MaxLargeXML)
	if err != nil {
		return err
	}
	parts, err := parseComplete(doc)
	if err != nil {
		return err
	}
	up, err := c.s.deps.Catalog.GetUpload(c.r.Context(), r.UploadRef)
	if err != nil && !errors.Is(err, tracker.ErrNoSuchUpload) {
		return err
	}
	asked := checksum.None
	if up != nil {
		asked = up.Checksum.Algorithm
	}
	if r.Parts, err = completeParts(parts, asked); err != nil {
		return err
	}
	if err := c.completeHeaders(r, up); err != nil {
		return err
	}
	res, err := c.commitComplete(r)
	if err != nil {
		return err
	}
	out := &completeResult{Location: c.location(), Bucket: c.bucket, Key: textOf(c.key), ETag: quoted(res.ETag)}
	if res.Meta != nil {
		out.checksumXML = objectChecksumXML(res.Meta, len(r.Parts))
	}
	if res.VersionID != "" {
		c.w.Header()["X-Amz-Version-Id"] = []string{res.VersionID}
	}
	return c.writeXML(http.StatusOK, out)
}

// commitComplete commits the completion.
func (c *call) commitComplete(r *tracker.CompleteUpload) (res *tracker.PutResult, err error) {
	err = c.commit(func(ctx context.Context, m tracker.Mutation) (err error) {
		r.Mutation = m
		res, err = c.s.deps.Catalog.CompleteUpload(ctx, r)
		return err
	})
	switch {
	case errors.Is(err, tracker.ErrBadChecksum):
		return nil, errBadChecksum(r.Checksum.Algorithm)
	case errors.Is(err, tracker.ErrInvalid) && r.Size >= 0:
		return nil, errInvalid("The provided 'x-amz-mp-object-size' header value does not match what was computed.")
	case errors.Is(err, tracker.ErrInvalid):
		return nil, errInvalid("The checksum or the parts that you specified do not agree with the upload.")
	}
	return res, err
}

// completeParts turns the listed parts into those of the catalog's request.
// A part's checksum is taken from the element of the algorithm that the
// upload asked, or of the only one there where that is not known.
func completeParts(parts []completePart, asked checksum.Algorithm) ([]tracker.CompletePart, error) {
	out := make([]tracker.CompletePart, len(parts))
	for i := range parts {
		p := &parts[i]
		if p.PartNumber < 1 || p.PartNumber > gateway.MaxParts {
			return nil, errArgument("PartNumber must be between 1 and 10000", "PartNumber", "")
		}
		out[i] = tracker.CompletePart{Number: p.PartNumber, ETag: strings.Trim(strings.TrimSpace(p.ETag), `"`)}
		alg, text, ok := p.one(asked)
		if !ok {
			return nil, errInvalid("Only one checksum type can be specified for each part.")
		}
		if text == "" {
			continue
		}
		var err error
		if out[i].Checksum, err = checksum.Decode(alg, text); err != nil {
			return nil, errInvalid("The checksum of a part is not valid.")
		}
	}
	return out, nil
}

// completeHeaders reads what the headers say of the whole object: its
// checksum, the checksum's type and its size.
func (c *call) completeHeaders(r *tracker.CompleteUpload, up *tracker.Upload) error {
	if v := c.header("X-Amz-Mp-Object-Size"); v != "" {
		n, ok := parseDigits(v)
		if !ok || n == maxInt64 {
			return errArgument("Value for x-amz-mp-object-size header is invalid", "x-amz-mp-object-size", v)
		}
		r.Size = n
	}
	kind, err := parseType(c.header("X-Amz-Checksum-Type"))
	if err != nil {
		return err
	}
	alg, text, err := c.checksumHeader()
	if err != nil {
		return err
	}
	if err := agreeWithUpload(up, alg, kind); err != nil {
		return err
	}
	if text == "" {
		return nil
	}
	value, count, err := checksum.DecodeComposite(alg, text)
	if err != nil {
		return errInvalid("Value for " + strings.ToLower(alg.Header()) + " header is invalid.")
	}
	isComposite := count > 0
	if isComposite && count != len(r.Parts) {
		return errBadChecksum(alg)
	}
	if up != nil {
		isComposite = up.Checksum.Composite
	} else if kind != checksum.NoType {
		isComposite = kind == checksum.Composite
	}
	r.Checksum = tracker.Checksum{Algorithm: alg, Composite: isComposite, Value: value}
	return nil
}

// agreeWithUpload refuses a checksum of another algorithm or type than the
// open upload was made with. An upload that asked none has CRC64NVME of the
// whole object.
func agreeWithUpload(up *tracker.Upload, alg checksum.Algorithm, kind checksum.Type) error {
	if up == nil {
		return nil
	}
	want, isComposite := up.Checksum.Algorithm, up.Checksum.Composite
	if want == checksum.None {
		want = checksum.CRC64NVME
	}
	if alg != checksum.None && alg != want {
		return errInvalid("Checksum Type mismatch occurred, expected checksum Type: " + want.String() +
			", actual checksum Type: " + alg.String())
	}
	if kind != checksum.NoType && (kind == checksum.Composite) != isComposite {
		return errInvalid("The upload was created using the " + checksumType(isComposite) +
			" checksum mode. The complete request must use the same checksum mode.")
	}
	return nil
}

// location is the URL of the call's object, as the client named it.
func (c *call) location() string {
	scheme := "http://"
	if c.r.TLS != nil {
		scheme = "https://"
	}
	return scheme + c.r.Host + c.r.URL.EscapedPath()
}
