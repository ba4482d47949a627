package clients

import (
	"encoding/json"
	"strings"
	"testing"
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

		// The distribution's version moves the large file, another one a
		// smaller of several parts.
		size := 24 << 20
		if strings.HasPrefix(aws, "/usr/bin/") {
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
		if version := run("--version"); strings.Contains(version, "aws-cli/2") && !strings.Contains(tags, `"a b"`) {
			t.Errorf("the copy has the tags %s", tags)
		}

		url := strings.TrimSpace(run("s3", "presign", "s3://"+b+"/a/small.bin", "--expires-in", "600"))
		c.run("/usr/bin/curl", "-sf", "-o", c.dir+"/presigned.bin", url)
		c.same(small, c.dir+"/presigned.bin")

		if out := run("s3", "ls", "s3://"+b+"/"); !strings.Contains(out, "PRE tree/") || !strings.Contains(out, "large.bin") {
			t.Errorf("ls: %s", out)
		}
		awsChecksums(t, c, run, aws, b, small)
		run("s3", "rm", "--recursive", "s3://"+b)
		run("s3", "rb", "s3://"+b)
	})
}

// awsChecksums puts an object with every algorithm that the program knows:
// computed by it where it can, else given as a value.
func awsChecksums(t *testing.T, c *client, run func(...string) string, aws, b, file string) {
	values := checksumValues(t, file)
	for _, alg := range []string{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
		key := "sum-" + alg
		args := []string{"--endpoint-url", c.s.Endpoint(), "s3api", "put-object", "--bucket", b, "--key", key, "--body", file, "--checksum-algorithm", alg}
		if out, err := c.try(aws, args...); err != nil {
			if !strings.Contains(out, "Missing Dependency") && !strings.Contains(out, "invalid choice") && !strings.Contains(out, "Invalid choice") && !strings.Contains(out, "awscrt") && !strings.Contains(out, "Unsupported checksum algorithm") && !strings.Contains(out, "CRT") {
				t.Errorf("%s: %v: %s", alg, err, out)
				continue
			}
			flag := "--checksum-" + strings.ToLower(alg)
			args = append(args[:len(args)-2], flag, values[alg])
			if out, err := c.try(aws, args...); err != nil {
				if strings.Contains(out, "Unknown options") {
					t.Logf("%s knows nothing of %s", aws, alg)
					continue
				}
				t.Errorf("%s by value: %v: %s", alg, err, out)
				continue
			}
		}
		var head map[string]any
		out := run("s3api", "head-object", "--bucket", b, "--key", key, "--checksum-mode", "ENABLED")
		if err := json.Unmarshal([]byte(out), &head); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if head["Checksum"+alg] != values[alg] {
			t.Errorf("%s: HEAD gives %v, want %s", alg, head["Checksum"+alg], values[alg])
		}
	}
}
