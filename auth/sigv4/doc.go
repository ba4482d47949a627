// Package sigv4 verifies and makes AWS Signature Version 4 for S3: the
// Authorization header, presigned URLs, and the bodies that go with them
// (whole-body SHA-256, aws-chunked with or without chunk signatures and
// trailers). It is also the one entry of authentication: presigned URLs of
// version 2 are handed on to auth/sigv2.
//
// It is pure: no listener, no disk, no goroutine. It never logs. Of net/http it
// uses the request and header types only. A Verifier sees the request as it
// came from the wire, before anything rewrote its path, query or Host.
//
// The rules are those of the Amazon S3 API Reference, "Authenticating Requests
// (AWS Signature Version 4)": sig-v4-header-based-auth, sigv4-query-string-auth,
// sigv4-streaming and sigv4-streaming-trailers.
package sigv4
