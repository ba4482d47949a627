package postpolicy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/auth"
	"holdfast/auth/sigv4"
)

// Names of form fields, lowercase as in the maps that this package takes.
const (
	fieldPolicy     = "policy"
	fieldAlgorithm  = "x-amz-algorithm"
	fieldCredential = "x-amz-credential"
	fieldDate       = "x-amz-date"
	fieldSignature  = "x-amz-signature"
	fieldToken      = "x-amz-security-token"
)

// exempt reports whether a form field needs no condition.
func exempt(field string) bool {
	switch field {
	case fieldPolicy, fieldSignature, "file", "signature", "awsaccesskeyid":
		return true
	}
	return strings.HasPrefix(field, "x-ignore-")
}

// Check decides whether the form satisfies the policy at the time now. fields
// are the form's fields by lowercase name, without the file's bytes; the caller
// has expanded ${filename} in key and set "bucket" to the bucket of the
// request. Every condition must hold, a missing field being an empty one, and
// every field must be named by a condition. The file's length is not looked at:
// see LengthRange. Its errors are auth.ErrPolicyExpired and *auth.PolicyError.
func (p *Policy) Check(now time.Time, fields map[string]string) error {
	if !now.Before(p.expiration) {
		return fmt.Errorf("at %s: %w", p.expiration.UTC().Format(time.RFC3339), auth.ErrPolicyExpired)
	}
	covered := make(map[string]bool, len(p.conditions))
	for _, c := range p.conditions {
		if !c.holds(fields[c.field]) {
			return &auth.PolicyError{Reason: "Invalid according to Policy: Policy Condition failed: " + c.text()}
		}
		covered[c.field] = true
	}
	var extra []string
	for name := range fields {
		if !covered[name] && !exempt(name) {
			extra = append(extra, name)
		}
	}
	if extra == nil {
		return nil
	}
	slices.Sort(extra)
	return &auth.PolicyError{Reason: "Invalid according to Policy: Extra input fields: " + strings.Join(extra, ", ")}
}

// holds reports whether a value satisfies the condition. A Content-Type with
// commas is a list under starts-with, each element of which has to match.
func (c condition) holds(value string) bool {
	if c.op == equal {
		return value == c.value
	}
	if c.field != "content-type" || !strings.Contains(value, ",") {
		return strings.HasPrefix(value, c.value)
	}
	for part := range strings.SplitSeq(value, ",") {
		if !strings.HasPrefix(strings.TrimSpace(part), c.value) {
			return false
		}
	}
	return true
}

// Signed reports whether the form claims to be signed: a form with neither
// policy nor signature is one of the anonymous caller.
func Signed(fields map[string]string) bool {
	for _, name := range []string{fieldPolicy, fieldSignature, fieldCredential, "signature", "awsaccesskeyid"} {
		if _, ok := fields[name]; ok {
			return true
		}
	}
	return false
}

// VerifySignature verifies who signed the form's policy. Its errors wrap
// auth.ErrPostMissingField, ErrUnsupportedSignature (version 2), ErrInvalidToken
// and those of Verifier.VerifyPost. It does not look into the policy: Parse and
// Check do.
func VerifySignature(ctx context.Context, v *sigv4.Verifier, fields map[string]string) (auth.Identity, error) {
	if fields[fieldSignature] == "" && (fields["signature"] != "" || fields["awsaccesskeyid"] != "") {
		return auth.Identity{}, fmt.Errorf("signature version 2: %w", auth.ErrUnsupportedSignature)
	}
	for _, name := range []string{fieldPolicy, fieldAlgorithm, fieldCredential, fieldDate, fieldSignature} {
		if fields[name] == "" {
			return auth.Identity{}, fmt.Errorf("the form must contain a field named %q: %w", name, auth.ErrPostMissingField)
		}
	}
	if fields[fieldAlgorithm] != sigv4.Algorithm {
		return auth.Identity{}, fmt.Errorf("%s %.32q: %w", fieldAlgorithm, fields[fieldAlgorithm], auth.ErrUnsupportedSignature)
	}
	if fields[fieldToken] != "" {
		return auth.Identity{}, auth.ErrInvalidToken
	}
	return v.VerifyPost(ctx, fields[fieldPolicy], fields[fieldCredential], fields[fieldDate], fields[fieldSignature])
}

// ExpandFilename replaces ${filename} in a key by the name of the uploaded
// file, of which only what follows the last slash or backslash counts, since
// some browsers send a path.
func ExpandFilename(key, filename string) string {
	if i := strings.LastIndexAny(filename, `/\`); i >= 0 {
		filename = filename[i+1:]
	}
	return strings.ReplaceAll(key, "${filename}", filename)
}
