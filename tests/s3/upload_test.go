package s3_test

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const partSize = 5 << 20

// begin starts an upload and returns its id.
func (c *cluster) begin(path string, headers ...string) string {
	c.t.Helper()
	id := between(c.must(200, "POST", path+"?uploads", "", headers...).body, "UploadId")
	if id == "" {
		c.t.Fatal("no upload id")
	}
	return id
}

func complete(etags map[int]string, order ...int) string {
	var b strings.Builder
	b.WriteString("<CompleteMultipartUpload>")
	for _, n := range order {
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", n, etags[n])
	}
	return b.String() + "</CompleteMultipartUpload>"
}

func TestMultipart(t *testing.T) {
	t.Parallel()
	c := open(t, "rs-2+1", nil)
	path := "/" + bucket + "/dir/big%20one"
	c.refused(404, "NoSuchUpload", "PUT", path+"?partNumber=1&uploadId=none", "x")
	id := c.begin(path, "Content-Type", "a/b", "X-Amz-Meta-X", "y")
	parts := map[int]string{1: pattern(partSize), 3: pattern(partSize + 7), 7: "tail"}
	etags, sums := map[int]string{}, []byte{}
	for _, n := range []int{3, 1, 7} {
		etags[n] = c.must(200, "PUT", fmt.Sprintf("%s?partNumber=%d&uploadId=%s", path, n, id), parts[n]).header.Get("ETag")
		if etags[n] != etagOf(parts[n]) {
			t.Errorf("part %d has ETag %s", n, etags[n])
		}
	}
	for _, n := range []int{1, 3, 7} {
		sum := md5.Sum([]byte(parts[n]))
		sums = append(sums, sum[:]...)
	}
	all := md5.Sum(sums)
	want := `"` + hex.EncodeToString(all[:]) + `-3"`

	list := c.must(200, "GET", path+"?uploadId="+id+"&max-parts=2", "").body
	if strings.Count(list, "<Part>") != 2 || between(list, "IsTruncated") != "true" || between(list, "NextPartNumberMarker") != "3" {
		t.Errorf("list: %s", list)
	}
	if list = c.must(200, "GET", path+"?uploadId="+id+"&part-number-marker=3", "").body; strings.Count(list, "<Part>") != 1 || between(list, "PartNumber") != "7" {
		t.Errorf("list: %s", list)
	}
	q := path + "?uploadId=" + id
	c.refused(400, "InvalidPartOrder", "POST", q, complete(etags, 3, 1))
	c.refused(400, "InvalidPart", "POST", q, complete(map[int]string{1: etags[1], 2: etags[3]}, 1, 2))
	c.refused(400, "InvalidPart", "POST", q, complete(map[int]string{1: etags[3]}, 1))
	c.refused(400, "EntityTooSmall", "POST", q, tooSmall(c, path, id, etags))
	c.refused(400, "MalformedXML", "POST", q, "<CompleteMultipartUpload></CompleteMultipartUpload>")
	c.refused(400, "MalformedXML", "POST", q, "<CompleteMultipartUpload>")
	c.refused(400, "MalformedXML", "POST", q, "")
	c.refused(400, "InvalidArgument", "PUT", path+"?partNumber=10001&uploadId="+id, "x")
	c.refused(400, "InvalidArgument", "PUT", path+"?partNumber=0&uploadId="+id, "x")
	c.refused(400, "InvalidRequest", "POST", q, complete(etags, 1, 3, 7), "X-Amz-Mp-Object-Size", "5")
	c.refused(400, "BadDigest", "POST", q, complete(etags, 1, 3, 7), "X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA=")
	c.refused(404, "NoSuchKey", "POST", q, complete(etags, 1, 3, 7), "If-Match", `"x"`)

	done := c.must(200, "POST", q, complete(etags, 1, 3, 7), "If-None-Match", "*")
	if got := strings.ReplaceAll(between(done.body, "ETag"), "&#34;", `"`); got != want || between(done.body, "Key") != "dir/big one" {
		t.Errorf("completed: %s, want %s", done.body, want)
	}
	if again := c.must(200, "POST", q, complete(etags, 1, 3, 7)); again.body != done.body {
		t.Errorf("again: %s", again.body)
	}
	c.refused(404, "NoSuchUpload", "DELETE", q, "")
	c.refused(404, "NoSuchUpload", "PUT", path+"?partNumber=1&uploadId="+id, "x")

	data := parts[1] + parts[3] + parts[7]
	get := c.must(200, "GET", path, "", "X-Amz-Checksum-Mode", "ENABLED")
	if get.body != data || get.header.Get("ETag") != want || get.header.Get("Content-Type") != "a/b" || get.header.Get("X-Amz-Checksum-Type") != "FULL_OBJECT" {
		t.Errorf("GET: %d bytes, %v", len(get.body), get.header)
	}
	from, to := partSize-5, 2*partSize+10
	if a := c.must(206, "GET", path, "", "Range", fmt.Sprintf("bytes=%d-%d", from, to)); a.body != data[from:to+1] {
		t.Errorf("range over parts: %d other bytes", len(a.body))
	}
	if a := c.must(206, "GET", path+"?partNumber=3", ""); a.body != parts[3] || a.header.Get("X-Amz-Mp-Parts-Count") != "3" {
		t.Errorf("part 3: %d bytes, %v", len(a.body), a.header)
	}
	if a := c.must(206, "HEAD", path+"?partNumber=7", ""); a.header.Get("Content-Length") != "4" {
		t.Errorf("part 7: %v", a.header)
	}
	attrs := c.must(200, "GET", path+"?attributes", "", "X-Amz-Object-Attributes", "ETag,ObjectParts,ObjectSize,StorageClass,Checksum", "X-Amz-Max-Parts", "2").body
	if between(attrs, "PartsCount") != "3" || between(attrs, "IsTruncated") != "true" || between(attrs, "ObjectSize") != fmt.Sprint(len(data)) ||
		between(attrs, "ETag") != strings.Trim(want, `"`) || between(attrs, "ChecksumCRC64NVME") == "" || between(attrs, "StorageClass") != "STANDARD" {
		t.Errorf("attributes: %s", attrs)
	}
	c.refused(400, "InvalidArgument", "GET", path+"?attributes", "", "X-Amz-Object-Attributes", "Colour")
}

