package s3err

import (
	"strconv"
	"unicode/utf8"
)

// Field is an element of an error document beside Code and Message.
type Field struct{ Name, Value string }

// Error is an error as a client sees it.
type Error struct {
	Code    Code
	Message string
	Status  int // HTTP
	Fields  []Field
	cause   error
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Unwrap returns what the error was made from, nil if it began as this.
func (e *Error) Unwrap() error { return e.cause }

// AppendXML appends the error document to b. resource is the path that was
// asked for, as sent.
func (e *Error) AppendXML(b []byte, resource, requestID, hostID string) []byte {
	b = append(b, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Error>"...)
	b = appendElement(b, "Code", string(e.Code))
	b = appendElement(b, "Message", e.Message)
	for _, f := range e.Fields {
		b = appendElement(b, f.Name, f.Value)
	}
	b = appendElement(b, "Resource", resource)
	b = appendElement(b, "RequestId", requestID)
	b = appendElement(b, "HostId", hostID)
	return append(b, "</Error>"...)
}

func appendElement(b []byte, name, value string) []byte {
	b = append(append(append(b, '<'), name...), '>')
	b = AppendText(b, value)
	return append(append(append(b, "</"...), name...), '>')
}

// AppendText appends s as XML text. Characters that XML 1.0 cannot carry become
// numeric references, as S3 does: a strict parser then fails rather than read
// another key. Bytes that are not UTF-8 become U+FFFD.
func AppendText(b []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf && plain[c] {
			i++
			continue
		}
		size := 1
		esc := ""
		switch {
		case c == '&':
			esc = "&amp;"
		case c == '<':
			esc = "&lt;"
		case c == '>':
			esc = "&gt;"
		case c == '"':
			esc = "&quot;"
		case c < utf8.RuneSelf:
			esc = "&#x" + strconv.FormatUint(uint64(c), 16) + ";"
		default:
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				esc = "\uFFFD"
			case r == 0xfffe || r == 0xffff:
				esc = "&#x" + strconv.FormatUint(uint64(r), 16) + ";"
			}
		}
		if esc != "" {
			b = append(append(b, s[from:i]...), esc...)
			from = i + size
		}
		i += size
	}
	return append(b, s[from:]...)
}

// plain are the ASCII characters that stand for themselves in XML text.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '&' && c != '<' && c != '>' && c != '"'
	}
	t['\t'], t['\n'] = true, true
	return t
}()
