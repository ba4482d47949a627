package s3

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestWriteVec: what is written as many pieces arrives as it is, whatever lies
// between here and the client.
func TestWriteVec(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 65536, 65536, 300, 65536, 65535, 0, 65536, 65536, 65536, 7}
	var want []byte
	for i, n := range sizes {
		want = append(want, bytes.Repeat([]byte{byte('a' + i)}, n)...)
	}
	for _, tc := range []struct {
		name    string
		tls, h2 bool
		length  bool // announced
	}{{"HTTP/1", false, false, true}, {"chunked", false, false, false}, {"TLS", true, false, true}, {"HTTP/2", true, true, true}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			sent := make(chan int64, 1)
			ts := httptest.NewUnstartedServer(http.HandlerFunc(func(hw http.ResponseWriter, r *http.Request) {
				w := response{ResponseWriter: hw, stall: time.Minute, plain: r.TLS == nil}
				if tc.length {
					hw.Header().Set("Content-Length", formatInt(int64(2*len(want))))
				}
				w.WriteHeader(http.StatusOK)
				for range 2 {
					var bufs [][]byte
					for rest, i := want, 0; i < len(sizes); i++ {
						bufs, rest = append(bufs, rest[:sizes[i]]), rest[sizes[i]:]
					}
					if n, err := w.WriteVec(bufs); n != int64(len(want)) || err != nil {
						t.Error(n, err)
					}
				}
				w.finish()
				sent <- w.sent
			}))
			ts.EnableHTTP2 = tc.h2
			if tc.tls {
				ts.StartTLS()
			} else {
				ts.Start()
			}
			defer ts.Close()
			for range 2 { // the second over the same connection
				res, err := ts.Client().Get(ts.URL)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.ProtoMajor == 2 != tc.h2 || !bytes.Equal(got, append(bytes.Clone(want), want...)) {
					t.Errorf("%s: %d bytes, %v", res.Proto, len(got), err)
				}
				if n := <-sent; n != int64(2*len(want)) {
					t.Errorf("%d bytes counted", n)
				}
			}
		})
	}
}

// slowClient takes rate bytes before each deadline.
type slowClient struct {
	http.ResponseWriter
	rate     int64
	deadline time.Time
	got      bytes.Buffer
}

func (s *slowClient) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }

func (s *slowClient) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.CopyN(&s.got, r, s.rate)
	if err != nil {
		return n, nil
	}
	time.Sleep(time.Until(s.deadline))
	return n, os.ErrDeadlineExceeded
}

// TestWriteVecToSlowClient: a client has to take in a stall's time what it has
// to take where frames are written one by one, not all that is sent at once.
func TestWriteVecToSlowClient(t *testing.T) {
	t.Parallel()
	for _, rate := range []int64{stallFree, stallFree - 1} {
		synctest.Test(t, func(t *testing.T) {
			client := &slowClient{ResponseWriter: httptest.NewRecorder(), rate: rate}
			w := response{ResponseWriter: client, stall: time.Minute, plain: true}
			data := bytes.Repeat([]byte("0123456789abcdef"), 8*4096)
			started := time.Now()
			n, err := w.WriteVec([][]byte{data[:65536], data[65536:70000], data[70000:]})
			if rate == stallFree {
				if n != int64(len(data)) || err != nil || !bytes.Equal(client.got.Bytes(), data) || time.Since(started) != 8*time.Minute {
					t.Errorf("%d bytes in %v, %v", n, time.Since(started), err)
				}
			} else if n != rate || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(started) != time.Minute {
				t.Errorf("%d bytes in %v, %v", n, time.Since(started), err)
			}
			if w.sent != n {
				t.Errorf("%d bytes counted, %d written", w.sent, n)
			}
		})
	}
}
