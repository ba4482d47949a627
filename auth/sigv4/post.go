package sigv4

import (
	"context"
	"crypto/subtle"
	"fmt"

	"holdfast/auth"
)

// VerifyPost verifies the signature of a browser form: the HMAC of the policy
// as it was sent, still in base64. credential, date and signature are the form
// fields x-amz-credential, x-amz-date and x-amz-signature. Its errors wrap
// ErrPostMalformed, ErrRegion, ErrUnknownAccessKey and ErrSignatureMismatch.
// How long a form is valid says its policy alone.
func (v *Verifier) VerifyPost(ctx context.Context, policy, credential, date, signatureText string) (auth.Identity, error) {
	c, err := parseCredential(credential, auth.ErrPostMalformed)
	if err != nil {
		return auth.Identity{}, err
	}
	if _, ok := parseISO(date); !ok || date[:len(dateLayout)] != c.date {
		return auth.Identity{}, fmt.Errorf("x-amz-date %.32q is not of the credential's day: %w", date, auth.ErrPostMalformed)
	}
	if err = v.checkRegion(c.region, false); err != nil {
		return auth.Identity{}, err
	}
	key, id, err := v.SigningKey(ctx, c.accessKey, c.date, c.region)
	if err != nil {
		return auth.Identity{}, err
	}
	sig := signature(&key, []byte(policy))
	if subtle.ConstantTimeCompare(sig[:], []byte(signatureText)) != 1 {
		return auth.Identity{}, &auth.SignatureError{AccessKey: c.accessKey, Provided: signatureText, StringToSign: policy}
	}
	return id, nil
}

// SignPost returns the signature of a form: that of its policy in base64, under
// the key of date (YYYYMMDD). The policy has to contain the conditions of
// x-amz-algorithm, x-amz-credential and x-amz-date that the form will carry.
func (s *Signer) SignPost(policy, date string) string {
	key := s.key(date)
	sig := signature(&key, []byte(policy))
	return string(sig[:])
}
