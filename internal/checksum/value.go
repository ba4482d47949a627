package checksum

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// MaxParts bounds the number in a composite value.
const MaxParts = 10000

// Encode returns the base64 text of a digest.
func Encode(sum []byte) string { return base64.StdEncoding.EncodeToString(sum) }

// EncodeComposite returns the text of a composite value of so many parts.
func EncodeComposite(sum []byte, parts int) string { return Encode(sum) + "-" + strconv.Itoa(parts) }

// Decode parses the base64 text of a digest of a. Its error wraps ErrValue.
func Decode(a Algorithm, text string) ([]byte, error) {
	size := a.Size()
	if size == 0 || len(text) != base64.StdEncoding.EncodedLen(size) || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%v %.100q: %w", a, text, ErrValue)
	}
	sum, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(sum) != size {
		return nil, fmt.Errorf("%v %.100q: %w", a, text, ErrValue)
	}
	return sum, nil
}

// DecodeComposite parses a value that may carry the number of parts ("AAAA-3").
// parts is 0 when it does not. Its error wraps ErrValue.
func DecodeComposite(a Algorithm, text string) (sum []byte, parts int, err error) {
	plain, number, composite := strings.Cut(text, "-")
	if composite {
		parts, err = strconv.Atoi(number)
		if err != nil || parts < 1 || parts > MaxParts || strconv.Itoa(parts) != number {
			return nil, 0, fmt.Errorf("%v %.100q: %w", a, text, ErrValue)
		}
	}
	sum, err = Decode(a, plain)
	return sum, parts, err
}
