package s3

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"holdfast/gateway"
)

// urlEncoding reads encoding-type: whether keys are percent-encoded.
func (c *call) urlEncoding() (bool, error) {
	switch v := c.query.Get("encoding-type"); {
	case v == "" && !c.query.Has("encoding-type"):
		return false, nil
	case v == "url":
		return true, nil
	default:
		return false, errArgument("Invalid Encoding Method specified in Request", "encoding-type", v)
	}
}

// encodeKey percent-encodes a key as S3 does for encoding-type=url: the form
// encoding, with '/' left as it is.
func encodeKey(s string) string {
	for i := 0; i < len(s); i++ {
		if !urlPlain[s[i]] {
			return string(appendURL(make([]byte, 0, len(s)+16), s))
		}
	}
	return s
}

// appendURL appends s in the encoding of encodeKey.
func appendURL(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case urlPlain[c]:
			b = append(b, c)
		case c == ' ':
			b = append(b, '+')
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

// urlPlain are the bytes that encoding-type=url leaves as they are.
var urlPlain = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.*/") {
		t[c] = true
	}
	return t
}()

// commonPrefix returns the common prefix that key is listed under, "" if it is
// listed by itself.
func commonPrefix(key, prefix, delimiter string) string {
	if delimiter == "" || !strings.HasPrefix(key, prefix) {
		return ""
	}
	i := strings.Index(key[len(prefix):], delimiter)
	if i < 0 {
		return ""
	}
	return key[:len(prefix)+i+len(delimiter)]
}

// isCommonPrefix reports whether key is itself a common prefix of a listing.
func isCommonPrefix(key, prefix, delimiter string) bool {
	return key != "" && commonPrefix(key, prefix, delimiter) == key
}

// afterMarker says where a listing goes on after a marker. A marker within a
// common prefix passes over all of the prefix, as S3 does.
func afterMarker(marker, prefix, delimiter string) (after string, whole bool) {
	if p := commonPrefix(marker, prefix, delimiter); p != "" {
		return p, true
	}
	return marker, false
}

// Continuation tokens are base64url of: version 1 (1 byte), flags (1), the key
// to go on after, and XXH3-64 of all that seeded by the scope (8). They carry
// no secret; the sum is there so that a token that was cut, or belongs to
// another bucket, is refused rather than gives another page.
const (
	tokenVersion = 1
	tokenPrefix  = 1 // flag: pass over keys that begin with the key
	tokenSum     = 8
)

func encodeToken(scope uint64, after string, whole bool) string {
	b := make([]byte, 2, 2+len(after)+tokenSum)
	b[0] = tokenVersion
	if whole {
		b[1] = tokenPrefix
	}
	b = append(b, after...)
	b = binary.LittleEndian.AppendUint64(b, xxh3.HashSeed(b, scope))
	return base64.URLEncoding.EncodeToString(b)
}

func decodeToken(scope uint64, token string) (after string, whole, ok bool) {
	if len(token) > 4*(gateway.MaxKey+64) {
		return "", false, false
	}
	b, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(b) < 2+tokenSum || b[0] != tokenVersion || b[1] > tokenPrefix {
		return "", false, false
	}
	n := len(b) - tokenSum
	if binary.LittleEndian.Uint64(b[n:]) != xxh3.HashSeed(b[:n], scope) || !utf8.Valid(b[2:n]) {
		return "", false, false
	}
	return string(b[2:n]), b[1]&tokenPrefix != 0, true
}

// listScope is the scope of the tokens of a bucket's listings.
func listScope(bucket uint64) uint64 { return bucket ^ 0x686f6c6466617374 }
