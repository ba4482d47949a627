package clients

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"holdfast/tests/harness"
)

func TestGoSDK(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s *harness.Server) {
		b := bucketName(t)
		if _, err := s.S3().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &b}); err != nil {
			t.Fatal(err)
		}
		t.Run("algorithms", func(t *testing.T) { sdkAlgorithms(t, s, b) })
		t.Run("payload modes", func(t *testing.T) { sdkPayloads(t, s, b) })
		t.Run("multipart", func(t *testing.T) { sdkMultipart(t, s, b) })
		t.Run("presigned", func(t *testing.T) { sdkPresigned(t, s, b) })
	})
}

// sdkAlgorithms puts with every algorithm, small and large. What the SDK does
// not compute it is given as a value.
func sdkAlgorithms(t *testing.T, s *harness.Server, b string) {
	client, computed := s.S3(), 0
	for _, alg := range types.ChecksumAlgorithm("").Values() {
		for _, size := range []int{0, 100, 100_000, 3 << 20} {
			body := random(t, size)
			key, field, want := string(alg), "Checksum"+string(alg), checksumValues(body)[string(alg)]
			put := &s3.PutObjectInput{Bucket: &b, Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: alg}
			_, err := client.PutObject(t.Context(), put)
			if err != nil && strings.Contains(err.Error(), "unknown checksum algorithm") {
				put = &s3.PutObjectInput{Bucket: &b, Key: &key, Body: bytes.NewReader(body)}
				reflect.ValueOf(put).Elem().FieldByName(field).Set(reflect.ValueOf(&want))
				_, err = client.PutObject(t.Context(), put)
			} else {
				computed++
			}
			if err != nil {
				t.Fatalf("%s %d: %v", alg, size, err)
			}
			got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &b, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
			if err != nil {
				t.Fatalf("%s %d: %v", alg, size, err)
			}
			back, err := io.ReadAll(got.Body)
			got.Body.Close()
			if err != nil || !bytes.Equal(back, body) {
				t.Fatalf("%s %d: read %d bytes, %v", alg, size, len(back), err)
			}
			if sum, _ := reflect.ValueOf(got).Elem().FieldByName(field).Interface().(*string); sum == nil || *sum != want {
				t.Fatalf("%s %d: GET gives the checksum %v, want %s", alg, size, aws.ToString(sum), want)
			}
		}
	}
	if computed == 0 {
		t.Error("the SDK computed no checksum")
	}
}

func sdkPayloads(t *testing.T, s *harness.Server, b string) {
	body := random(t, 300_000)
	modes := map[string][]func(*s3.Options){
		"default":  nil,
		"unsigned": {s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)},
		"no trailer": {func(o *s3.Options) {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		}},
	}
	for name, opts := range modes {
		key := "mode-" + name
		in := &s3.PutObjectInput{Bucket: &b, Key: &key, Body: bytes.NewReader(body)}
		if _, err := s.S3(opts...).PutObject(t.Context(), in); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := s.S3().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &b, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil || !bytes.Equal(back, body) {
			t.Fatalf("%s: %d bytes, %v", name, len(back), err)
		}
	}
	if s.CAFile == "" {
		return
	}
	// A body that cannot be read twice goes out as an unsigned stream with a trailer, over https.
	key := "stream"
	_, err := s.S3().PutObject(t.Context(), &s3.PutObjectInput{Bucket: &b, Key: &key, Body: io.MultiReader(bytes.NewReader(body)), ContentLength: aws.Int64(int64(len(body)))})
	if err != nil {
		t.Fatal(err)
	}
}

func sdkMultipart(t *testing.T, s *harness.Server, b string) {
	client, key := s.S3(), "multi"
	for _, alg := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
		up, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &b, Key: &key, ChecksumAlgorithm: alg})
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		var whole []byte
		var parts []types.CompletedPart
		for n := int32(1); n <= 3; n++ {
			body := random(t, 5<<20+int(n))
			whole = append(whole, body...)
			p, err := client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &b, Key: &key, UploadId: up.UploadId, PartNumber: &n, Body: bytes.NewReader(body), ChecksumAlgorithm: alg})
			if err != nil {
				t.Fatalf("%s part %d: %v", alg, n, err)
			}
			parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(n), ETag: p.ETag, ChecksumCRC64NVME: p.ChecksumCRC64NVME,
				ChecksumCRC32: p.ChecksumCRC32, ChecksumCRC32C: p.ChecksumCRC32C, ChecksumSHA1: p.ChecksumSHA1, ChecksumSHA256: p.ChecksumSHA256})
		}
		if _, err := client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: &b, Key: &key, UploadId: up.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}}); err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &b, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil || !bytes.Equal(back, whole) {
			t.Fatalf("%s: %d of %d bytes, %v", alg, len(back), len(whole), err)
		}
	}
}

func sdkPresigned(t *testing.T, s *harness.Server, b string) {
	key := "presigned"
	body := random(t, 20_000)
	if _, err := s.S3().PutObject(t.Context(), &s3.PutObjectInput{Bucket: &b, Key: &key, Body: bytes.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
	req, err := s3.NewPresignClient(s.S3()).PresignGetObject(context.Background(), &s3.GetObjectInput{Bucket: &b, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.HTTPClient().Get(req.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	back, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !bytes.Equal(back, body) {
		t.Fatalf("presigned: %d, %d bytes, %v", resp.StatusCode, len(back), err)
	}
	_, err = s.S3().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &b, Key: aws.String("absent")})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "NoSuchKey" {
		t.Fatalf("absent key: %v", err)
	}
}
