package s3

import (
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"holdfast/auth"
	"holdfast/auth/postpolicy"
	"holdfast/auth/sigv4"
	"holdfast/gateway"
	"holdfast/gateway/s3err"
	"holdfast/internal/checksum"
	"holdfast/tracker"
)

// postResult answers a form that asked for status 201.
type postResult struct {
	XMLName  xml.Name `xml:"PostResponse"`
	Location string
	Bucket   string
	Key      clientText
	ETag     string
}

// postObject serves a browser's form upload (S3 API Reference, POST Object).
// The form is authenticated by the signature of its policy, and the policy
// bounds what the form may say.
func postObject(c *call) error {
	form, err := c.openForm()
	if err != nil {
		return err
	}
	if c.key, err = formKey(form); err != nil {
		return err
	}
	policy, err := c.authenticateForm(form)
	if err != nil {
		return err
	}
	if err := c.authorize("s3:PutObject", c.bucket, c.key); err != nil {
		return err
	}
	b, err := c.bucketInfo()
	if err != nil {
		return err
	}
	r, err := c.formPut(b, form)
	if err != nil {
		return err
	}
	body := &body{src: form.file, length: -1, max: gateway.MaxPut, etag: true, pool: c.s.blobs.md5}
	if low, high, ok := policy.LengthRange(); ok {
		body.min, body.max = low, min(high, body.max)
	}
	if body.ask, err = formChecksum(form.fields); err != nil {
		return err
	}
	defer body.close()
	res, err := c.putBody(r, body)
	if err != nil {
		return err
	}
	return c.answerForm(form, res, r)
}

// openForm reads the form up to its file.
func (c *call) openForm() (*postForm, error) {
	length := c.r.ContentLength
	switch {
	case c.auth.Scheme != sigv4.Anonymous:
		return nil, auth.ErrMultipleAuth
	case length < 0:
		return nil, s3err.MissingContentLength
	case length > gateway.MaxPut+maxFormBytes:
		return nil, errTooLarge(length, gateway.MaxPut)
	}
	form, err := readPostForm(first(c.r.Header, "Content-Type"), sigv4.NewBody(c.sent(), c.auth, length))
	switch {
	case errors.Is(err, errFormTooLarge):
		return nil, s3err.MaxPostPreDataLengthExceeded
	case errors.Is(err, errNotForm):
		return nil, s3err.RequestIsNotMultiPartContent
	case errors.Is(err, errNoFile):
		return nil, s3err.IncorrectNumberOfFiles
	case errors.Is(err, errMalformedForm):
		return nil, s3err.MalformedPOSTRequest
	case err != nil:
		return nil, bodyError(err)
	}
	return form, nil
}

// formKey returns the key of the form with the name of the file put in.
func formKey(form *postForm) (string, error) {
	key := postpolicy.ExpandFilename(form.fields["key"], form.filename)
	switch {
	case key == "":
		return "", s3err.UserKeyMustBeSpecified.New("", "ArgumentName", "key")
	case len(key) > gateway.MaxKey:
		return "", s3err.KeyTooLong.New("", "Size", formatInt(int64(len(key))), "MaxSizeAllowed", formatInt(gateway.MaxKey))
	case !utf8.ValidString(key):
		return "", s3err.InvalidURI
	}
	return key, nil
}

// authenticateForm finds out who signed the form and checks its policy. A
// form without policy and signature is of the anonymous caller.
func (c *call) authenticateForm(form *postForm) (*postpolicy.Policy, error) {
	if !postpolicy.Signed(form.fields) {
		return &postpolicy.Policy{}, nil
	}
	id, err := postpolicy.VerifySignature(c.r.Context(), c.s.verifier, form.fields)
	if err != nil {
		return nil, err
	}
	policy, err := postpolicy.Parse([]byte(form.fields["policy"]))
	if err != nil {
		return nil, err
	}
	form.fields["key"], form.fields["bucket"] = c.key, c.bucket
	if err := policy.Check(c.now, form.fields); err != nil {
		return nil, err
	}
	c.auth.Identity = id
	return policy, nil
}

