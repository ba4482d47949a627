package s3

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// xmlScanner reads the small XML of S3's requests token by token, without
// allocating for what it passes over. It is stricter than a general parser in
// that it knows no document types, and wider in one thing: a numeric reference
// may name a character that XML 1.0 cannot carry, since keys may hold them and
// listings give them so.
type xmlScanner struct {
	b     []byte
	i     int
	stack []string
	end   string   // the name of an empty element whose end is due
	root  bool     // the root element was seen
	names []string // that once was told
}

// xmlToken is what the scanner found.
type xmlToken struct {
	kind xmlKind
	name string // local name of an element
	text []byte // of character data, unescaped
}

type xmlKind uint8

const (
	xmlEOF xmlKind = iota
	xmlStart
	xmlEnd
	xmlText
)

const maxXMLDepth = 32

// newXMLScanner returns a scanner of a whole document.
func newXMLScanner(doc []byte) (*xmlScanner, error) {
	doc = bytes.TrimPrefix(doc, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(doc) || !xmlCharacters(doc) {
		return nil, errMalformedXML("")
	}
	return &xmlScanner{b: doc}, nil
}

// xmlCharacters reports whether valid UTF-8 has only the characters of XML 1.0
// (section 2.2): of the control characters below the space only white space,
// and neither U+FFFE nor U+FFFF.
func xmlCharacters(doc []byte) bool {
	for _, c := range doc {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return !bytes.Contains(doc, []byte("\ufffe")) && !bytes.Contains(doc, []byte("\uffff"))
}

// begin forgets the names that once was told.
func (s *xmlScanner) begin() { s.names = s.names[:0] }

// once reports whether an element of this name comes for the first time since
// begin: of two, one would be ignored.
func (s *xmlScanner) once(name string) bool {
	if slices.Contains(s.names, name) {
		return false
	}
	s.names = append(s.names, name)
	return true
}

// next returns the next token; the last is xmlEOF. Errors are MalformedXML.
func (s *xmlScanner) next() (xmlToken, error) {
	if s.end != "" {
		t := xmlToken{kind: xmlEnd, name: s.end}
		s.end = ""
		return t, nil
	}
	for s.i < len(s.b) {
		if s.b[s.i] != '<' {
			return s.chars()
		}
		rest := s.b[s.i:]
		switch {
		case bytes.HasPrefix(rest, []byte("<?")):
			if !s.skip("?>") {
				return xmlToken{}, errMalformedXML("")
			}
		case bytes.HasPrefix(rest, []byte("<!--")):
			if s.i += 2; !s.skip("-->") {
				return xmlToken{}, errMalformedXML("")
			}
		case bytes.HasPrefix(rest, []byte("<![CDATA[")):
			return s.cdata()
		case bytes.HasPrefix(rest, []byte("</")):
			return s.endTag()
		default:
			return s.startTag()
		}
	}
	if len(s.stack) > 0 || !s.root {
		return xmlToken{}, errMalformedXML("")
	}
	return xmlToken{kind: xmlEOF}, nil
}

// skip moves behind the next occurrence of mark, two bytes on at least.
func (s *xmlScanner) skip(mark string) bool {
	n := bytes.Index(s.b[s.i+2:], []byte(mark))
	if n < 0 {
		return false
	}
	s.i += 2 + n + len(mark)
	return true
}

func (s *xmlScanner) chars() (xmlToken, error) {
	n := bytes.IndexByte(s.b[s.i:], '<')
	if n < 0 {
		n = len(s.b) - s.i
	}
	raw := s.b[s.i : s.i+n]
	s.i += n
	if len(s.stack) == 0 {
		if len(bytes.TrimSpace(raw)) > 0 {
			return xmlToken{}, errMalformedXML("")
		}
		return s.next()
	}
	text, ok := unescapeXML(raw)
	if !ok {
		return xmlToken{}, errMalformedXML("")
	}
	return xmlToken{kind: xmlText, text: text}, nil
}

func (s *xmlScanner) cdata() (xmlToken, error) {
	from := s.i + len("<![CDATA[")
	n := bytes.Index(s.b[from:], []byte("]]>"))
	if n < 0 || len(s.stack) == 0 {
		return xmlToken{}, errMalformedXML("")
	}
	s.i = from + n + len("]]>")
	return xmlToken{kind: xmlText, text: s.b[from : from+n]}, nil
}

func (s *xmlScanner) endTag() (xmlToken, error) {
	n := bytes.IndexByte(s.b[s.i:], '>')
	if n < 0 || len(s.stack) == 0 {
		return xmlToken{}, errMalformedXML("")
	}
	full := strings.TrimRight(string(s.b[s.i+2:s.i+n]), " \t\r\n")
	s.i += n + 1
	if full != s.stack[len(s.stack)-1] {
		return xmlToken{}, errMalformedXML("")
	}
	s.stack = s.stack[:len(s.stack)-1]
	return xmlToken{kind: xmlEnd, name: localName(full)}, nil
}

func (s *xmlScanner) startTag() (xmlToken, error) {
	n := 1
	for s.i+n < len(s.b) && isNameByte(s.b[s.i+n]) {
		n++
	}
	full := string(s.b[s.i+1 : s.i+n])
	s.i += n
	empty, ok := s.attributes()
	if !ok || full == "" || len(s.stack) == 0 && s.root || len(s.stack) >= maxXMLDepth {
		return xmlToken{}, errMalformedXML("")
	}
	s.root = true
	if empty {
		s.end = localName(full)
	} else {
		s.stack = append(s.stack, full)
	}
	return xmlToken{kind: xmlStart, name: localName(full)}, nil
}

// attributes passes over the attributes of a start tag and its end.
func (s *xmlScanner) attributes() (empty, ok bool) {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '>':
			s.i++
			return false, true
		case '/':
			if s.i+1 < len(s.b) && s.b[s.i+1] == '>' {
				s.i += 2
				return true, true
			}
			return false, false
		case '"', '\'':
			n := bytes.IndexByte(s.b[s.i+1:], s.b[s.i])
			if n < 0 {
				return false, false
			}
			s.i += n + 2
		case '<':
			return false, false
		default:
			s.i++
		}
	}
	return false, false
}

func isNameByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '_' || b == '-' || b == '.' || b == ':'
}

func localName(full string) string { return full[strings.IndexByte(full, ':')+1:] }

// unescapeXML resolves references and line ends. It returns raw itself where
// there is nothing to do.
func unescapeXML(raw []byte) ([]byte, bool) {
	if bytes.IndexByte(raw, '&') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return raw, true
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '\r':
			out = append(out, '\n')
			if i+1 < len(raw) && raw[i+1] == '\n' {
				i++
			}
		case '&':
			n := bytes.IndexByte(raw[i:min(len(raw), i+12)], ';')
			if n < 0 {
				return nil, false
			}
			r, ok := reference(string(raw[i+1 : i+n]))
			if !ok {
				return nil, false
			}
			out = utf8.AppendRune(out, r)
			i += n
		default:
			out = append(out, raw[i])
		}
	}
	return out, true
}

func reference(name string) (rune, bool) {
	switch name {
	case "amp":
		return '&', true
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	digits, numeric := strings.CutPrefix(name, "#")
	base := 10
	if h, hex := strings.CutPrefix(digits, "x"); hex {
		digits, base = h, 16
	}
	v, err := strconv.ParseUint(digits, base, 32)
	if !numeric || err != nil || !utf8.ValidRune(rune(v)) || v > utf8.MaxRune {
		return 0, false
	}
	return rune(v), true
}
