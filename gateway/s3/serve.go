package s3

import (
	"errors"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"holdfast/auth"
	"holdfast/gateway"
	"holdfast/gateway/route"
	"holdfast/gateway/s3err"
)

// ServeHTTP serves one S3 request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, r: r, id: newID(), now: time.Now(), log: s.log}
	c.res = response{ResponseWriter: w, stall: s.cfg.StallTimeout, plain: r.TLS == nil}
	c.w = &c.res
	s.metrics.inFlight.Inc()
	defer c.end()
	continueEmpty(w, r)
	h := w.Header()
	h["Server"], h["X-Amz-Id-2"] = s.server, s.hostID
	h["X-Amz-Request-Id"] = []string{c.id}
	if r.ContentLength != 0 && r.Body != nil {
		// r keeps its own, which net/http looks at when it ends the answer.
		c.body = stallReader{ReadCloser: r.Body, w: w, stall: s.cfg.StallTimeout}
	}
	if origin := r.Header["Origin"]; len(origin) > 0 {
		s.cors.allow(h, origin[0])
	}
	var err error
	if r.Method == http.MethodOptions {
		err = s.cors.preflight(c)
	} else {
		err = c.serve()
	}
	if err != nil {
		c.fail(err)
	}
}

// continueEmpty answers 100 Continue to a client that waits for it although its
// request has no body, as S3 does. net/http leaves that out, as RFC 9110,
// section 10.1.1, allows, but botocore then reads the next answer on the
// connection wrongly and hangs until its read times out. It comes before any
// header is set: net/http would send those too.
func continueEmpty(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 && r.ProtoMajor == 1 && r.ProtoMinor >= 1 && strings.EqualFold(first(r.Header, "Expect"), "100-continue") {
		w.WriteHeader(http.StatusContinue)
	}
}

// serve finds the operation, authenticates and authorises, and only then looks
// at anything that could tell the caller something.
func (c *call) serve() error {
	if err := c.target(); err != nil {
		return err
	}
	tg := route.Target{Bucket: c.bucket, Key: c.key}
	op, refused := route.Match(c.r.Method, &tg, c.query, c.r.Header)
	c.op = op
	var err error
	if c.auth, err = c.s.verifier.Verify(c.r); err != nil {
		return err
	}
	if c.auth.Identity.Anonymous() && (op == nil || op.Name != "PostObject") {
		return auth.ErrMissingCredentials
	}
	if refused != nil {
		return refused
	}
	if op.Name != "PostObject" {
		// A form brings its own signature; its handler authorises it.
		if err = c.authorize(op.ActionFor(c.query), c.bucket, c.key); err != nil {
			return err
		}
	}
	if err = op.CheckHeaders(c.r.Header, c.query); err != nil {
		return err
	}
	return c.s.handlers[op.Index](c)
}

// target reads bucket, key and query. They are set as far as they are known
// also when it fails, for the log.
func (c *call) target() error {
	t, err := route.ParseTarget(c.r.URL, c.s.domains.Bucket(c.r.Host))
	c.bucket, c.key = t.Bucket, t.Key
	if err != nil {
		if len(c.key) > gateway.MaxKey {
			c.key = c.key[:gateway.MaxKey]
			return s3err.KeyTooLong.New("", "Size", formatInt(int64(len(t.Key))), "MaxSizeAllowed", formatInt(gateway.MaxKey))
		}
		return err
	}
	if c.r.URL.RawQuery != "" {
		c.query, err = route.ParseQuery(c.r.URL.RawQuery, nil)
		c.query = c.query.WithoutCredentials()
	}
	return err
}

// fail answers with an error, or breaks the connection off where the answer
// has begun: a client must never take half an object for a whole one.
func (c *call) fail(err error) {
	e := s3err.From(err)
	c.code = e.Code
	c.logFailure(err, e)
	switch e.Code {
	case s3err.SignatureDoesNotMatch:
		c.explainSignature(err)
	case s3err.NotImplemented:
		c.refused = e.Message
	}
	if c.res.status != 0 {
		panic(http.ErrAbortHandler)
	}
	if e.Code == s3err.RequestTimeout && c.hangUp(e) {
		return
	}
	c.body.abandon()
	c.writeError(e)
}

// explainSignature logs why a signature may not match. Behind a proxy the
// usual cause is a Host that the client did not sign; where the proxy tells the
// one that it received, the signature is tried with it, for the log only.
func (c *call) explainSignature(err error) {
	var sig *auth.SignatureError
	if !errors.As(err, &sig) {
		return
	}
	e := c.log.Warn().Str("req", c.id).Str("accessKey", sig.AccessKey).Str("sawHost", cut(sig.Host)).Str("remote", c.r.RemoteAddr)
	if f := c.r.Header["X-Forwarded-Host"]; len(f) > 0 && f[0] != c.r.Host {
		other := *c.r
		other.Host = f[0]
		if _, err := c.s.verifier.Verify(&other); err == nil {
			e.Str("signedHost", cut(f[0])).Msg("signature does not match: a proxy changed the Host; let it pass the client's on")
			return
		}
	}
	e.Msg("signature does not match")
}

// clientGone reports whether the request failed because nobody is there to
// receive the answer.
func (c *call) clientGone(err error) bool {
	return c.r.Context().Err() != nil || c.res.status != 0 && (errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded))
}

// writeError writes the error document. HEAD and 304 have none.
func (c *call) writeError(e *s3err.Error) {
	h := c.w.Header()
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "Content-Range", "Accept-Ranges", "Cache-Control",
		"Content-Disposition", "Content-Language", "Expires"} {
		if e.Status != http.StatusNotModified {
			delete(h, name)
		}
	}
	if e.Status == http.StatusServiceUnavailable {
		h["Retry-After"] = []string{"1"}
	}
	if e.Status == http.StatusNotModified {
		delete(h, "Content-Length")
		c.w.WriteHeader(e.Status)
		return
	}
	h["Content-Type"] = xmlType
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(e.Status)
		return
	}
	buf := getBuffer()
	defer putBuffer(buf)
	*buf = e.AppendXML(*buf, c.r.URL.Path, c.id, c.s.hostID[0])
	h["Content-Length"] = []string{formatInt(int64(len(*buf)))}
	c.w.WriteHeader(e.Status)
	_, _ = c.w.Write(*buf) // a client that is gone needs no answer
}

// end closes a call: a panic becomes a 500 or a broken connection, and the
// request is logged and counted.
func (c *call) end() {
	p := recover()
	if p != nil && p != http.ErrAbortHandler {
		c.log.Error().Str("req", c.id).Str("op", c.opName()).Any("panic", p).Bytes("stack", debug.Stack()).Msg("handler panicked")
		c.code = s3err.InternalError
		if c.res.status == 0 {
			c.body.abandon()
			c.writeError(s3err.InternalError.New(""))
			p = nil
		}
	}
	c.body.abandon()
	c.res.finish()
	d := c.elapsed()
	c.s.metrics.done(c, d)
	if c.s.access != nil {
		c.logAccess(d, p != nil)
	}
	if p != nil {
		panic(http.ErrAbortHandler)
	}
}

// opName names the operation for logs and metrics.
func (c *call) opName() string {
	if c.op == nil {
		return "none"
	}
	return c.op.Name
}