// formPut turns the fields of the form into a request, by the rules of a
// PUT's headers.
func (c *call) formPut(b *tracker.Bucket, form *postForm) (*tracker.PutObject, error) {
	r := &tracker.PutObject{Bucket: b.ID, Key: c.key}
	for i := range keptHeaders {
		k := &keptHeaders[i]
		if v := form.fields[k.lower]; v != "" {
			r.Headers = append(r.Headers, tracker.Field{Name: k.lower, Value: v})
		}
	}
	system := len(r.Headers)
	for name, v := range form.fields {
		switch {
		case strings.HasPrefix(name, userMetaPrefix):
			r.Headers = append(r.Headers, tracker.Field{Name: name, Value: v})
		case !knownFormField(name, v):
			return nil, s3err.HeaderNotImplemented(name)
		}
	}
	if err := checkFields(r.Headers, system); err != nil {
		return nil, err
	}
	var err error
	if r.Tags, err = c.formTags(form.fields["tagging"]); err != nil {
		return nil, err
	}
	r.Class, err = c.checkClass(form.fields["x-amz-storage-class"])
	return r, err
}

// formTags reads the field "tagging": the document of PutObjectTagging.
func (c *call) formTags(doc string) ([]tracker.Field, error) {
	if doc == "" {
		return nil, nil
	}
	tags, err := parseTagging([]byte(doc))
	if err != nil || len(tags) == 0 {
		return nil, err
	}
	return tags, c.authorize("s3:PutObjectTagging", c.bucket, c.key)
}

// knownFormField reports whether a field is honoured, or changes nothing.
// Fields that S3 does not know are ignored, but those in its own name space
// that are not built are refused.
func knownFormField(name, value string) bool {
	switch name {
	case "acl", "x-amz-acl":
		return value == "" || value == "private" || value == "bucket-owner-full-control"
	case "x-amz-storage-class", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-checksum-algorithm",
		"x-amz-sdk-checksum-algorithm", redirectLocation:
		return true
	}
	if _, ok := checksum.ParseHeader(name); ok {
		return true
	}
	return !strings.HasPrefix(name, "x-amz-")
}

// formChecksum reads the checksum fields of a form.
func formChecksum(fields map[string]string) (a askedChecksum, err error) {
	for name, text := range fields {
		alg, ok := checksum.ParseHeader(name)
		if !ok {
			continue
		}
		if a.algorithm != checksum.None {
			return a, errManyChecksums()
		}
		if a.value, err = checksum.Decode(alg, text); err != nil {
			return a, errInvalid("Value for " + name + " field is invalid.")
		}
		a.algorithm = alg
	}
	for _, name := range [...]string{"x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm"} {
		if fields[name] == "" {
			continue
		}
		alg, err := checksum.Parse(fields[name])
		switch {
		case err != nil:
			return a, errUnknownAlgorithm()
		case a.algorithm != checksum.None && a.algorithm != alg:
			return a, errInvalid("Value for " + name + " field is invalid.")
		}
		a.algorithm = alg
	}
	if v := fields["content-md5"]; v != "" {
		if a.md5, err = checksum.Decode(checksum.MD5, v); err != nil {
			return a, auth.ErrInvalidDigest
		}
	}
	return a, nil
}

// answerForm answers as the form asked: by a redirect, or by a status of 200,
// 201 with a document, or 204.
func (c *call) answerForm(form *postForm, res *tracker.PutResult, r *tracker.PutObject) error {
	h := c.w.Header()
	etag := quoted(res.ETag)
	if to := redirectTarget(form, c.bucket, c.key, etag); to != "" {
		h["Location"] = []string{to}
		h["Etag"] = []string{etag}
		h["Content-Length"] = []string{"0"}
		c.w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	c.putHeaders(res, &r.Meta)
	delete(h, "Content-Length")
	location := c.objectURL()
	h["Location"] = []string{location}
	switch form.fields["success_action_status"] {
	case "201":
		return c.writeXML(http.StatusCreated, &postResult{Location: location, Bucket: c.bucket, Key: textOf(c.key), ETag: etag})
	case "200":
		c.w.WriteHeader(http.StatusOK)
	default:
		c.w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// redirectTarget is the URL that the form asks to be sent to, with bucket, key
// and ETag added to its query; "" if there is none or it is not an http URL,
// which S3 treats as if it were not there.
func redirectTarget(form *postForm, bucket, key, etag string) string {
	to := form.fields["success_action_redirect"]
	if to == "" {
		to = form.fields["redirect"]
	}
	u, err := url.Parse(to)
	if to == "" || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	add := "bucket=" + url.QueryEscape(bucket) + "&key=" + url.QueryEscape(key) + "&etag=" + url.QueryEscape(etag)
	if u.RawQuery != "" {
		add = u.RawQuery + "&" + add
	}
	u.RawQuery = add
	return u.String()
}

// objectURL is the URL of the call's object in the style, path or virtual
// host, in which the bucket was addressed.
func (c *call) objectURL() string {
	base := c.location()
	if !strings.HasSuffix(base, "/") {
		base += "/"
	}
	return base + (&url.URL{Path: c.key}).EscapedPath()
}
