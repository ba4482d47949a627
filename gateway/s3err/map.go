package s3err

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"holdfast/auth"
	"holdfast/erasure"
	"holdfast/gateway"
	"holdfast/gateway/blob"
	"holdfast/gateway/route"
	"holdfast/internal/fault"
	"holdfast/storage"
	"holdfast/tracker"
)

// rule says what a sentinel becomes.
type rule struct {
	code    Code
	message string // "" is the code's usual one
	detail  bool   // the error's own text describes the request and is shown
}

// sentinels maps every sentinel of the contracts. Those that a client can do
// nothing about are listed too, so that a new one is not forgotten.
var sentinels = map[*fault.Error]rule{
	auth.ErrCredentials:           {code: InternalError},
	auth.ErrAccessDenied:          {code: AccessDenied},
	auth.ErrMissingCredentials:    {code: AccessDenied},
	auth.ErrUnknownAccessKey:      {code: InvalidAccessKeyID},
	auth.ErrInvalidToken:          {code: InvalidToken},
	auth.ErrHeaderMalformed:       {AuthHeaderMalformed, "The authorization header is malformed", true},
	auth.ErrQueryMalformed:        {AuthQueryParametersError, "Error parsing the query-string authentication parameters", true},
	auth.ErrQueryNotSigned:        {AccessDenied, "There were query parameters present in the request which were not signed", true},
	auth.ErrInvalidURI:            {code: InvalidURI},
	auth.ErrMultipleAuth:          {InvalidArgument, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified", false},
	auth.ErrUnsupportedSignature:  {InvalidRequest, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.", false},
	auth.ErrRegion:                {code: AuthHeaderMalformed},
	auth.ErrSignatureMismatch:     {code: SignatureDoesNotMatch},
	auth.ErrHeadersNotSigned:      {AccessDenied, "There were headers present in the request which were not signed", false},
	auth.ErrMissingDate:           {AccessDenied, "AWS authentication requires a valid Date or x-amz-date header", false},
	auth.ErrTimeSkewed:            {code: RequestTimeTooSkewed},
	auth.ErrExpired:               {AccessDenied, "Request has expired", false},
	auth.ErrNotYetValid:           {AccessDenied, "Request is not yet valid", false},
	auth.ErrBadExpiry:             {AuthQueryParametersError, "X-Amz-Expires must be a number of seconds from 1 to 604800", false},
	auth.ErrMissingContentSHA256:  {InvalidRequest, "Missing required header for this request: x-amz-content-sha256", false},
	auth.ErrBadContentSHA256:      {InvalidArgument, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.", false},
	auth.ErrContentSHA256Mismatch: {code: XAmzContentSHA256Mismatch},
	auth.ErrMissingLength:         {code: MissingContentLength},
	auth.ErrBadLength:             {InvalidArgument, "The x-amz-decoded-content-length header is not valid", false},
	auth.ErrIncompleteBody:        {code: IncompleteBody},
	auth.ErrBodyTooLong:           {InvalidRequest, "The request body is longer than announced.", false},
	auth.ErrChunkMalformed:        {InvalidRequest, "The aws-chunked encoding of the request body is malformed.", false},
	auth.ErrChunkSignature:        {SignatureDoesNotMatch, "The signature of a chunk does not match the signature that we calculated.", false},
	auth.ErrTrailerMalformed:      {code: MalformedTrailer},
	auth.ErrTrailerSignature:      {SignatureDoesNotMatch, "The signature of the trailer does not match the signature that we calculated.", false},
	auth.ErrInvalidDigest:         {code: InvalidDigest},
	auth.ErrBadDigest:             {code: BadDigest},
	auth.ErrPolicyMalformed:       {InvalidPolicyDocument, "Invalid Policy", true},
	auth.ErrPolicyExpired:         {AccessDenied, "Invalid according to Policy: Policy expired.", false},
	auth.ErrPolicyDenied:          {AccessDenied, "Invalid according to Policy", false},
	auth.ErrPostMissingField:      {InvalidArgument, "Bucket POST must contain the fields of its signature", true},
	auth.ErrPostMalformed:         {InvalidArgument, "A form field is malformed", true},

	tracker.ErrNoSuchBucket:    {code: NoSuchBucket},
	tracker.ErrBucketExists:    {code: BucketAlreadyExists},
	tracker.ErrBucketNotEmpty:  {code: BucketNotEmpty},
	tracker.ErrTooManyBuckets:  {code: TooManyBuckets},
	tracker.ErrNoSuchKey:       {code: NoSuchKey},
	tracker.ErrNoSuchVersion:   {code: NoSuchVersion},
	tracker.ErrDeleteMarker:    {code: NoSuchKey},
	tracker.ErrPrecondition:    {code: PreconditionFailed},
	tracker.ErrNoSuchUpload:    {code: NoSuchUpload},
	tracker.ErrInvalidPart:     {code: InvalidPart},
	tracker.ErrInvalidPartList: {code: InvalidPartOrder},
	tracker.ErrPartTooSmall:    {code: EntityTooSmall},
	tracker.ErrObjectTooLarge:  {code: EntityTooLarge},
	tracker.ErrObjectLocked:    {AccessDenied, "Access Denied because object protected by object lock.", false},
	tracker.ErrQuota:           {code: QuotaExceeded},
	tracker.ErrCatalogFull:     {code: InsufficientStorage},
	tracker.ErrFenced:          {code: ServiceUnavailable},
	tracker.ErrExpired:         {code: ServiceUnavailable},
	tracker.ErrUncertain:       {code: ServiceUnavailable},
	tracker.ErrUnavailable:     {code: ServiceUnavailable},
	tracker.ErrNotLeader:       {code: ServiceUnavailable},
	tracker.ErrHeld:            {code: ServiceUnavailable},
	tracker.ErrNoPlacement:     {code: ServiceUnavailable},
	tracker.ErrNoSuchClass:     {code: InvalidStorageClass},
	tracker.ErrWrongClass:      {code: InvalidStorageClass},
	tracker.ErrNoSuchGroup:     {code: InternalError},
	tracker.ErrPinnedElsewhere: {code: InternalError},
	tracker.ErrTooManyPolicies: {code: InternalError},
	tracker.ErrTooFewNodes:     {code: InternalError},
	tracker.ErrNoSuchNode:      {code: InternalError},
	tracker.ErrNoSuchTracker:   {code: InternalError},
	tracker.ErrForeign:         {code: InternalError},
	tracker.ErrConflict:        {code: OperationAborted},
	tracker.ErrTooLarge:        {code: MaxMessageLengthExceeded},
	tracker.ErrInvalid:         {code: InvalidRequest},
	tracker.ErrBadChecksum:     {code: BadDigest},

	storage.ErrNotHere:     {code: ServiceUnavailable},
	storage.ErrExists:      {code: InternalError},
	storage.ErrTicket:      {code: InternalError},
	storage.ErrStaleEpoch:  {code: ServiceUnavailable},
	storage.ErrNoSpace:     {code: InsufficientStorage},
	storage.ErrCorrupt:     {code: InternalError},
	storage.ErrSeal:        {code: InternalError},
	storage.ErrOffline:     {code: ServiceUnavailable},
	storage.ErrMassDisown:  {code: InternalError},
	storage.ErrIncarnation: {code: InternalError},

	erasure.ErrScheme:   {code: InternalError},
	erasure.ErrTooLarge: {code: EntityTooLarge},
	erasure.ErrLength:   {code: IncompleteBody},
	erasure.ErrTooFew:   {code: InternalError},

	blob.ErrQuorum:  {code: ServiceUnavailable},
	blob.ErrStalled: {code: ServiceUnavailable},

	route.ErrInvalidURI: {code: InvalidURI},
	route.ErrKeyTooLong: {code: KeyTooLong},
	route.ErrBadBucket:  {code: InvalidBucketName},
}

// From returns the error that a client is shown for err. It never returns nil
// for an error. An error that nobody mapped is InternalError, but that it is
// worth another try, or that a disk is full, is told by its kind.
func From(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var c Code
	if errors.As(err, &c) {
		return wrap(err, c.New(""))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return wrap(err, RequestTimeout.New(""))
	}
	if e = typed(err); e != nil {
		return wrap(err, e)
	}
	var s *fault.Error
	if errors.As(err, &s) {
		if r, ok := sentinels[s]; ok {
			return wrap(err, r.make(err, s))
		}
	}
	switch fault.KindOf(err) {
	case fault.Canceled, fault.Deadline, fault.Unavailable, fault.NotLeader:
		return wrap(err, ServiceUnavailable.New(""))
	case fault.NoSpace:
		return wrap(err, InsufficientStorage.New(""))
	}
	return wrap(err, InternalError.New(""))
}

func wrap(cause error, e *Error) *Error {
	e.cause = cause
	return e
}

func (r rule) make(err error, s *fault.Error) *Error {
	message := r.message
	if r.detail {
		if d, ok := strings.CutSuffix(err.Error(), ": "+s.Error()); ok {
			message += "; " + d
		}
	}
	return r.code.New(message)
}

// typed maps the errors that carry more than a sentinel.
func typed(err error) *Error {
	var (
		sig     *auth.SignatureError
		skew    *auth.SkewError
		expired *auth.ExpiredError
		region  *auth.RegionError
		headers *auth.UnsignedHeadersError
		digest  *auth.DigestError
		policy  *auth.PolicyError
		refusal *route.Refusal
	)
	switch {
	case errors.As(err, &sig):
		return signature(sig)
	case errors.As(err, &skew):
		return RequestTimeTooSkewed.New("", "RequestTime", skew.RequestTime.UTC().Format("20060102T150405Z"),
			"ServerTime", skew.ServerTime.UTC().Format(time.RFC3339), "MaxAllowedSkewMilliseconds", strconv.FormatInt(skew.MaxAllowed.Milliseconds(), 10))
	case errors.As(err, &expired):
		message := "Request has expired"
		if errors.Is(expired, auth.ErrNotYetValid) {
			message = "Request is not yet valid"
		}
		fields := []string{"Expires", expired.Expires.UTC().Format(time.RFC3339), "ServerTime", expired.ServerTime.UTC().Format(time.RFC3339)}
		if expired.Seconds != 0 {
			fields = append([]string{"X-Amz-Expires", strconv.FormatInt(expired.Seconds, 10)}, fields...)
		}
		return AccessDenied.New(message, fields...)
	case errors.As(err, &region):
		code, what := AuthHeaderMalformed, "The authorization header is malformed"
		if region.Query {
			code, what = AuthQueryParametersError, "Error parsing the X-Amz-Credential parameter"
		}
		return code.New(what+"; the region '"+region.Given+"' is wrong; expecting '"+region.Want+"'", "Region", region.Want)
	case errors.As(err, &headers):
		return AccessDenied.New("There were headers present in the request which were not signed", "HeadersNotSigned", strings.Join(headers.Headers, ", "))
	case errors.As(err, &digest):
		if digest.Sentinel == auth.ErrContentSHA256Mismatch {
			return XAmzContentSHA256Mismatch.New("", "ClientComputedContentSHA256", digest.Provided, "S3ComputedContentSHA256", digest.Computed)
		}
		return BadDigest.New("The "+digest.Algorithm+" you specified did not match the calculated checksum.",
			"ExpectedDigest", digest.Provided, "CalculatedDigest", digest.Computed)
	case errors.As(err, &policy):
		return AccessDenied.New("Invalid according to Policy: " + policy.Reason)
	case errors.As(err, &refusal):
		return refused(refusal)
	}
	return nil
}

// signature shows what the server computed the signature over, so that a
// proxy that changed the Host or the path can be found.
func signature(e *auth.SignatureError) *Error {
	fields := []string{"AWSAccessKeyId", e.AccessKey, "StringToSign", e.StringToSign, "SignatureProvided", e.Provided}
	if e.CanonicalRequest != "" {
		fields = append(fields, "CanonicalRequest", e.CanonicalRequest)
	}
	return SignatureDoesNotMatch.New("", append(fields, "Host", e.Host)...)
}

// HeaderNotImplemented answers a header, or a field of a form, that asks for
// what is not built.
func HeaderNotImplemented(name string) *Error {
	return NotImplemented.New("A header you provided implies functionality that is not implemented: "+strings.ToLower(name), "Header", name)
}

func refused(r *route.Refusal) *Error {
	switch r.Reason {
	case route.NotBuilt:
		if route.Named(r.Name) != nil {
			return NotImplemented.New("The operation "+r.Name+" is not implemented.", "Operation", r.Name)
		}
		return NotImplemented.New("The query parameter "+r.Name+" is not implemented.", "Parameter", r.Name)
	case route.HeaderNotBuilt:
		return HeaderNotImplemented(r.Name)
	case route.Repeated:
		return InvalidArgument.New("This query parameter may be given only once.", "ArgumentName", r.Name, "ArgumentValue", r.Value)
	case route.WrongID:
		return InvalidArgument.New("The x-id parameter does not agree with the request.", "ArgumentName", r.Name, "ArgumentValue", r.Value)
	case route.BadParam:
		return InvalidArgument.New("This operation does not accept this query parameter or its value.", "ArgumentName", r.Name, "ArgumentValue", r.Value)
	case route.BadHeader:
		return InvalidArgument.New("The value of the header is not valid.", "ArgumentName", r.Name, "ArgumentValue", r.Value)
	case route.NoMethod:
		return MethodNotAllowed.New("", "Method", r.Name)
	case route.HeadersTooLarge:
		return RequestHeaderSectionTooLarge.New("", "MaxSizeAllowed", strconv.Itoa(gateway.MaxHeaderBytes))
	}
	return InvalidRequest.New("")
}
