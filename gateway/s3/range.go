package s3

import (
	"errors"
	"strconv"
	"strings"
)

// byteRange is a run of an object's bytes.
type byteRange struct{ off, n int64 }

// errRange says that a well-formed range does not touch the object.
var errRange = errors.New("range is not satisfiable")

// parseRange reads a Range header for an object of size bytes (RFC 9110
// section 14.1.2). partial is false when the header is to be ignored: it is
// absent, malformed, of another unit, or asks for several ranges, which S3
// answers with the whole object. errRange means 416.
func parseRange(h string, size int64) (r byteRange, partial bool, err error) {
	const unit = "bytes="
	if len(h) <= len(unit) || !strings.EqualFold(h[:len(unit)], unit) {
		return r, false, nil
	}
	first, last, ok := strings.Cut(strings.Trim(h[len(unit):], " \t"), "-")
	if !ok {
		return r, false, nil
	}
	first, last = strings.Trim(first, " \t"), strings.Trim(last, " \t")
	if first == "" {
		return suffixRange(last, size)
	}
	from, ok := parseDigits(first)
	if !ok {
		return r, false, nil
	}
	to := int64(maxInt64)
	if last != "" {
		if to, ok = parseDigits(last); !ok || to < from {
			return r, false, nil
		}
	}
	if from >= size {
		return r, false, errRange
	}
	to = min(to, size-1)
	return byteRange{from, to - from + 1}, true, nil
}

// suffixRange is the last n bytes.
func suffixRange(last string, size int64) (byteRange, bool, error) {
	n, ok := parseDigits(last)
	switch {
	case !ok:
		return byteRange{}, false, nil
	case n == 0 || size == 0:
		return byteRange{}, false, errRange
	}
	n = min(n, size)
	return byteRange{size - n, n}, true, nil
}

// parseCopyRange reads x-amz-copy-source-range, which is strict: exactly
// bytes=first-last. ok is false when it is not of that form.
func parseCopyRange(h string) (r byteRange, ok bool) {
	spec, found := strings.CutPrefix(h, "bytes=")
	first, last, cut := strings.Cut(spec, "-")
	from, ok1 := parseDigits(first)
	to, ok2 := parseDigits(last)
	if !found || !cut || !ok1 || !ok2 || to < from || to == maxInt64 {
		return byteRange{}, false
	}
	return byteRange{from, to - from + 1}, true
}

const maxInt64 = 1<<63 - 1

// parseDigits reads a decimal number without sign; one too large for an int64
// is maxInt64, since as a position it means the end.
func parseDigits(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := 0; i < len(s); i++ {
		d := int64(s[i]) - '0'
		if d < 0 || d > 9 {
			return 0, false
		}
		if n > (maxInt64-d)/10 {
			n = maxInt64
			continue
		}
		if n != maxInt64 {
			n = n*10 + d
		}
	}
	return n, true
}

// contentRange formats a Content-Range header.
func contentRange(r byteRange, size int64) string {
	b := make([]byte, 0, 48)
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, r.off, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, r.off+r.n-1, 10)
	b = append(b, '/')
	return string(strconv.AppendInt(b, size, 10))
}

// unsatisfied formats the Content-Range header of a 416.
func unsatisfied(size int64) string { return "bytes */" + strconv.FormatInt(size, 10) }
