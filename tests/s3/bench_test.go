package s3_test

import (
	"fmt"
	"testing"
)

// BenchmarkListPage is a page of 1,000 keys through the whole front end over
// loopback, client included.
func BenchmarkListPage(b *testing.B) {
	c := open(b, "rep-1", nil)
	for i := range 3000 {
		c.must(200, "PUT", fmt.Sprintf("/%s/abcdefgh/%08d.rnd", bucket, i), "x")
	}
	b.ReportAllocs()
	for b.Loop() {
		c.must(200, "GET", "/"+bucket+"?list-type=2&prefix=abcdefgh/", "")
	}
}

// BenchmarkHead is a HEAD of a small object, client included.
func BenchmarkHead(b *testing.B) {
	c := open(b, "rep-1", nil)
	c.must(200, "PUT", "/"+bucket+"/k", "x")
	b.ReportAllocs()
	for b.Loop() {
		c.must(200, "HEAD", "/"+bucket+"/k", "")
	}
}
