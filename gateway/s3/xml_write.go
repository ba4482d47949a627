package s3

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"holdfast/gateway/s3err"
)

// namespace is that of all S3 documents.
const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

const xmlHeader = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

var xmlType = []string{"application/xml"}

// buffers are for documents that are written by hand.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// maxKept bounds what a buffer may hold and still be kept, in bytes.
const maxKept = 1 << 20

func getBuffer() *[]byte {
	b := buffers.Get().(*[]byte)
	*b = (*b)[:0]
	return b
}

func putBuffer(b *[]byte) {
	if cap(*b) <= maxKept {
		buffers.Put(b)
	}
}

// writeXML answers with a small document. v names its root and namespace in
// its XMLName.
func (c *call) writeXML(status int, v any) error {
	doc, err := xml.Marshal(v)
	if err != nil {
		return fmt.Errorf("document %T: %w", v, err)
	}
	buf := getBuffer()
	defer putBuffer(buf)
	*buf = append(append(*buf, xmlHeader...), doc...)
	return c.writeDocument(status, *buf)
}

// writeDocument answers with a document that is ready.
func (c *call) writeDocument(status int, doc []byte) error {
	h := c.w.Header()
	h["Content-Type"] = xmlType
	h["Content-Length"] = []string{strconv.Itoa(len(doc))}
	c.w.WriteHeader(status)
	_, err := c.w.Write(doc)
	return err
}

// noContent answers 204.
func (c *call) noContent() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// appendOpen, appendClose and appendText write one element by hand.
func appendOpen(b []byte, name string) []byte { return append(append(append(b, '<'), name...), '>') }

func appendClose(b []byte, name string) []byte {
	return append(append(append(b, "</"...), name...), '>')
}

func appendText(b []byte, name, value string) []byte {
	return appendClose(s3err.AppendText(appendOpen(b, name), value), name)
}

func appendInt(b []byte, name string, v int64) []byte {
	return appendClose(strconv.AppendInt(appendOpen(b, name), v, 10), name)
}

func appendBool(b []byte, name string, v bool) []byte {
	return appendClose(strconv.AppendBool(appendOpen(b, name), v), name)
}

// appendTime appends milliseconds since 1970 as 2006-01-02T15:04:05.000Z.
// memo keeps the day of the last time, since a listing has many of one day.
func (m *dayMemo) append(b []byte, ms int64) []byte {
	day := ms / 86400000
	rest := ms % 86400000
	if rest < 0 {
		day, rest = day-1, rest+86400000
	}
	if m.text == "" || m.day != day {
		m.day, m.text = day, xmlTime(day * 86400000)[:11]
	}
	b = append(b, m.text...)
	b = appendDigits(b, rest/3600000, 2)
	b = append(b, ':')
	b = appendDigits(b, rest/60000%60, 2)
	b = append(b, ':')
	b = appendDigits(b, rest/1000%60, 2)
	b = append(b, '.')
	return append(appendDigits(b, rest%1000, 3), 'Z')
}

type dayMemo struct {
	day  int64
	text string
}

// appendDigits appends v with leading zeros.
func appendDigits(b []byte, v int64, width int) []byte {
	if width == 3 {
		b = append(b, byte('0'+v/100))
		v %= 100
	}
	return append(b, byte('0'+v/10), byte('0'+v%10))
}
