package route

import (
	"fmt"
	"slices"
	"strings"
)

// Markdown returns docs/s3-compat.md, which is made of the table so that it
// cannot say more than the table does.
func Markdown() string {
	var b strings.Builder
	built, refused, beyond := 0, 0, 0
	for _, op := range All() {
		switch {
		case op.Beyond:
			beyond++
		case op.Built:
			built++
		default:
			refused++
		}
	}
	fmt.Fprintf(&b, `# S3 compatibility

This page is generated from the route table (holdfast/gateway/route); `+"`go test ./gateway/route -update`"+` writes it.

The table holds %d operations of the S3 model: %d are served, %d answer 501 NotImplemented. Beside the model it serves %d: browser
uploads by POST and policy. The deprecated operations %s have the routes of their successors.

`, built+refused+len(twins), built, refused+len(twins), beyond, twinNames())
	b.WriteString(`Rules for every operation:

- A query parameter that the operation does not have is refused on PUT, POST, DELETE and on GET of a bucket: 501 if S3 knows it, else
  400. On GET and HEAD of an object unknown parameters are ignored. ` + "`x-id`" + ` has to agree with the route.
- A parameter of the operation that comes twice is refused with 400, and so is an element of a document that may come once.
- A query parameter ` + "`x-amz-*`" + `, in any letter case, is the header of that name.
- A header that changes the meaning of a request and is not served is refused with 501, never ignored. The tables below name these.
- ` + "`x-amz-trailer`" + ` is refused with 400 where ` + "`x-amz-content-sha256`" + ` announces no trailer, and ` + "`Content-Encoding: aws-chunked`" + ` where the
  payload is unsigned and not framed. Where the whole body is signed, it is the object's own coding and kept, as S3 does.
- In DeleteObjects a ` + "`VersionId`" + ` that is malformed or empty is NoSuchVersion for its key alone, as in S3; the other keys are deleted.
- Authorisation comes before everything else: without it, no answer tells whether a bucket, a key or an operation exists.

`)
	for _, level := range []Level{Service, Bucket, Object} {
		fmt.Fprintf(&b, "## %s operations\n\n| operation | request | served | action |\n|---|---|---|---|\n",
			strings.ToUpper(level.String()[:1])+level.String()[1:])
		for _, op := range All() {
			if op.Level == level {
				fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", op.Name, op.request(), op.served(), op.actions())
			}
		}
		b.WriteString("\n")
	}
	documentHeaders(&b)
	return b.String()
}

func twinNames() string {
	var names []string
	for _, t := range twins {
		names = append(names, t[0])
	}
	return strings.Join(names, ", ")
}

// request is the operation's request line, as a pattern.
func (o *Operation) request() string {
	s := o.Method + " " + [...]string{"/", "/BUCKET", "/BUCKET/KEY"}[o.Level]
	if o.Path != "" {
		s = o.Method + " /" + o.Path
	}
	sel := slices.Clone(o.Select)
	if o.ByID {
		sel = append(sel, "x-id="+o.Name)
	}
	if len(sel) > 0 {
		s += "?" + strings.Join(sel, "&")
	}
	if o.Need != "" {
		s += " with " + strings.ToLower(o.Need)
	}
	return s
}

func (o *Operation) served() string {
	switch {
	case o.Beyond:
		return "yes (beyond the model)"
	case o.Built:
		return "yes"
	}
	return "501"
}

func (o *Operation) actions() string {
	if o.VersionAction != "" {
		return o.Action + ", of a version " + o.VersionAction
	}
	return o.Action
}

func documentHeaders(b *strings.Builder) {
	b.WriteString("## Headers that are refused with 501\n\nValues that ask for what holds anyway are honoured.\n\n| header | honoured values |\n|---|---|\n")
	names := make([]string, 0, len(unbuilt))
	for name := range unbuilt {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values := "none"
		if held := unbuilt[name]; len(held) > 0 {
			values = "`" + strings.Join(held, "`, `") + "`"
		}
		fmt.Fprintf(b, "| %s | %s |\n", strings.ToLower(name), values)
	}
}
