// Package s3err is the one place that knows S3's error codes: which there are,
// their HTTP status and text, which one each sentinel of Holdfast becomes, and
// how an error looks on the wire. An error that nobody mapped is
// InternalError, and nothing of its text is shown.
package s3err

// Code is an error code of S3. It is an error itself, with the code's usual
// message; New gives another message and further fields.
type Code string

// The codes.
const (
	AccessDenied                 Code = "AccessDenied"
	AccessForbidden              Code = "AccessForbidden"
	AuthHeaderMalformed          Code = "AuthorizationHeaderMalformed"
	AuthQueryParametersError     Code = "AuthorizationQueryParametersError"
	BadDigest                    Code = "BadDigest"
	BadRequest                   Code = "BadRequest"
	BucketAlreadyExists          Code = "BucketAlreadyExists"
	BucketAlreadyOwnedByYou      Code = "BucketAlreadyOwnedByYou"
	BucketNotEmpty               Code = "BucketNotEmpty"
	ConditionalRequestConflict   Code = "ConditionalRequestConflict"
	EntityTooLarge               Code = "EntityTooLarge"
	EntityTooSmall               Code = "EntityTooSmall"
	ExpiredToken                 Code = "ExpiredToken"
	IllegalLocationConstraint    Code = "IllegalLocationConstraintException"
	IncompleteBody               Code = "IncompleteBody"
	IncorrectNumberOfFiles       Code = "IncorrectNumberOfFilesInPostRequest"
	InsufficientStorage          Code = "InsufficientStorage"
	InternalError                Code = "InternalError"
	InvalidAccessKeyID           Code = "InvalidAccessKeyId"
	InvalidArgument              Code = "InvalidArgument"
	InvalidBucketName            Code = "InvalidBucketName"
	InvalidBucketState           Code = "InvalidBucketState"
	InvalidChunkSizeError        Code = "InvalidChunkSizeError"
	InvalidDigest                Code = "InvalidDigest"
	InvalidLocationConstraint    Code = "InvalidLocationConstraint"
	InvalidObjectState           Code = "InvalidObjectState"
	InvalidPart                  Code = "InvalidPart"
	InvalidPartNumber            Code = "InvalidPartNumber"
	InvalidPartOrder             Code = "InvalidPartOrder"
	InvalidPolicyDocument        Code = "InvalidPolicyDocument"
	InvalidRange                 Code = "InvalidRange"
	InvalidRequest               Code = "InvalidRequest"
	InvalidSecurity              Code = "InvalidSecurity"
	InvalidStorageClass          Code = "InvalidStorageClass"
	InvalidTag                   Code = "InvalidTag"
	InvalidToken                 Code = "InvalidToken"
	InvalidURI                   Code = "InvalidURI"
	KeyTooLong                   Code = "KeyTooLongError"
	MalformedPOSTRequest         Code = "MalformedPOSTRequest"
	MalformedTrailer             Code = "MalformedTrailerError"
	MalformedXML                 Code = "MalformedXML"
	MaxMessageLengthExceeded     Code = "MaxMessageLengthExceeded"
	MaxPostPreDataLengthExceeded Code = "MaxPostPreDataLengthExceededError"
	MetadataTooLarge             Code = "MetadataTooLarge"
	MethodNotAllowed             Code = "MethodNotAllowed"
	MissingContentLength         Code = "MissingContentLength"
	MissingRequestBody           Code = "MissingRequestBodyError"
	MissingSecurityHeader        Code = "MissingSecurityHeader"
	NoSuchBucket                 Code = "NoSuchBucket"
	NoSuchKey                    Code = "NoSuchKey"
	NoSuchUpload                 Code = "NoSuchUpload"
	NoSuchVersion                Code = "NoSuchVersion"
	NotImplemented               Code = "NotImplemented"
	NotModified                  Code = "NotModified"
	OperationAborted             Code = "OperationAborted"
	PermanentRedirect            Code = "PermanentRedirect"
	PreconditionFailed           Code = "PreconditionFailed"
	QuotaExceeded                Code = "QuotaExceeded"
	RequestHeaderSectionTooLarge Code = "RequestHeaderSectionTooLarge"
	RequestIsNotMultiPartContent Code = "RequestIsNotMultiPartContent"
	RequestTimeout               Code = "RequestTimeout"
	RequestTimeTooSkewed         Code = "RequestTimeTooSkewed"
	ServiceUnavailable           Code = "ServiceUnavailable"
	SignatureDoesNotMatch        Code = "SignatureDoesNotMatch"
	SlowDown                     Code = "SlowDown"
	TooManyBuckets               Code = "TooManyBuckets"
	TooManyParts                 Code = "TooManyParts"
	UnexpectedContent            Code = "UnexpectedContent"
	UserKeyMustBeSpecified       Code = "UserKeyMustBeSpecified"
	XAmzContentChecksumMismatch  Code = "XAmzContentChecksumMismatch"
	XAmzContentSHA256Mismatch    Code = "XAmzContentSHA256Mismatch"
)

