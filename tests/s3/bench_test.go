package s3_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The server, the client and everything between are in one process here.

func benchPut(b *testing.B, size int) {
	c := open(b, "rep-1", nil)
	data := pattern(size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, _ := http.NewRequest("PUT", c.URL+"/"+bucket+"/k", strings.NewReader(data))
			sign(req)
			res, err := c.Server.Client().Do(req)
			if err != nil || res.StatusCode != 200 {
				b.Error(res, err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	})
}

func benchGet(b *testing.B, size int) {
	c := open(b, "rep-1", nil)
	path := fmt.Sprintf("/%s/%d", bucket, size)
	c.must(200, "PUT", path, pattern(size))
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, _ := http.NewRequest("GET", c.URL+path, nil)
			sign(req)
			res, err := c.Server.Client().Do(req)
			if err != nil || res.StatusCode != 200 {
				b.Error(res, err)
				return
			}
			if n, err := io.Copy(io.Discard, res.Body); err != nil || n != int64(size) {
				b.Error(n, err)
			}
			res.Body.Close()
		}
	})
}

func BenchmarkPut4KiB(b *testing.B)  { benchPut(b, 4<<10) }
func BenchmarkPut64KiB(b *testing.B) { benchPut(b, 64<<10) }
func BenchmarkPut10MiB(b *testing.B) { benchPut(b, 10<<20) }
func BenchmarkGet4KiB(b *testing.B)  { benchGet(b, 4<<10) }
func BenchmarkGet64KiB(b *testing.B) { benchGet(b, 64<<10) }
func BenchmarkGet10MiB(b *testing.B) { benchGet(b, 10<<20) }
