package s3

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"holdfast/gateway/s3err"
)

const (
	// slowFrom is the number of bytes from which a copy may take so long that
	// clients give up waiting.
	slowFrom = 64 << 20
	// slowBeat is how often such a client is sent white space.
	slowBeat = 10 * time.Second
)

// outcome is the answer of an operation that may take long: a document, and
// headers that are lost once white space was sent.
type outcome struct {
	doc    any
	header http.Header
}

// slowly answers with what do returns. Until that is there the client is sent
// white space, as S3 does for copies: the status is then 200, and an error
// stands in the body. do runs beside and must not use the writer; it has ended
// when slowly returns.
func (c *call) slowly(beat time.Duration, do func() (*outcome, error)) error {
	type result struct {
		out *outcome
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r = result{err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
			}
			done <- r
		}()
		r.out, r.err = do()
	}()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	space := []byte(xmlHeader)
	for started := false; ; started = true {
		select {
		case r := <-done:
			if started {
				return c.endSlowly(r.out, r.err)
			}
			if r.err != nil {
				return r.err
			}
			return c.writeOutcome(r.out)
		case <-tick.C:
		}
		if !started {
			c.w.Header()["Content-Type"] = xmlType
			c.w.WriteHeader(http.StatusOK)
		}
		// A client that is gone ends the request's context, and with it do.
		_, _ = c.w.Write(space)
		_ = http.NewResponseController(c.w).Flush()
		space = []byte(" ")
	}
}

// writeOutcome answers with an outcome that came in time.
func (c *call) writeOutcome(o *outcome) error {
	h := c.w.Header()
	for k, v := range o.header {
		h[k] = v
	}
	return c.writeXML(http.StatusOK, o.doc)
}

// endSlowly writes the document of an answer that began with white space.
func (c *call) endSlowly(o *outcome, err error) error {
	var doc []byte
	if err == nil {
		doc, err = xml.Marshal(o.doc)
	}
	if err != nil {
		e := s3err.From(err)
		c.code = e.Code
		c.logFailure(err, e)
		doc = bytes.TrimPrefix(e.AppendXML(nil, c.r.URL.Path, c.id, c.s.hostID[0]), []byte(xmlHeader))
	}
	_, _ = c.w.Write(doc)
	return nil
}