type entry struct {
	status  int
	message string
}

// table gives the HTTP status and the usual message of each code. The texts
// follow those of the Amazon S3 API Reference, "Error Responses".
var table = map[Code]entry{
	AccessDenied:                 {403, "Access Denied"},
	AccessForbidden:              {403, "CORSResponse: This CORS request is not allowed."},
	AuthHeaderMalformed:          {400, "The authorization header that you provided is not valid."},
	AuthQueryParametersError:     {400, "The query-string authentication parameters are not valid."},
	BadDigest:                    {400, "The Content-MD5 or checksum value that you specified did not match what the server received."},
	BadRequest:                   {400, "Bad Request"},
	BucketAlreadyExists:          {409, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Specify a different name and try again."},
	BucketAlreadyOwnedByYou:      {409, "The bucket that you tried to create already exists, and you own it."},
	BucketNotEmpty:               {409, "The bucket that you tried to delete is not empty."},
	ConditionalRequestConflict:   {409, "A conflicting operation occurred. If using PutObject you can retry the request. If using multipart upload you should initiate another CreateMultipartUpload request and re-upload each part."},
	EntityTooLarge:               {400, "Your proposed upload exceeds the maximum allowed object size."},
	EntityTooSmall:               {400, "Your proposed upload is smaller than the minimum allowed object size."},
	ExpiredToken:                 {400, "The provided token has expired."},
	IllegalLocationConstraint:    {400, "The location constraint is incompatible with the region of this endpoint."},
	IncompleteBody:               {400, "You did not provide the number of bytes specified by the Content-Length HTTP header."},
	IncorrectNumberOfFiles:       {400, "POST requires exactly one file upload per request."},
	InsufficientStorage:          {507, "There is not enough free space to complete the request."},
	InternalError:                {500, "We encountered an internal error. Please try again."},
	InvalidAccessKeyID:           {403, "The AWS access key ID that you provided does not exist in our records."},
	InvalidArgument:              {400, "Invalid Argument"},
	InvalidBucketName:            {400, "The specified bucket is not valid."},
	InvalidBucketState:           {409, "The request is not valid for the current state of the bucket."},
	InvalidChunkSizeError:        {400, "Only the last chunk is allowed to have a size less than 8192 bytes"},
	InvalidDigest:                {400, "The Content-MD5 or checksum value that you specified is not valid."},
	InvalidLocationConstraint:    {400, "The specified location constraint is not valid."},
	InvalidObjectState:           {403, "The operation is not valid for the current state of the object."},
	InvalidPart:                  {400, "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag."},
	InvalidPartNumber:            {416, "The requested partnumber is not satisfiable."},
	InvalidPartOrder:             {400, "The list of parts was not in ascending order. The parts list must be specified in order by part number."},
	InvalidPolicyDocument:        {400, "The content of the form does not meet the conditions specified in the policy document."},
	InvalidRange:                 {416, "The requested range is not satisfiable."},
	InvalidRequest:               {400, "Invalid Request"},
	InvalidSecurity:              {403, "The provided security credentials are not valid."},
	InvalidStorageClass:          {400, "The storage class that you specified is not valid."},
	InvalidTag:                   {400, "The tag that you provided was not a valid tag."},
	InvalidToken:                 {400, "The provided token is malformed or otherwise not valid."},
	InvalidURI:                   {400, "The specified URI couldn't be parsed."},
	KeyTooLong:                   {400, "Your key is too long."},
	MalformedPOSTRequest:         {400, "The body of your POST request is not well-formed multipart/form-data."},
	MalformedTrailer:             {400, "The request contained trailing data that was not well-formed or did not conform to our published schema."},
	MalformedXML:                 {400, "The XML that you provided was not well formed or did not validate against our published schema."},
	MaxMessageLengthExceeded:     {400, "Your request was too large."},
	MaxPostPreDataLengthExceeded: {400, "Your POST request fields preceding the upload file were too large."},
	MetadataTooLarge:             {400, "Your metadata headers exceed the maximum allowed metadata size."},
	MethodNotAllowed:             {405, "The specified method is not allowed against this resource."},
	MissingContentLength:         {411, "You must provide the Content-Length HTTP header."},
	MissingRequestBody:           {400, "Request body is empty."},
	MissingSecurityHeader:        {400, "Your request is missing a required header."},
	NoSuchBucket:                 {404, "The specified bucket does not exist."},
	NoSuchKey:                    {404, "The specified key does not exist."},
	NoSuchUpload:                 {404, "The specified multipart upload does not exist. The upload ID might not be valid, or the multipart upload might have been aborted or completed."},
	NoSuchVersion:                {404, "The specified version does not exist."},
	NotImplemented:               {501, "A header or parameter you provided implies functionality that is not implemented."},
	NotModified:                  {304, "Not Modified"},
	OperationAborted:             {409, "A conflicting conditional operation is currently in progress against this resource. Try again."},
	PermanentRedirect:            {301, "The bucket that you are attempting to access must be addressed using the specified endpoint."},
	PreconditionFailed:           {412, "At least one of the preconditions that you specified did not hold."},
	QuotaExceeded:                {403, "The quota of the bucket is exceeded."},
	RequestHeaderSectionTooLarge: {400, "Your request header section exceeds the maximum allowed request header section size."},
	RequestIsNotMultiPartContent: {412, "A bucket POST request must be of the enclosure-type multipart/form-data."},
	RequestTimeout:               {400, "Your socket connection to the server was not read from or written to within the timeout period."},
	RequestTimeTooSkewed:         {403, "The difference between the request time and the server's time is too large."},
	ServiceUnavailable:           {503, "Service is unable to handle request."},
	SignatureDoesNotMatch:        {403, "The request signature that we calculated does not match the signature that you provided. Check your secret access key and signing method."},
	SlowDown:                     {503, "Please reduce your request rate."},
	TooManyBuckets:               {400, "You have attempted to create more buckets than are allowed."},
	TooManyParts:                 {400, "The upload has more parts than are allowed."},
	UnexpectedContent:            {400, "This request contains unsupported content."},
	UserKeyMustBeSpecified:       {400, "The bucket POST request must contain the specified field name. If it is specified, check the order of the fields."},
	XAmzContentChecksumMismatch:  {400, "The provided x-amz-checksum header does not match what was computed."},
	XAmzContentSHA256Mismatch:    {400, "The provided 'x-amz-content-sha256' header does not match what was computed."},
}

// Error implements error with the code and its usual message.
func (c Code) Error() string { return string(c) + ": " + table[c].message }

// Status returns the HTTP status of the code.
func (c Code) Status() int { return table[c].status }

// New returns an error of the code. An empty message is the code's usual one.
// fields are names and values, in pairs, of elements beside Code and Message.
func (c Code) New(message string, fields ...string) *Error {
	e := &Error{Code: c, Message: message, Status: c.Status()}
	if message == "" {
		e.Message = table[c].message
	}
	for i := 0; i+1 < len(fields); i += 2 {
		e.Fields = append(e.Fields, Field{fields[i], fields[i+1]})
	}
	return e
}
