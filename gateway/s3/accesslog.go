package s3

import "time"

// maxLogged bounds a text of the client in the access log, in bytes.
const maxLogged = 256

// logAccess writes the line of a request. The query is not in it, since it may
// hold a signature.
func (c *call) logAccess(d time.Duration, aborted bool) {
	r := c.r
	e := c.s.access.Log().Time("time", c.now.UTC()).Str("req", c.id).Str("remote", r.RemoteAddr).Str("method", r.Method).
		Str("op", c.opName()).Str("host", cut(r.Host)).Str("bucket", cut(c.bucket)).Str("key", c.key).Int("status", c.res.status).
		Int64("in", c.body.read).Int64("out", c.res.sent).Int64("us", d.Microseconds())
	if c.code != "" {
		e = e.Str("code", string(c.code))
	}
	if c.refused != "" {
		e = e.Str("refused", cut(c.refused))
	}
	if c.auth != nil && c.auth.Identity.AccessKey != "" {
		e = e.Str("accessKey", c.auth.Identity.AccessKey)
	}
	if f := r.Header["X-Forwarded-For"]; len(f) > 0 {
		e = e.Str("forwarded", cut(f[0]))
	}
	if a := r.Header["User-Agent"]; len(a) > 0 {
		e = e.Str("agent", cut(a[0]))
	}
	if aborted {
		e = e.Bool("aborted", true)
	}
	e.Send()
}

func cut(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged]
	}
	return s
}
