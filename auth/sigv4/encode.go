package sigv4

import (
	"slices"

	"holdfast/auth"
)

const upperHex = "0123456789ABCDEF"

// unreserved reports whether c stands for itself in a canonical path or query
// (RFC 3986, section 2.3).
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~'
}

// appendByte appends c percent-encoded unless it is unreserved.
func appendByte(dst []byte, c byte) []byte {
	if unreserved(c) {
		return append(dst, c)
	}
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

// appendPath appends the canonical form of a decoded path: every byte but the
// unreserved and '/' encoded once, nothing cleaned ("//", ".." and "." stay).
// Decoding a path as sent and encoding it again in this way is what S3 does,
// so "%2f" in a path is the same as "/".
func appendPath(dst []byte, path string) []byte {
	if path == "" {
		return append(dst, '/')
	}
	for i := 0; i < len(path); i++ {
		if c := path[i]; c == '/' {
			dst = append(dst, c)
		} else {
			dst = appendByte(dst, c)
		}
	}
	return dst
}

// appendQueryText decodes one name or value of a query as sent and appends its
// canonical form. '+' is a space, as in every form parser. It reports false
// for an invalid percent-encoding.
func appendQueryText(dst []byte, raw string) ([]byte, bool) {
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '%':
			if i+2 >= len(raw) {
				return dst, false
			}
			hi, lo := unhex(raw[i+1]), unhex(raw[i+2])
			if hi < 0 || lo < 0 {
				return dst, false
			}
			dst = appendByte(dst, byte(hi<<4|lo))
			i += 2
		case '+':
			dst = append(dst, '%', '2', '0')
		default:
			dst = appendByte(dst, c)
		}
	}
	return dst, true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// param is one name and value in scratch.enc: [from, eq) and [eq, to).
type param struct{ from, eq, to int }

// nextParam cuts the next name=value pair off a raw query. Empty pairs are
// skipped; more is false at the end.
func nextParam(raw string) (name, value, rest string, more bool) {
	for raw != "" {
		pair := raw
		rest = ""
		for i := 0; i < len(raw); i++ {
			if raw[i] == '&' {
				pair, rest = raw[:i], raw[i+1:]
				break
			}
		}
		if pair == "" {
			raw = rest
			continue
		}
		for i := 0; i < len(pair); i++ {
			if pair[i] == '=' {
				return pair[:i], pair[i+1:], rest, true
			}
		}
		return pair, "", rest, true
	}
	return "", "", "", false
}

// appendQuery appends the canonical query to s.buf: pairs encoded, sorted by
// encoded name and then by encoded value, joined by '&', each with its '='.
// In a presigned URL the signature itself is left out.
func (s *scratch) appendQuery(raw string, presigned bool) error {
	s.enc, s.params = s.enc[:0], s.params[:0]
	for {
		name, value, rest, more := nextParam(raw)
		if !more {
			break
		}
		raw = rest
		p := param{from: len(s.enc)}
		var ok1, ok2 bool
		s.enc, ok1 = appendQueryText(s.enc, name)
		p.eq = len(s.enc)
		s.enc, ok2 = appendQueryText(s.enc, value)
		p.to = len(s.enc)
		if !ok1 || !ok2 {
			return auth.ErrInvalidURI
		}
		if presigned && foldEqual(s.enc[p.from:p.eq], "x-amz-signature") {
			s.enc = s.enc[:p.from]
			continue
		}
		s.params = append(s.params, p)
	}
	if len(s.params) > 1 {
		slices.SortFunc(s.params, func(a, b param) int {
			if c := slices.Compare(s.enc[a.from:a.eq], s.enc[b.from:b.eq]); c != 0 {
				return c
			}
			return slices.Compare(s.enc[a.eq:a.to], s.enc[b.eq:b.to])
		})
	}
	for i, p := range s.params {
		if i > 0 {
			s.buf = append(s.buf, '&')
		}
		s.buf = append(s.buf, s.enc[p.from:p.eq]...)
		s.buf = append(s.buf, '=')
		s.buf = append(s.buf, s.enc[p.eq:p.to]...)
	}
	return nil
}

// foldEqual compares text with a lowercase name, ignoring ASCII case.
func foldEqual[T string | []byte](text T, lower string) bool {
	if len(text) != len(lower) {
		return false
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
