package s3

import (
	"strconv"

	"holdfast/gateway"
	"holdfast/gateway/s3err"
	"holdfast/internal/checksum"
)

// Errors of object operations in S3's words.

func errArgument(message, name, value string) error {
	return s3err.InvalidArgument.New(message, "ArgumentName", name, "ArgumentValue", value)
}

func errInvalid(message string) error { return s3err.InvalidRequest.New(message) }

func errMalformedXML(message string) error { return s3err.MalformedXML.New(message) }

// errMarker answers a request for a delete marker by its version id.
func errMarker(method string) error {
	return s3err.MethodNotAllowed.New("", "Method", method, "ResourceType", "DeleteMarker")
}

func errMetadataTooLarge(size int) error {
	return s3err.MetadataTooLarge.New("", "Size", strconv.Itoa(size), "MaxSizeAllowed", strconv.Itoa(gateway.MaxUserMetadata))
}

func errTooLarge(size, max int64) error {
	return s3err.EntityTooLarge.New("", "ProposedSize", formatInt(size), "MaxSizeAllowed", formatInt(max))
}

func errTooSmall(size, min int64) error {
	return s3err.EntityTooSmall.New("", "ProposedSize", formatInt(size), "MinSizeAllowed", formatInt(min))
}

func errPrecondition(condition string) error {
	return s3err.PreconditionFailed.New("", "Condition", condition)
}

func errInvalidRange(requested string, size int64) error {
	return s3err.InvalidRange.New("", "RangeRequested", requested, "ActualObjectSize", formatInt(size))
}

func errNoPart(number, parts int) error {
	return s3err.InvalidPartNumber.New("", "PartNumberRequested", strconv.Itoa(number), "ActualPartCount", strconv.Itoa(parts))
}

func errUnknownAlgorithm() error {
	return errInvalid("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5, XXHASH64, XXHASH3, XXHASH128]")
}

func errBadChecksum(alg checksum.Algorithm) error {
	return s3err.BadDigest.New("The " + alg.String() + " you specified did not match the calculated checksum.")
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
