package s3

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"holdfast/auth"
)

const (
	maxFormFields = 200      // fields before the file
	maxFormBytes  = 64 << 10 // of all fields before the file, boundaries and part headers included
)

// errFormTooLarge says that the fields before the file are too many or too big.
var errFormTooLarge = errors.New("form fields before the file are over the limit")

// postForm is a browser upload up to the first byte of its file.
type postForm struct {
	// fields are the values as sent, by names in lower case, since S3 compares
	// the names of form fields without regard to it.
	fields   map[string]string
	filename string
	file     source
}

// readPostForm reads the fields of a multipart/form-data body up to the part
// named "file", which must come last; what follows it is ignored, as S3 does
// (sigv4-UsingHTTPPOST, "POST form fields"). The memory used is bounded by
// maxFormBytes whatever is sent. Reading file to io.EOF proves that its
// boundary came, and body to its end after it: a body that tells its end apart
// from a cut, as sigv4.Body does, has then come whole.
func readPostForm(contentType string, body io.Reader) (*postForm, error) {
	media, params, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil || media != "multipart/form-data":
		return nil, errNotForm
	case params["boundary"] == "" || len(params["boundary"]) > 200:
		return nil, fmt.Errorf("boundary: %w", errMalformedForm)
	}
	limited := &formLimit{src: body, left: maxFormBytes}
	mr := multipart.NewReader(limited, params["boundary"])
	form := &postForm{fields: make(map[string]string, 16)}
	for {
		part, err := mr.NextRawPart()
		switch {
		case err == io.EOF:
			return nil, errNoFile
		case err != nil:
			return nil, formError(limited, err)
		}
		name := strings.ToLower(part.FormName())
		if name == "file" {
			form.filename = part.FileName()
			form.file = &formFile{part: part, body: body}
			limited.left = -1
			return form, nil
		}
		if len(form.fields) == maxFormFields {
			return nil, errFormTooLarge
		}
		v, err := io.ReadAll(part)
		if err != nil {
			return nil, formError(limited, err)
		}
		if name == "" {
			continue
		}
		if _, twice := form.fields[name]; twice {
			return nil, fmt.Errorf("field %.32q comes twice: %w", name, errMalformedForm)
		}
		form.fields[name] = string(v)
	}
}

// What is wrong with a form; the caller turns it into S3's words.
var (
	errNotForm       = errors.New("content type is not multipart/form-data")
	errMalformedForm = errors.New("form is malformed")
	errNoFile        = errors.New("form has no file")
)

// formError says why a form could not be read: over the limit, cut, or not
// well-formed.
func formError(l *formLimit, err error) error {
	switch {
	case l.err != nil && l.err != io.EOF:
		return l.err
	case errors.Is(err, io.ErrUnexpectedEOF) || l.err == io.EOF:
		return fmt.Errorf("form fields: %w", auth.ErrIncompleteBody)
	}
	return fmt.Errorf("%w: %w", errMalformedForm, err)
}

// formLimit bounds what is read before the file; left is -1 once it started.
// multipart's own read-ahead of a few KiB counts too.
type formLimit struct {
	src  io.Reader
	left int64
	err  error
}

// Read implements io.Reader.
func (l *formLimit) Read(p []byte) (int, error) {
	if l.left == 0 {
		l.err = errFormTooLarge
		return 0, l.err
	}
	if l.left > 0 && int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.src.Read(p)
	if l.left > 0 {
		l.left -= int64(n)
	}
	if err != nil {
		l.err = err
	}
	return n, err
}

// formFile is the file's bytes. A body that ends before the boundary is
// incomplete, and so is one that ends behind it but before its announced
// length.
type formFile struct {
	part *multipart.Part
	body io.Reader // what part is read from
}

// Read implements io.Reader. What the multipart reader has read ahead of the
// boundary is the body's too, and an error that it met there comes again.
func (f *formFile) Read(p []byte) (int, error) {
	n, err := f.part.Read(p)
	switch {
	case err == io.EOF:
		if _, rest := io.Copy(io.Discard, f.body); rest != nil {
			err = rest
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("form file: %w", auth.ErrIncompleteBody)
	}
	return n, err
}

// Finish implements source.
func (f *formFile) Finish() error {
	var one [1]byte
	switch n, err := io.ReadFull(f, one[:]); {
	case n > 0:
		return auth.ErrBodyTooLong
	case err == io.EOF:
		return nil
	default:
		return err
	}
}
