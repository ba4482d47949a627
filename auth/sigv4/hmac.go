package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
)

// Algorithm is the name of the one signing algorithm that is supported.
const Algorithm = "AWS4-HMAC-SHA256"

const (
	service    = "s3"
	terminator = "aws4_request"
	// emptySHA256 is the hash of no bytes, in hex.
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	isoLayout   = "20060102T150405Z"
	dateLayout  = "20060102"
)

// hmacSHA256 is HMAC-SHA256 (RFC 2104) in one shot. It is written out because
// crypto/hmac allocates two hashes per call, and most messages here are under
// 300 bytes: with the pads in one buffer on the stack nothing is allocated.
func hmacSHA256(key, msg []byte) [sha256.Size]byte {
	var pad [sha256.BlockSize]byte
	if len(key) > len(pad) {
		sum := sha256.Sum256(key)
		copy(pad[:], sum[:])
	} else {
		copy(pad[:], key)
	}
	var stack [512]byte
	for i := range pad {
		pad[i] ^= 0x36
	}
	buf := append(append(stack[:0], pad[:]...), msg...)
	inner := sha256.Sum256(buf)
	for i := range pad {
		pad[i] ^= 0x36 ^ 0x5c
	}
	buf = append(append(stack[:0], pad[:]...), inner[:]...)
	return sha256.Sum256(buf)
}

// signingKey derives the key of one day, region and the S3 service.
func signingKey(secret, date, region string) [sha256.Size]byte {
	var stack [128]byte
	k := hmacSHA256(append(append(stack[:0], "AWS4"...), secret...), []byte(date))
	k = hmacSHA256(k[:], []byte(region))
	k = hmacSHA256(k[:], []byte(service))
	return hmacSHA256(k[:], []byte(terminator))
}

// signature is the HMAC of a string to sign, in lowercase hex.
func signature(key *[sha256.Size]byte, stringToSign []byte) (sig [2 * sha256.Size]byte) {
	sum := hmacSHA256(key[:], stringToSign)
	hex.Encode(sig[:], sum[:])
	return sig
}

// appendHex appends sum in lowercase hex.
func appendHex(dst []byte, sum []byte) []byte { return hex.AppendEncode(dst, sum) }

// isSHA256Hex reports whether s is 64 hex digits.
func isSHA256Hex(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
