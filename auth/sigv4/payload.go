package sigv4

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"holdfast/auth"
)

const maxTrailers = 8

// setTime takes the time of the request from x-amz-date, or else from Date.
func (res *Result) setTime(h http.Header) error {
	if s := first(h, "X-Amz-Date"); s != "" {
		t, ok := parseISO(s)
		if !ok {
			return fmt.Errorf("x-amz-date: %w", auth.ErrMissingDate)
		}
		res.Time, res.timestamp = t, s
		return nil
	}
	t, ok := parseHTTPDate(first(h, "Date"))
	if !ok {
		return auth.ErrMissingDate
	}
	res.Time, res.timestamp = t, t.Format(isoLayout)
	return nil
}

// setPayload sets the payload mode from the value of x-amz-content-sha256 and
// what goes with it: the decoded length and the announced trailers.
func (res *Result) setPayload(value string, h http.Header) error {
	switch value {
	case "", UnsignedPayload:
		res.Payload = Unsigned
	case StreamingPayload:
		res.Payload = Chunked
	case StreamingPayloadTrailer:
		res.Payload = ChunkedTrailer
	case StreamingUnsignedTrailer:
		res.Payload = UnsignedTrailer
	default:
		if strings.HasPrefix(value, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") {
			return fmt.Errorf("signature version 4A: %w", auth.ErrUnsupportedSignature)
		}
		if !isSHA256Hex(value) {
			return auth.ErrBadContentSHA256
		}
		res.Payload, res.ContentSHA256 = Signed, value
	}
	if !res.Payload.Framed() {
		return nil
	}
	if err := res.setDecodedLength(first(h, "X-Amz-Decoded-Content-Length")); err != nil {
		return err
	}
	if !res.Payload.Trailing() {
		return nil
	}
	return res.setTrailers(h["X-Amz-Trailer"])
}

func (res *Result) setDecodedLength(s string) error {
	if s == "" {
		return auth.ErrMissingLength
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return fmt.Errorf("%.32q: %w", s, auth.ErrBadLength)
	}
	res.DecodedLength = int64(n)
	return nil
}

func (res *Result) setTrailers(values []string) error {
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "" {
				continue
			}
			if len(res.Trailers) == maxTrailers || len(name) > maxScopePart || name == trailerSignature {
				return fmt.Errorf("x-amz-trailer: %w", auth.ErrTrailerMalformed)
			}
			res.Trailers = append(res.Trailers, name)
		}
	}
	return nil
}
