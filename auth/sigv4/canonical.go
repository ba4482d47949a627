package sigv4

import (
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// scratch holds the buffers of one verification.
type scratch struct {
	buf    []byte  // canonical request
	sts    []byte  // string to sign
	enc    []byte  // encoded query
	name   []byte  // canonical MIME name for look-ups
	params []param // pairs in enc
}

// maxKept bounds the buffers that go back to the pool, in bytes.
const maxKept = 64 << 10

type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) get() *scratch {
	if s, _ := p.pool.Get().(*scratch); s != nil {
		return s
	}
	return &scratch{buf: make([]byte, 0, 1024), sts: make([]byte, 0, 256), enc: make([]byte, 0, 512), name: make([]byte, 0, 64)}
}

func (p *scratchPool) put(s *scratch) {
	if cap(s.buf)+cap(s.enc)+cap(s.name) <= maxKept && cap(s.params) <= 1024 {
		p.pool.Put(s)
	}
}

// canonical leaves the canonical request in s.buf. signedHeaders is the list
// as the client gave it, lowercase names joined by ';'.
func (s *scratch) canonical(r *http.Request, signedHeaders, payloadHash string, presigned bool) error {
	s.buf = append(s.buf[:0], r.Method...)
	s.buf = append(s.buf, '\n')
	s.buf = appendPath(s.buf, r.URL.Path)
	s.buf = append(s.buf, '\n')
	if r.URL.RawQuery != "" {
		if err := s.appendQuery(r.URL.RawQuery, presigned); err != nil {
			return err
		}
	}
	s.buf = append(s.buf, '\n')
	for rest := signedHeaders; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, ";")
		s.buf = append(s.buf, name...)
		s.buf = append(s.buf, ':')
		s.appendHeader(r, name)
		s.buf = append(s.buf, '\n')
	}
	s.buf = append(s.buf, '\n')
	s.buf = append(s.buf, signedHeaders...)
	s.buf = append(s.buf, '\n')
	s.buf = append(s.buf, payloadHash...)
	return nil
}

// appendHeader appends the canonical value of one header. Some headers are
// moved out of the map by net/http and are taken from where they went. A
// header that is not there has an empty value, which matches no signature made
// over a real one.
func (s *scratch) appendHeader(r *http.Request, name string) {
	if name == "host" {
		if r.Host == "" && r.URL.Host != "" {
			s.appendValue(r.URL.Host) // a client's request
			return
		}
		s.appendValue(r.Host)
		return
	}
	values := s.lookup(r.Header, name)
	if len(values) == 0 {
		switch name {
		case "content-length":
			if r.ContentLength >= 0 {
				s.buf = strconv.AppendInt(s.buf, r.ContentLength, 10)
			}
		case "transfer-encoding":
			s.buf = append(s.buf, strings.Join(r.TransferEncoding, ",")...)
		case "expect":
			s.buf = append(s.buf, "100-continue"...)
		}
		return
	}
	for i, v := range values {
		if i > 0 {
			s.buf = append(s.buf, ',')
		}
		s.appendValue(v)
	}
}

// appendValue appends v without outer white space and with each run of spaces
// as one space.
func (s *scratch) appendValue(v string) {
	v = strings.Trim(v, " \t")
	space := false
	for i := 0; i < len(v); i++ {
		if v[i] == ' ' {
			if !space {
				s.buf = append(s.buf, ' ')
			}
			space = true
			continue
		}
		space = false
		s.buf = append(s.buf, v[i])
	}
}

// lookup finds a header by its lowercase name without allocating.
func (s *scratch) lookup(h http.Header, name string) []string {
	s.name = s.name[:0]
	upper := true
	for i := 0; i < len(name); i++ {
		c := name[i]
		if upper && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper = c == '-'
		s.name = append(s.name, c)
	}
	return h[string(s.name)]
}

// stringToSign leaves the string to sign of s.buf in s.sts.
func (s *scratch) stringToSign(timestamp, scope string) {
	sum := sha256.Sum256(s.buf)
	s.sts = append(s.sts[:0], Algorithm+"\n"...)
	s.sts = append(s.sts, timestamp...)
	s.sts = append(s.sts, '\n')
	s.sts = append(s.sts, scope...)
	s.sts = append(s.sts, '\n')
	s.sts = appendHex(s.sts, sum[:])
}
