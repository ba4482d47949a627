package s3

import (
	"crypto/subtle"
	"strings"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// askedChecksum is what a client asks to be verified of a body: Content-MD5,
// and one additional checksum by header or trailer.
type askedChecksum struct {
	algorithm checksum.Algorithm // None if none is asked
	value     []byte             // from the header; nil if it trails or was only asked for
	trailer   string             // canonical name of the trailing header, "" if none
	md5       []byte             // Content-MD5, nil if none
}

// required reports whether anything to verify was sent, for operations that
// demand it.
func (a *askedChecksum) required() bool { return a.md5 != nil || a.value != nil || a.trailer != "" }

// contentMD5 reads Content-MD5, nil if there is none.
func (c *call) contentMD5() ([]byte, error) {
	v := c.header("Content-Md5")
	if v == "" {
		return nil, nil
	}
	sum, err := checksum.Decode(checksum.MD5, v)
	if err != nil {
		return nil, auth.ErrInvalidDigest
	}
	return sum, nil
}

// askedChecksum reads Content-MD5, x-amz-checksum-*, x-amz-trailer and
// x-amz-sdk-checksum-algorithm.
func (c *call) askedChecksum() (a askedChecksum, err error) {
	if a.md5, err = c.contentMD5(); err != nil {
		return a, err
	}
	alg, text, err := c.checksumHeader()
	if err != nil {
		return a, err
	}
	if text != "" {
		v, err := checksum.Decode(alg, text)
		if err != nil {
			return a, errInvalid("Value for " + strings.ToLower(alg.Header()) + " header is invalid.")
		}
		a.algorithm, a.value = alg, v
	}
	for _, name := range c.auth.Trailers {
		alg, ok := checksum.ParseHeader(name)
		if !ok {
			continue
		}
		if a.algorithm != checksum.None {
			return a, errManyChecksums()
		}
		a.algorithm, a.trailer = alg, alg.Header()
	}
	return a, c.checkSDKAlgorithm(&a)
}

// checkSDKAlgorithm reads the algorithm that an SDK says it used. Where the
// value got lost, of a presigned request for instance, the algorithm is still
// asked for; in a header-signed request that is an error.
func (c *call) checkSDKAlgorithm(a *askedChecksum) error {
	name := c.header("X-Amz-Sdk-Checksum-Algorithm")
	if name == "" {
		return nil
	}
	alg, err := checksum.Parse(name)
	switch {
	case err != nil:
		return errUnknownAlgorithm()
	case a.algorithm == checksum.None && c.auth.Scheme == sigv4.Header && a.md5 == nil:
		return errInvalid("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	case a.algorithm == checksum.None:
		a.algorithm = alg
	case a.algorithm != alg:
		return errInvalid("Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return nil
}

// checksumHeader returns the one x-amz-checksum-* header of the request.
func (c *call) checksumHeader() (checksum.Algorithm, string, error) {
	found, text := checksum.None, ""
	take := func(alg checksum.Algorithm, v string) bool {
		if found != checksum.None && found != alg {
			return false
		}
		if found == checksum.None {
			found, text = alg, v
		}
		return true
	}
	for name, v := range c.r.Header {
		if !strings.HasPrefix(name, "X-Amz-Checksum-") || len(v) == 0 || v[0] == "" {
			continue
		}
		if alg, ok := checksum.ParseHeader(name); ok && !take(alg, v[0]) {
			return found, text, errManyChecksums()
		}
	}
	for i := range c.query {
		p := &c.query[i]
		if p.Value == "" || len(p.Key) < len("x-amz-checksum-") || p.Key[0]|0x20 != 'x' {
			continue
		}
		if alg, ok := checksum.ParseHeader(p.Key); ok && !take(alg, p.Value) {
			return found, text, errManyChecksums()
		}
	}
	return found, text, nil
}

func errManyChecksums() error {
	return errInvalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

// verify compares digests with what was promised. signed holds the trailer,
// if there is one.
func (a *askedChecksum) verify(d *digests, signed *sigv4.Body) error {
	if a.md5 != nil && subtle.ConstantTimeCompare(a.md5, d.md5[:]) != 1 {
		return &auth.DigestError{Sentinel: auth.ErrBadDigest, Algorithm: "MD5", Provided: checksum.Encode(a.md5), Computed: checksum.Encode(d.md5[:])}
	}
	want := a.value
	if a.trailer != "" {
		text := first(signed.Trailer(), a.trailer)
		var err error
		if want, err = checksum.Decode(a.algorithm, text); err != nil {
			return errInvalid("Value for " + strings.ToLower(a.algorithm.Header()) + " trailing header is invalid.")
		}
	}
	if want != nil && subtle.ConstantTimeCompare(want, d.checksum) != 1 {
		return &auth.DigestError{Sentinel: auth.ErrBadDigest, Algorithm: a.algorithm.String(), Provided: checksum.Encode(want), Computed: checksum.Encode(d.checksum)}
	}
	return nil
}

// shownChecksum returns the header, value and type of an object's checksum:
// the one the client asked for, else the CRC64NVME that is always kept. A
// composite one is shown with the number of its parts.
func shownChecksum(m *tracker.Meta, parts int) (header, value, kind string) {
	switch sum := &m.Checksum; {
	case sum.Algorithm != checksum.None && sum.Value != nil:
		value = checksum.Encode(sum.Value)
		if sum.Composite && parts > 0 {
			value = checksum.EncodeComposite(sum.Value, parts)
		}
		return sum.Algorithm.Header(), value, checksumType(sum.Composite)
	case m.HasCRC64:
		var b [8]byte
		return checksum.CRC64NVME.Header(), checksum.Encode(appendCRC64(b[:0], m.CRC64NVME)), checksumType(false)
	}
	return "", "", ""
}

// setChecksum sets the header of a part's checksum, if there is one.
func setChecksum(h map[string][]string, sum tracker.Checksum) {
	if sum.Algorithm != checksum.None && sum.Value != nil {
		h[sum.Algorithm.Header()] = []string{checksum.Encode(sum.Value)}
	}
}

// appendCRC64 appends the digest bytes of a CRC64NVME.
func appendCRC64(b []byte, v uint64) []byte {
	return append(b, byte(v>>56), byte(v>>48), byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// checksumXML are the checksum elements of S3's documents.
type checksumXML struct {
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
	ChecksumSHA512    string `xml:",omitempty"`
	ChecksumMD5       string `xml:",omitempty"`
	ChecksumXXHASH64  string `xml:",omitempty"`
	ChecksumXXHASH3   string `xml:",omitempty"`
	ChecksumXXHASH128 string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

// field returns the element of an algorithm, nil for None.
func (x *checksumXML) field(alg checksum.Algorithm) *string {
	switch alg {
	case checksum.CRC32:
		return &x.ChecksumCRC32
	case checksum.CRC32C:
		return &x.ChecksumCRC32C
	case checksum.CRC64NVME:
		return &x.ChecksumCRC64NVME
	case checksum.SHA1:
		return &x.ChecksumSHA1
	case checksum.SHA256:
		return &x.ChecksumSHA256
	case checksum.SHA512:
		return &x.ChecksumSHA512
	case checksum.MD5:
		return &x.ChecksumMD5
	case checksum.XXHash64:
		return &x.ChecksumXXHASH64
	case checksum.XXHash3:
		return &x.ChecksumXXHASH3
	case checksum.XXHash128:
		return &x.ChecksumXXHASH128
	}
	return nil
}

// named returns the element of this name, nil if there is none.
func (x *checksumXML) named(name string) *string {
	algorithm, ok := strings.CutPrefix(name, "Checksum")
	if !ok {
		return nil
	}
	for a := checksum.CRC32; a <= checksum.Last; a++ {
		if a.String() == algorithm {
			return x.field(a)
		}
	}
	return nil
}

// set sets the element of an algorithm.
func (x *checksumXML) set(alg checksum.Algorithm, value []byte) {
	if f := x.field(alg); f != nil && value != nil {
		*f = checksum.Encode(value)
	}
}

// one returns the element of the asked algorithm, or the only one where none
// was asked. ok is false when that is not clear.
func (x *checksumXML) one(asked checksum.Algorithm) (alg checksum.Algorithm, text string, ok bool) {
	if asked != checksum.None {
		return asked, *x.field(asked), true
	}
	for a := checksum.CRC32; a <= checksum.Last; a++ {
		if v := *x.field(a); v != "" {
			if text != "" {
				return alg, text, false
			}
			alg, text = a, v
		}
	}
	return alg, text, true
}

// objectChecksumXML is what shownChecksum returns, as S3's documents have it.
func objectChecksumXML(m *tracker.Meta, parts int) (x checksumXML) {
	header, value, kind := shownChecksum(m, parts)
	if alg, ok := checksum.ParseHeader(header); ok {
		*x.field(alg), x.ChecksumType = value, kind
	}
	return x
}
