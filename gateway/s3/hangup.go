package s3

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"holdfast/gateway/s3err"
)

// lingerTime is how long a connection stays open behind its last answer, so
// that what the client sends meanwhile does not take the answer from it.
const lingerTime = 500 * time.Millisecond

// hangUp answers a client that stopped in the middle of its body, and closes
// the connection. It writes past net/http: that would fill 6 KiB of buffers
// for each, and thousands that stand still end at the same time. It reports
// false where the connection is not to be had, as under HTTP/2.
func (c *call) hangUp(e *s3err.Error) bool {
	conn, _, err := http.NewResponseController(c.res.ResponseWriter).Hijack()
	if err != nil {
		return false
	}
	doc := getBuffer()
	defer putBuffer(doc)
	*doc = e.AppendXML(*doc, c.r.URL.Path, c.id, c.s.hostID[0])
	h := c.res.Header()
	h["Connection"], h["Content-Type"] = []string{"close"}, xmlType
	h["Content-Length"] = []string{formatInt(int64(len(*doc)))}
	h["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", e.Status, http.StatusText(e.Status))
	_ = h.Write(&out) // into memory
	out.WriteString("\r\n")
	out.Write(*doc)
	c.body.ended = true
	c.res.status, c.res.sent = e.Status, int64(len(*doc))
	_ = conn.SetDeadline(time.Now().Add(drainTime))
	_, _ = conn.Write(out.Bytes()) // a client that is gone needs no answer
	if w, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	time.AfterFunc(lingerTime, func() { _ = conn.Close() })
	return true
}
