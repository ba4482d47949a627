package route

import (
	"net/http"
	"slices"
	"strings"

	"holdfast/gateway"
)

// neutral are the x-amz-* headers that every operation takes: they belong to
// signing, to transfer, to the SDK or to the account, and handlers that need
// them read them.
var neutral = set("X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token", "X-Amz-User-Agent", "X-Amz-Decoded-Content-Length",
	"X-Amz-Trailer", "X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Expected-Bucket-Owner", "X-Amz-Request-Payer", "X-Amz-Te",
	"X-Amz-Cf-Id", "X-Amz-Id-2", "X-Amz-Request-Id", "X-Amz-Invocation-Id", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Expires",
	"X-Amz-Signedheaders", "X-Amz-Signature", "X-Amz-Region-Set", "X-Amz-S3session-Token")

// unbuilt are the headers of the model that change the meaning of a request
// and have no implementation. Where values are named, these ask for what holds
// anyway and are honoured so; an empty header asks for nothing.
var unbuilt = map[string][]string{
	"X-Amz-Acl":                                                   {"private", "bucket-owner-full-control"},
	"X-Amz-Bucket-Namespace":                                      {"global"},
	"X-Amz-Bucket-Object-Lock-Enabled":                            {"false"},
	"X-Amz-Bypass-Governance-Retention":                           {"true", "false"},
	"X-Amz-Object-Annotation-Directive":                           {"COPY", "EXCLUDE"},
	"X-Amz-Object-Lock-Legal-Hold":                                {"OFF"},
	"X-Amz-Object-Ownership":                                      {"BucketOwnerEnforced"},
	"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled":             {"false"},
	"X-Amz-Grant-Full-Control":                                    nil,
	"X-Amz-Grant-Read":                                            nil,
	"X-Amz-Grant-Read-Acp":                                        nil,
	"X-Amz-Grant-Write":                                           nil,
	"X-Amz-Grant-Write-Acp":                                       nil,
	"X-Amz-Mfa":                                                   nil,
	"X-Amz-Object-Lock-Event-Hold":                                nil,
	"X-Amz-Object-Lock-Event-Hold-Duration-Days":                  nil,
	"X-Amz-Object-Lock-Event-Hold-Duration-Years":                 nil,
	"X-Amz-Object-Lock-Mode":                                      nil,
	"X-Amz-Object-Lock-Retain-Until-Date":                         nil,
	"X-Amz-Server-Side-Encryption":                                nil,
	"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id":                 nil,
	"X-Amz-Server-Side-Encryption-Context":                        nil,
	"X-Amz-Server-Side-Encryption-Customer-Algorithm":             nil,
	"X-Amz-Server-Side-Encryption-Customer-Key":                   nil,
	"X-Amz-Server-Side-Encryption-Customer-Key-Md5":               nil,
	"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm": nil,
	"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key":       nil,
	"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key-Md5":   nil,
	"X-Amz-Write-Offset-Bytes":                                    nil,
}

// choices are all the values that S3 knows for some headers of unbuilt; any
// other is a mistake of the client rather than something not built.
var choices = map[string][]string{
	"X-Amz-Acl": {"private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read",
		"bucket-owner-full-control", "log-delivery-write"},
	"X-Amz-Bucket-Namespace":                          {"global", "account-regional"},
	"X-Amz-Bucket-Object-Lock-Enabled":                {"true", "false"},
	"X-Amz-Bypass-Governance-Retention":               {"true", "false"},
	"X-Amz-Object-Annotation-Directive":               {"COPY", "EXCLUDE"},
	"X-Amz-Object-Lock-Legal-Hold":                    {"ON", "OFF"},
	"X-Amz-Object-Ownership":                          {"BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"},
	"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": {"true", "false"},
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// CheckHeaders refuses headers that change the meaning of a request and are
// not honoured by the operation, wherever they stand, and headers that are
// together over 16 KiB. It returns nil or a *Refusal.
func (o *Operation) CheckHeaders(h http.Header, q Query) error {
	total := 0
	for name, values := range h {
		for _, v := range values {
			total += len(name) + len(v) + 4
		}
		if len(name) < 4 {
			continue
		}
		if name[0] == 'X' || name[0] == 'I' || name[0] == 'C' {
			if r := o.checkHeader(name, values); r != nil {
				return r
			}
		}
	}
	if total > gateway.MaxHeaderBytes {
		return &Refusal{Reason: HeadersTooLarge, Name: "all"}
	}
	for i := range q {
		if isAmz(q[i].Key) {
			if r := o.checkHeader(http.CanonicalHeaderKey(q[i].Key), []string{q[i].Value}); r != nil {
				return r
			}
		}
	}
	return nil
}

func (o *Operation) checkHeader(name string, values []string) *Refusal {
	switch {
	case strings.HasPrefix(name, "X-Amz-"):
	case strings.HasPrefix(name, "If-"), name == "Content-Range":
		// Conditions on a write must be honoured; a read without them is
		// still a right answer.
		if o.Write() && !o.headers[name] {
			return &Refusal{Reason: HeaderNotBuilt, Name: name}
		}
		return nil
	default:
		return nil
	}
	if neutral[name] {
		return nil
	}
	held, known := unbuilt[name]
	switch {
	case known:
		return checkHeld(name, values, held)
	case o.headers[name] || !o.Write():
		return nil
	case strings.HasPrefix(name, "X-Amz-Meta-"):
		if o.Meta {
			return nil
		}
	case strings.HasPrefix(name, "X-Amz-Cf-"):
		return nil
	}
	return &Refusal{Reason: HeaderNotBuilt, Name: name}
}

// checkHeld accepts values that ask for what holds anyway.
func checkHeld(name string, values, held []string) *Refusal {
	for _, v := range values {
		switch {
		case v == "" || slices.Contains(held, v):
		case slices.ContainsFunc(held, func(s string) bool { return strings.EqualFold(s, v) && (s == "false" || s == "true") }):
		case choices[name] != nil && !slices.Contains(choices[name], v):
			return &Refusal{Reason: BadHeader, Name: name, Value: v}
		default:
			return &Refusal{Reason: HeaderNotBuilt, Name: name}
		}
	}
	return nil
}