// tooSmall makes a part that is too small to stand before another.
func tooSmall(c *cluster, path, id string, etags map[int]string) string {
	c.t.Helper()
	small := c.must(200, "PUT", path+"?partNumber=2&uploadId="+id, "small").header.Get("ETag")
	return complete(map[int]string{1: etags[1], 2: small, 3: etags[3]}, 1, 2, 3)
}

func TestUploads(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	ids := map[string]string{}
	for _, k := range []string{"a/1", "a/2", "b", "c%20d"} {
		ids[k] = c.begin("/" + bucket + "/" + k)
	}
	all := c.must(200, "GET", "/"+bucket+"?uploads&delimiter=/", "").body
	if strings.Count(all, "<Upload>") != 2 || between(all, "CommonPrefixes") != "<Prefix>a/</Prefix>" || between(all, "IsTruncated") != "false" {
		t.Errorf("list: %s", all)
	}
	if one := c.must(200, "GET", "/"+bucket+"?uploads&prefix=a/&max-uploads=1", "").body; between(one, "NextKeyMarker") != "a/1" || between(one, "NextUploadIdMarker") != ids["a/1"] {
		t.Errorf("page: %s", one)
	}
	if next := c.must(200, "GET", "/"+bucket+"?uploads&key-marker=b&encoding-type=url", "").body; between(next, "Upload") == "" || !strings.Contains(next, "<Key>c+d</Key>") {
		t.Errorf("after b: %s", next)
	}
	c.refused(400, "InvalidArgument", "GET", "/"+bucket+"?uploads&max-uploads=-1", "")
	odd := c.must(200, "POST", "/"+bucket+"/odd%01%3C?uploads", "").body
	if !strings.Contains(odd, "<Key>odd&#x1;&lt;</Key>") {
		t.Errorf("a key that XML cannot carry: %s", odd)
	}
	path := "/" + bucket + "/b?uploadId=" + ids["b"]
	c.must(200, "PUT", path+"&partNumber=1", "data")
	c.refused(412, "PreconditionFailed", "DELETE", path, "", "X-Amz-If-Match-Initiated-Time", time.Now().Add(-time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	c.must(204, "DELETE", path, "")
	c.refused(404, "NoSuchUpload", "DELETE", path, "")
	c.refused(404, "NoSuchUpload", "PUT", path+"&partNumber=1", "data")
	c.refused(404, "NoSuchUpload", "POST", path, complete(map[int]string{1: "x"}, 1))
	empty := "/" + bucket + "/none?uploadId=" + c.begin("/"+bucket+"/none")
	etag := c.must(200, "PUT", empty+"&partNumber=1", "").header.Get("ETag")
	c.must(200, "POST", empty, complete(map[int]string{1: etag}, 1))
	if c.must(200, "GET", "/"+bucket+"/none", "").body != "" {
		t.Error("object of an empty part has bytes")
	}
}

// TestMultipartChecksums completes uploads by the SDK under every algorithm
// and type, at its default settings.
func TestMultipartChecksums(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	cl, ctx := c.client(), t.Context()
algorithms:
	for _, alg := range types.ChecksumAlgorithm("").Values() {
		for _, kind := range []types.ChecksumType{types.ChecksumTypeComposite, types.ChecksumTypeFullObject} {
			key := aws.String(string(alg) + string(kind))
			up, err := cl.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: key, ChecksumAlgorithm: alg, ChecksumType: kind})
			crc := strings.HasPrefix(string(alg), "CRC")
			if allowed := kind == types.ChecksumTypeComposite && alg != types.ChecksumAlgorithmCrc64nvme || kind == types.ChecksumTypeFullObject && crc; !allowed {
				if err == nil {
					t.Errorf("%s: not refused", *key)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", *key, err)
			}
			var parts []types.CompletedPart
			for n := int32(1); n <= 2; n++ {
				body := pattern(partSize)
				if n == 2 {
					body = "end"
				}
				p, err := cl.UploadPart(ctx, &s3.UploadPartInput{Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId, PartNumber: &n,
					Body: strings.NewReader(body), ChecksumAlgorithm: alg})
				if err != nil && strings.Contains(err.Error(), "unknown checksum algorithm") {
					continue algorithms // this SDK does not have it
				}
				if err != nil {
					t.Fatalf("%s part %d: %v", *key, n, err)
				}
				parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(n), ETag: p.ETag, ChecksumCRC32: p.ChecksumCRC32, ChecksumCRC32C: p.ChecksumCRC32C,
					ChecksumCRC64NVME: p.ChecksumCRC64NVME, ChecksumSHA1: p.ChecksumSHA1, ChecksumSHA256: p.ChecksumSHA256, ChecksumSHA512: p.ChecksumSHA512,
					ChecksumMD5: p.ChecksumMD5, ChecksumXXHASH64: p.ChecksumXXHASH64, ChecksumXXHASH3: p.ChecksumXXHASH3, ChecksumXXHASH128: p.ChecksumXXHASH128})
			}
			done, err := cl.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId,
				ChecksumType: kind, MpuObjectSize: aws.Int64(partSize + 3), MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
			if err != nil {
				t.Fatalf("%s: %v", *key, err)
			}
			if done.ChecksumType != kind {
				t.Errorf("%s: completed with type %s", *key, done.ChecksumType)
			}
			head, err := cl.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: key, ChecksumMode: types.ChecksumModeEnabled})
			if err != nil || head.ChecksumType != kind || *head.ContentLength != partSize+3 {
				t.Errorf("%s: HEAD %+v, %v", *key, head, err)
			}
			if alg == types.ChecksumAlgorithmCrc32 && kind == types.ChecksumTypeComposite && !strings.HasSuffix(aws.ToString(head.ChecksumCRC32), "-2") {
				t.Errorf("%s: checksum %s", *key, aws.ToString(head.ChecksumCRC32))
			}
		}
	}
}

// TestCompleteRaces completes one upload from many sides at once.
func TestCompleteRaces(t *testing.T) {
	t.Parallel()
	c := open(t, "rep-1", nil)
	path := "/" + bucket + "/k?uploadId=" + c.begin("/"+bucket+"/k")
	etag := c.must(200, "PUT", path+"&partNumber=1", pattern(100_000)).header.Get("ETag")
	bodies := make([]string, 8)
	var wg sync.WaitGroup
	for i := range bodies {
		wg.Go(func() {
			a, err := c.try("POST", path, complete(map[int]string{1: etag}, 1))
			if err == nil && a.status == 200 {
				bodies[i] = a.body
			}
		})
	}
	wg.Wait()
	for i := range bodies {
		if bodies[i] == "" || bodies[i] != bodies[0] {
			t.Errorf("completion %d: %q", i, bodies[i])
		}
	}
}
