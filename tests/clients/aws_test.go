package clients

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestAWSCommandLine(t *testing.T) {
	each(t, "aws", func(t *testing.T, c *client, aws string) {
		run := func(args ...string) string {
			t.Helper()
			return c.run(aws, append([]string{"--endpoint-url", c.s.Endpoint()}, args...)...)
		}
		b := bucketName(t)
		run("s3", "mb", "s3://"+b)
		small := c.file("small.bin", 5000)
		run("s3", "cp", small, "s3://"+b+"/a/small.bin")
		run("s3", "cp", "s3://"+b+"/a/small.bin", c.dir+"/back.bin")
		c.same(small, c.dir+"/back.bin")

		src := c.tree("src", 12)
		run("s3", "sync", src, "s3://"+b+"/tree")
		run("s3", "sync", "s3://"+b+"/tree", c.dir+"/dst")
		c.sameTree(src, c.dir+"/dst")
		if out := run("s3", "sync", src, "s3://"+b+"/tree"); strings.Contains(out, "upload:") {
			t.Errorf("a second sync uploads again: %s", out)
		}

		// One version moves the large file, the distribution's if it is there,
		// another one a smaller of several parts.
		size := 24 << 20
		if paths := programs(t, "aws"); aws == paths[len(paths)-1] {
			size = 200 << 20
		}
		large := c.file("large.bin", size)
		run("s3", "cp", "--no-progress", large, "s3://"+b+"/large.bin")
		run("s3", "cp", "--no-progress", "s3://"+b+"/large.bin", c.dir+"/large.back")
		c.same(large, c.dir+"/large.back")
		run("s3api", "put-object-tagging", "--bucket", b, "--key", "large.bin", "--tagging", "TagSet=[{Key=a b,Value=1}]")
		run("s3", "cp", "--no-progress", "s3://"+b+"/large.bin", "s3://"+b+"/large.copy")
		tags := run("s3api", "get-object-tagging", "--bucket", b, "--key", "large.copy")
		// Version 1 copies no tags with a copy by parts.
		if !strings.Contains(tags, `"a b"`) && strings.Contains(run("--version"), "aws-cli/2") {
			t.Errorf("the copy has the tags %s", tags)
		}

		url := strings.TrimSpace(run("s3", "presign", "s3://"+b+"/a/small.bin", "--expires-in", "600"))
		c.run("/usr/bin/curl", "-sf", "-o", c.dir+"/presigned.bin", url)
		c.same(small, c.dir+"/presigned.bin")

		if out := run("s3", "ls", "s3://"+b+"/"); !strings.Contains(out, "PRE tree/") || !strings.Contains(out, "large.bin") {
			t.Errorf("ls: %s", out)
		}
		awsChecksums(t, c, aws, b, small)
		run("s3", "rm", "--recursive", "s3://"+b)
		run("s3", "rb", "s3://"+b)
	})
}

// awsChecksums puts an object with every algorithm that the program knows:
// computed by it where it can, else given as a value.
func awsChecksums(t *testing.T, c *client, aws, b, file string) {
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	values := checksumValues(body)
	skeleton, known := c.run(aws, "s3api", "put-object", "--generate-cli-skeleton", "input"), 0
	for _, alg := range slices.Sorted(maps.Keys(values)) {
		key, field := "sum-"+alg, "Checksum"+alg
		if !strings.Contains(skeleton, `"`+field+`"`) {
			t.Logf("%s knows nothing of %s", aws, alg)
			continue
		}
		known++
		put := []string{"--endpoint-url", c.s.Endpoint(), "s3api", "put-object", "--bucket", b, "--key", key, "--body", file}
		out, err := c.try(aws, append(put, "--checksum-algorithm", alg)...)
		if err != nil && cannotCompute.MatchString(out) {
			out, err = c.try(aws, append(put, checksumFlag(alg), values[alg])...)
		}
		if err != nil {
			t.Errorf("%s: %v: %s", alg, err, out)
			continue
		}
		var shown map[string]any
		if err := json.Unmarshal([]byte(out), &shown); err != nil {
			t.Errorf("%s: %v: %s", alg, err, out)
		} else if shown[field] != values[alg] {
			t.Errorf("%s: PUT gives %v, want %s", alg, shown[field], values[alg])
		}
		head, err := c.s.S3().HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &b, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Errorf("%s: %v", alg, err)
		} else if got, _ := reflect.ValueOf(head).Elem().FieldByName(field).Interface().(*string); got == nil || *got != values[alg] {
			t.Errorf("%s: HEAD does not give %s", alg, values[alg])
		}
	}
	if known < 4 {
		t.Errorf("%s knows %d checksum algorithms", aws, known)
	}
	out := c.run(aws, "--endpoint-url", c.s.Endpoint(), "s3api", "head-object", "--bucket", b, "--key", "sum-SHA256", "--checksum-mode", "ENABLED")
	if !strings.Contains(out, values["SHA256"]) {
		t.Errorf("HEAD gives %s, want %s", out, values["SHA256"])
	}
}

// cannotCompute is how the versions say that an algorithm is none of theirs.
var cannotCompute = regexp.MustCompile(`Missing Dependency|[Ii]nvalid choice|Unsupported checksum algorithm|awscrt|CRT`)

// checksumFlag is the option that gives a checksum as a value: the program
// splits the parameter's name ChecksumCRC32C, ChecksumCRC64NVME.
func checksumFlag(alg string) string {
	switch alg {
	case "CRC32C":
		return "--checksum-crc32-c"
	case "CRC64NVME":
		return "--checksum-crc64-nvme"
	}
	return "--checksum-" + strings.ToLower(alg)
}
